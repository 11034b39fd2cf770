"""What `geotiler evaluate` compares with what, decided before any pixel is read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import shapely

from geotiler.core.names import bare_name
from geotiler.errors import InputError, SpecError
from geotiler.io.label_polygons import in_pixels
from geotiler.io.label_rasters import overlaps_raster
from geotiler.io.outputs import check_output
from geotiler.io.raster import open_scene
from geotiler.io.sides import PREDICTION, TRUTH, holds_raster, whole_frame
from geotiler.io.vector_formats import DRIVERS
from geotiler.io.vector_reading import read_features
from geotiler.specs import EvaluateSpec

_SUFFIXES = {".tif", ".tiff", ".vrt", ".png", ".jpg", ".jpeg", ".jp2", *DRIVERS}
"""Of the files that a folder stands for."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One scene: a prediction, its truth, and the raster whose pixels are counted."""

    prediction: str
    truth: str
    grid: str
    probability: str | None = None


def plan_evaluate(spec: EvaluateSpec) -> list[Comparison]:
    """The comparisons of a specification, with every check that needs no pixel.

    Raises:
        SpecError: two sets of polygons without a grid.
        InputError: a file is missing, or it is not clear which truth a prediction has.
        OutputError: a plot or a table cannot be written.
    """
    for target in (spec.plot, spec.csv):
        if target is not None:
            check_output(target, spec.overwrite)
    predictions = _files(spec.predictions, PREDICTION)
    truths = _files(spec.truths, TRUTH)
    paired = _truths_of(predictions, truths)
    probabilities: list[str | None] = [None] * len(predictions)
    if spec.probabilities:
        known = _files(spec.probabilities, "--probability")
        probabilities = [_probability_of(path, known, len(predictions)) for path in predictions]
    return [
        Comparison(
            prediction=prediction, truth=truth, grid=_grid(prediction, truth, spec.grid),
            probability=probability,
        )
        for prediction, truth, probability in zip(predictions, paired, probabilities, strict=True)
    ]  # fmt: skip


def _files(paths: Sequence[str], flag: str) -> list[str]:
    """The files that are meant; a folder stands for those in it.

    Raises:
        InputError: a folder without any.
        SpecError: a file is given twice.
    """
    found: list[str] = []
    for path in paths:
        folder = Path(path)
        if not folder.is_dir() or folder.suffix.lower() in DRIVERS:
            found.append(path)
            continue
        inside = sorted(
            str(each) for each in folder.iterdir()
            if each.suffix.lower() in _SUFFIXES and not each.name.startswith(".")
        )  # fmt: skip
        if not inside:
            raise InputError(
                f"{path} holds no rasters or vector files", hint=f"{flag} takes files or a folder"
            )
        found += inside
    twice = next((path for path in found if found.count(path) > 1), None)
    if twice is not None:
        raise SpecError(f"{twice} is given twice", hint=f"{flag} takes each file once")
    return found


def _truths_of(predictions: Sequence[str], truths: Sequence[str]) -> list[str]:
    """The truth of each prediction: the only one, that of its name, or the one that it meets."""
    if len(truths) == 1:
        return [truths[0]] * len(predictions)
    by_name: dict[str, list[str]] = {}
    for truth in truths:
        by_name.setdefault(bare_name(truth), []).append(truth)
    result = []
    for path in predictions:
        found = by_name.get(bare_name(path), [])
        if not found:
            found = [truth for truth in truths if _meet(path, truth)]
        if len(found) != 1:
            what = "overlaps it" if not found else f"of them are its truth: {', '.join(found[:4])}"
            start = "none" if not found else str(len(found))
            named = " has the name of that file or" if not found else ""
            raise InputError(
                f"{path} has no truth: {start} of the {len(truths)} files of --truth{named} {what}"
                if not found
                else f"it is not clear what the truth of {path} is: {start} {what}",
                hint="--truth takes one file for all, or for each prediction one of its name",
            )
        result.append(found[0])
    return result


def _meet(prediction: str, truth: str) -> bool:
    """Whether two files share ground, by their bounds; False where neither is a raster."""
    if holds_raster(prediction, PREDICTION):
        raster, other = prediction, truth
    elif holds_raster(truth, TRUTH):
        raster, other = truth, prediction
    else:
        return False
    with open_scene(raster) as scene:
        frame = whole_frame(scene)
    if frame.crs is None:  # the place of its pixels is not known
        return False
    if holds_raster(other, TRUTH):
        return overlaps_raster(other, frame)
    features = read_features(other)
    if features.crs is None:
        return False
    placed, exists = in_pixels(other, features.geometries, features.crs, frame, TRUTH)
    left, top, right, bottom = shapely.bounds(placed[exists]).reshape(-1, 4).T
    height, width = frame.shape
    return bool(((left < width) & (right > 0) & (top < height) & (bottom > 0)).any())


def _probability_of(prediction: str, known: Sequence[str], predictions: int) -> str:
    if len(known) == predictions == 1:
        return known[0]
    found = [path for path in known if bare_name(path) == bare_name(prediction)]
    if len(found) != 1:
        raise InputError(
            f"{len(found)} of the {len(known)} files of --probability have the name of "
            f"{prediction}, expected one",
            hint="--probability takes a folder, or files named as their masks",
        )
    return found[0]


def _grid(prediction: str, truth: str, grid: str | None) -> str:
    """The raster whose pixels are counted."""
    if holds_raster(prediction, PREDICTION):
        return prediction
    if grid is not None:
        return grid
    if holds_raster(truth, TRUTH):
        return truth
    raise SpecError(
        f"{prediction} and {truth} are both polygons: there are no pixels to count",
        hint="--grid scene.tif names the raster whose pixels are counted",
    )
