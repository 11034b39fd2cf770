"""`geotiler classify` on images: each one is one thing, and gets one answer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geotiler.core.answers import image_answer
from geotiler.core.radiometry import finite_float32, normalise
from geotiler.core.resample import Axis, resampled
from geotiler.errors import InputError, SpecError
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

LARGEST_PX = 4096
"""Longest side of an image; what is larger is a scene, and one label for it says little."""


@dataclass(frozen=True, kw_only=True)
class ImageLabel(Report):
    """What an image shows."""

    image: str
    predicted_class: str
    probabilities: dict[str, float]
    """Of every class, in the model's order."""
    topk: list[dict[str, Any]]
    """class and probability of the likeliest, first the likeliest."""


def classify_images(
    spec: ClassifyImagesSpec, *, report: Reporter = silent, networks: Networks | None = None
) -> Iterator[ImageLabel]:
    """The labels of images, in their order, as they become known.

    All images are opened, and the model is loaded, before the first one is labelled. An image is
    resized to the model's tile, whatever its ground sample distance.

    Args:
        spec: what to do.
        report: hears progress and notices.
        networks: where a service keeps its models; None reads them from disk.

    Raises:
        InputError: not an image, damaged, a wrong number of bands, or nothing valid in it.
        SpecError: the model is no classifier, or values whose range only the user knows.
        GeotilerError: model or device cannot be used.
    """
    bundle = find_classifier(spec.model, networks)
    card = bundle.card
    decisions = Decisions()
    images = [_opened(path, spec, card, decisions) for path in spec.images]
    for notice in dict.fromkeys(decisions.notices):
        report(Notice(message=notice, warning=True))
    predictor = open_classifier(bundle, spec.run, networks)
    names = [item.name for item in card.classes]
    return _labels(images, predictor, card, names, spec.topk, report)


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
    images: list[tuple[SceneSource, Radiometry]],
    predictor: Predictor,
    card: ModelCard,
    names: list[str],
    topk: int,
    report: Reporter,
) -> Iterator[ImageLabel]:
    stage = "classify"
    report(StageStarted(stage=stage, total=len(images), unit="image"))
    for first in range(0, len(images), predictor.batch):
        some = images[first : first + predictor.batch]
        tiles = np.stack([_tile(source, values, card) for source, values in some])
        for (source, _), probabilities in zip(some, predictor(tiles), strict=True):
            answer = image_answer(probabilities, names, topk=topk)
            yield ImageLabel(image=source.name, **answer)
        report(StageAdvanced(stage=stage, amount=len(some)))
    report(StageFinished(stage=stage))


def _opened(
    path: str, spec: ClassifyImagesSpec, card: ModelCard, decisions: Decisions
) -> tuple[SceneSource, Radiometry]:
    """An image that can be read, and how."""
    source = scene_source([path], spec.drivers)
    with source.open() as scene:
        if max(scene.shape) > LARGEST_PX:
            raise InputError(
                f"{source.name} has {scene.height}×{scene.width} px, "
                f"an image has at most {LARGEST_PX}",
                hint="-o landuse.geojson or -o landuse.tif classifies it tile by tile",
            )
        tiles = _tiles_covered(scene, card)
        if tiles is not None and max(tiles) > _MANY_TILES:
            decisions.notices.append(
                f"{source.name} covers {tiles[0]:.0f}×{tiles[1]:.0f} tiles of the model and gets "
                "one label; -o landuse.tif maps it tile by tile"
            )
        return source, radiometry(spec.radiometry, card, source, scene, decisions)


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
