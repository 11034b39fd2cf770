"""`geotiler export`: a model for other programs, proven to answer as the network does."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from geotiler.core.grid import starts
from geotiler.core.radiometry import chosen_bands, normalise
from geotiler.core.synthetic import SyntheticScene
from geotiler.errors import GeotilerError, InputError, OutputError, SpecError
from geotiler.io.outputs import check_output, replacing
from geotiler.io.raster import open_scene
from geotiler.models.bundle import Bundle, load_network
from geotiler.models.card import ModelCard
from geotiler.models.mlflow_model import save_pyfunc
from geotiler.models.registry import find_model
from geotiler.progress import Reporter, StageAdvanced, StageFinished, StageStarted, silent
from geotiler.reports import Report
from geotiler.resources import pyfunc_source
from geotiler.specs import ExportSpec, ExportTarget, Window

_TILES_OF_AN_IMAGE = 8
_RENDERED_TILES = 4
_RENDERED_SEED = 7


@dataclass(frozen=True, kw_only=True)
class ExportReport(Report):
    """What was written, and how closely it answers as the network does."""

    output: Path
    model: str
    digest: str
    """Of the model that was exported."""
    size_bytes: int
    checked_tiles: int
    checked_on: str
    largest_difference: float
    """Of a probability, between the graph and the network in torch."""
    tolerance: float


def export(spec: ExportSpec, *, report: Reporter = silent) -> ExportReport:
    """Write a model's ONNX graph, or an MLflow model around its folder.

    The graph has a free batch, answers probabilities, and holds its metadata; it is made anew
    from the weights. Either is written only if the graph answers real tiles as the network in
    torch does.

    Raises:
        ModelError: unknown or damaged model, one without weights, or a graph that differs.
        SpecError: an MLflow model of something else than a classifier.
        InputError: an image to check on cannot be read, or does not fit the model.
        OutputError: the target exists or cannot be written.
        MissingExtraError: mlflow is not installed.
    """
    from geotiler.models.export import export_onnx

    bundle = find_model(spec.model)
    card = bundle.card
    if spec.target is ExportTarget.ONNX:
        check_output(spec.output, spec.overwrite)
        with replacing(spec.output, spec.overwrite) as temporary:
            export_onnx(load_network(bundle), card, temporary)
            tiles, worst = _checked(spec, bundle, temporary, report)
            size_bytes = temporary.stat().st_size
    else:
        if card.task != "classification":
            raise SpecError(
                f"--to mlflow takes classifiers, {card.name} does {card.task}",
                hint="geotiler serve answers for the others",
            )
        with _new_folder(spec) as temporary:
            tiles, worst = _checked(spec, bundle, bundle.folder / bundle.onnx_file, report)
            save_pyfunc(bundle, temporary, pyfunc_source())
            size_bytes = sum(path.stat().st_size for path in temporary.rglob("*.*"))
    return ExportReport(
        output=spec.output,
        model=f"{card.name} {card.version}",
        digest=bundle.digest,
        size_bytes=size_bytes,
        checked_tiles=tiles,
        checked_on=", ".join(spec.check) if spec.check else "rendered scene (--check names images)",
        largest_difference=worst,
        tolerance=spec.tolerance,
    )


def _checked(spec: ExportSpec, bundle: Bundle, graph: Path, report: Reporter) -> tuple[int, float]:
    """How many tiles were compared, and the largest difference of a probability.

    Raises:
        ModelError: it exceeds the tolerance.
    """
    from geotiler.models.export import difference_from

    card = bundle.card
    network = load_network(bundle)
    tiles = list(_image_tiles(spec.check, card) if spec.check else _rendered_tiles(card))
    report(StageStarted(stage="check", total=len(tiles), unit="tile"))
    worst = 0.0
    for tile in tiles:
        found = difference_from(network, card, graph, tile[None], spec.tolerance)
        worst = max(worst, found)
        report(StageAdvanced(stage="check", amount=1))
    report(StageFinished(stage="check"))
    return len(tiles), worst


@contextlib.contextmanager
def _new_folder(spec: ExportSpec) -> Iterator[Path]:
    """A path beside the target that takes its place at the end, or vanishes.

    Raises:
        OutputError: the target exists, holds something else, or cannot be written.
    """
    target = spec.output
    if target.exists():
        if not spec.overwrite:
            raise OutputError(f"output {target} exists already", hint="--overwrite replaces it")
        if not (target / "MLmodel").is_file():
            raise OutputError(f"{target} holds no MLflow model", hint="move it away")
    try:
        with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as beside:
            yield Path(beside) / target.name
            if target.exists():
                shutil.rmtree(target)
            os.replace(Path(beside) / target.name, target)
    except GeotilerError:
        raise
    except OSError as error:
        raise OutputError(f"output {target} cannot be written: {error.strerror}") from error


def _image_tiles(images: Sequence[str], card: ModelCard) -> Iterator[NDArray[np.float32]]:
    """Network inputs (band, row, col), spread over each image."""
    for image in images:
        with open_scene(image) as scene:
            bands = chosen_bands(scene.band_names, card.bands) or tuple(
                range(1, len(card.bands) + 1)
            )
            scene.check_bands(bands)
            if {scene.dtypes[band - 1] for band in bands} != {"uint8"}:
                raise InputError(
                    f"{image} does not hold 8-bit values", hint="--check takes images of 8 bits"
                )
            side = _side(card, scene.shape)
            if min(scene.shape) < side:
                raise InputError(
                    f"{image} has {scene.height}×{scene.width} px, {card.name} needs {side}×{side}",
                    hint="--check takes images of at least one tile",
                )
            rows, cols = (starts(length, side, side) for length in scene.shape)
            places = [(row, col) for row in rows for col in cols]
            chosen = np.linspace(0, len(places) - 1, _TILES_OF_AN_IMAGE).astype(int)
            for index in dict.fromkeys(chosen.tolist()):
                row, col = places[index]
                window = Window(row=row, col=col, height=side, width=side)
                raw, valid = scene.read_with_valid(window, bands)
                yield normalise(raw, valid, scale=card.scale, mean=card.mean, std=card.std)


def _side(card: ModelCard, shape: tuple[int, int]) -> int:
    """Side of a tile: the card's, or less for a network that takes any and a small image."""
    stride = card.stride_of_network
    if card.task == "classification":
        return card.tile_px
    return min(card.tile_px, max(stride, min(shape) // stride * stride))


def _rendered_tiles(card: ModelCard) -> Iterator[NDArray[np.float32]]:
    """Network inputs (band, row, col) of a rendered town, at a ground sample distance near it."""
    if len(card.bands) != 3:
        raise SpecError(
            f"{card.name} takes {len(card.bands)} bands, rendered tiles have 3",
            hint="--check IMAGE names images to check on",
        )
    side = card.tile_px
    gsd_m = min(max(card.gsd_m or 0.5, 0.1), 5.0)
    scene = SyntheticScene(
        seed=_RENDERED_SEED, height=side, width=side * _RENDERED_TILES, gsd_m=gsd_m
    )
    for index in range(_RENDERED_TILES):
        rgb, _, valid = scene.render(Window(row=0, col=index * side, height=side, width=side))
        yield normalise(rgb, valid, scale=card.scale, mean=card.mean, std=card.std)
