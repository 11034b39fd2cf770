"""`geotiler classify` on images: each one is one thing, and gets one answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geotiler.core.answers import image_answer
from geotiler.core.radiometry import finite_float32, normalise
from geotiler.core.resample import Axis, resampled
from geotiler.errors import GeotilerError, InputError, SpecError
from geotiler.io.raster import Scene
from geotiler.io.scene_source import SceneSource, scene_source
from geotiler.models.card import ModelCard
from geotiler.models.networks import Networks
from geotiler.models.predictor import Predictor
from geotiler.progress import Notice, Reporter, StageAdvanced, StageFinished, StageStarted, silent
from geotiler.reports import Report
from geotiler.specs import ClassifyImagesSpec, Scale, Window
from geotiler.tasks.classify_input import (
    Decisions,
    Radiometry,
    find_classifier,
    open_classifier,
    radiometry,
)

_MANY_TILES = 2.0
"""Images that cover more than so many tiles along a side are larger than what was learned."""

_PART_OF_TILE = 0.5
"""Images that are shorter than such a part of a tile along both sides show less than it."""

LARGEST_PX = 4096
"""Longest side of an image; what is larger is a scene, and one label for it says little."""

Failed = Callable[[str, GeotilerError], None]
"""Hears which image could not be labelled, as it was named, and why."""

OF_ONE_IMAGE = (InputError, SpecError)
"""Errors that say something about one image; others would come again with the next one."""


@dataclass(frozen=True, kw_only=True)
class ImageLabel(Report):
    """What an image shows."""

    image: str
    predicted_class: str
    probabilities: dict[str, float]
    """Of every class, in the model's order."""
    topk: list[dict[str, Any]]
    """class and probability of the likeliest, first the likeliest."""


@dataclass(kw_only=True)
class _Opened:
    """Images that can be read, and what is to be said of them."""

    images: list[tuple[str, SceneSource, Radiometry]] = field(default_factory=list)
    """As it was named, what is opened, and how its values are read."""
    decisions: Decisions = field(default_factory=Decisions)
    small: list[str] = field(default_factory=list)
    """A line about each image that shows much less than a tile."""


def classify_images(
    spec: ClassifyImagesSpec,
    *,
    report: Reporter = silent,
    networks: Networks | None = None,
    failed: Failed | None = None,
) -> Iterator[ImageLabel]:
    """The labels of images, in their order, as they become known.

    All images are opened, and the model is loaded, before the first one is labelled. An image is
    resized to the model's tile, whatever its ground sample distance.

    Args:
        spec: what to do.
        report: hears progress and notices.
        networks: where a service keeps its models; None reads them from disk.
        failed: hears of an image that cannot be labelled, which then stops no other one; None:
            it ends the run.

    Raises:
        InputError: not an image, damaged, a wrong number of bands, or nothing valid in it.
        SpecError: the model is no classifier, or values whose range only the user knows.
        GeotilerError: model or device cannot be used.
    """
    bundle = find_classifier(spec.model, networks)
    card = bundle.card
    opened = _Opened()
    for path in spec.images:
        try:
            _open(path, spec, card, opened)
        except OF_ONE_IMAGE as error:
            tell(failed, path, error)
    notices = [*opened.decisions.notices, *_small_notice(opened.small)]
    for notice in dict.fromkeys(notices):
        report(Notice(message=notice, warning=True))
    if not opened.images:
        return iter(())
    predictor = open_classifier(bundle, spec.run, networks)
    return _labels(opened.images, predictor, card, spec.topk, report, failed)


def tell(failed: Failed | None, path: str, error: GeotilerError) -> None:
    """An image that cannot be labelled. Raises: the error, where nobody hears of it."""
    if failed is None:
        raise error
    failed(path, error)


def _small_notice(small: list[str]) -> list[str]:
    """One line, however many images there are."""
    more = f" ({len(small) - 1} more images too)" if len(small) > 1 else ""
    return [f"{line}{more}" for line in small[:1]]


def classify_pixels(
    pixels: NDArray[np.uint8], spec: ClassifyImagesSpec, networks: Networks | None = None
) -> dict[str, Any]:
    """What an image in memory shows, as `image_answer` says it.

    Args:
        pixels: (row, col, band) of 8 bits, in the order of the model's bands.
        spec: model and settings; its images are not looked at.
        networks: where models are kept; None reads them from disk.

    Raises:
        SpecError: another shape, or the model is no classifier.
        GeotilerError: model or device cannot be used.
    """
    bundle = find_classifier(spec.model, networks)
    card = bundle.card
    if pixels.ndim != 3 or pixels.shape[2] != len(card.bands) or not pixels.size:
        raise SpecError(
            f"an image must have shape (rows, columns, {len(card.bands)}), got {pixels.shape}"
        )
    raw = np.ascontiguousarray(pixels.transpose(2, 0, 1))
    tile = _network_input(raw, np.ones(raw.shape[1:], np.bool_), card.scale, card)
    probabilities = open_classifier(bundle, spec.run, networks)(tile[None])[0]
    return image_answer(probabilities, [item.name for item in card.classes], topk=spec.topk)


def _labels(
    images: list[tuple[str, SceneSource, Radiometry]],
    predictor: Predictor,
    card: ModelCard,
    topk: int,
    report: Reporter,
    failed: Failed | None,
) -> Iterator[ImageLabel]:
    stage = "classify"
    names = [item.name for item in card.classes]
    report(StageStarted(stage=stage, total=len(images), unit="image"))
    for first in range(0, len(images), predictor.batch):
        some = images[first : first + predictor.batch]
        tiles: list[tuple[str, NDArray[np.float32]]] = []
        for path, source, values in some:
            try:
                tiles.append((source.name, _tile(source, values, card)))
            except OF_ONE_IMAGE as error:
                tell(failed, path, error)
        answers = predictor(np.stack([tile for _, tile in tiles])) if tiles else ()
        for (name, _), probabilities in zip(tiles, answers, strict=True):
            answer = image_answer(probabilities, names, topk=topk)
            yield ImageLabel(image=name, **answer)
        report(StageAdvanced(stage=stage, amount=len(some)))
    report(StageFinished(stage=stage))


def _open(path: str, spec: ClassifyImagesSpec, card: ModelCard, opened: _Opened) -> None:
    """Add an image to those that can be read. Raises: InputError, SpecError: it cannot be."""
    source = scene_source([path], spec.drivers)
    with source.open() as scene:
        if max(scene.shape) > LARGEST_PX:
            raise InputError(
                f"{source.name} has {scene.height}×{scene.width} px, "
                f"an image has at most {LARGEST_PX}",
                hint="-o landuse.geojson or -o landuse.tif classifies it tile by tile",
            )
        values = radiometry(spec.radiometry, card, source, scene, opened.decisions)
        opened.images.append((path, source, values))
        tiles = _tiles_covered(scene, card)
        if tiles is not None and max(tiles) > _MANY_TILES:
            opened.decisions.notices.append(
                f"{source.name} covers {tiles[0]:.0f}×{tiles[1]:.0f} tiles of the model and gets "
                "one label; -o landuse.tif maps it tile by tile"
            )
        elif tiles is not None and card.gsd_m is not None and max(tiles) < _PART_OF_TILE:
            tile_m = card.tile_px * card.gsd_m
            opened.small.append(
                f"{source.name} is {tiles[1] * tile_m:.3g} m wide, model {card.name!r} "
                f"learned from images of {tile_m:g} m: its label may mean little"
            )


def _tiles_covered(scene: Scene, card: ModelCard) -> tuple[float, float] | None:
    """Height and width of a scene in tiles of the model; None where its place is not known."""
    if scene.gsd_m is None or card.gsd_m is None:
        return None
    tile_m = card.tile_px * card.gsd_m
    return scene.height * scene.gsd_m[1] / tile_m, scene.width * scene.gsd_m[0] / tile_m


def _tile(source: SceneSource, values: Radiometry, card: ModelCard) -> NDArray[np.float32]:
    """Network input (band, row, col): the whole image at the size of a tile."""
    with source.open() as scene:
        whole = Window(row=0, col=0, height=scene.height, width=scene.width)
        raw, valid = scene.read_with_valid(whole, values.bands)
    if not valid.any():
        raise InputError(f"{source.name} has no valid pixel")
    return _network_input(raw, valid, values.scale, card)


def _network_input(
    raw: NDArray[np.generic], valid: NDArray[np.bool_], scale: Scale, card: ModelCard
) -> NDArray[np.float32]:
    """Values at the size of a tile, normalised."""
    if valid.shape != (card.tile_px, card.tile_px):
        by_rows, by_cols = (
            Axis(source_px=side, target_px=card.tile_px, ratio=card.tile_px / side).matrix(
                0, card.tile_px
            )[1]
            for side in valid.shape
        )
        raw, valid = resampled(finite_float32(raw), valid, by_rows, by_cols)
    return normalise(raw, valid, scale=scale, mean=card.mean, std=card.std)
