"""The two sides of a comparison, truth and prediction, on the pixels of one raster."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely

from geotiler.core.resample import Axis
from geotiler.errors import InputError
from geotiler.io.label_polygons import (
    PolygonLabels,
    in_pixels,
    is_polygonal,
    no_such_attribute,
)
from geotiler.io.label_rasters import (
    SampledLabels,
    is_raster,
    is_same_grid,
    overlaps_raster,
    warped_labels,
    why_not_taken,
)
from geotiler.io.label_source import Classes, Frame, LabelSource, frame_of
from geotiler.io.labels import Labels, label_rule
from geotiler.io.raster import Scene, open_scene
from geotiler.io.vector_reading import attribute_names, read_features
from geotiler.specs import LARGEST_CLASS, MASK_NODATA, Window

CLASS_ATTRIBUTE = "class"
"""What is looked at where no attribute is asked for; polygons need not have it."""
TRUTH = "--truth"
PREDICTION = "PREDICTION"

Names = Mapping[int, str]


@dataclass(frozen=True, kw_only=True)
class Side:
    """What is known to be there, or was found there, on a grid."""

    source: LabelSource
    polygons: PolygonLabels | None = None
    """In pixels of the grid; None where the side is a raster."""
    notes: tuple[str, ...] = ()
    """Choices that were made in reading it."""

    def read(self, window: Window) -> Classes:
        """Class ids (row, col); 0 background, 255 unknown."""
        return self.source.read(window)


def whole_frame(scene: Scene) -> Frame:
    """The pixels of a raster, as they are."""
    return frame_of(scene, (Axis.scaled(scene.height, 1.0), Axis.scaled(scene.width, 1.0)))


def holds_raster(path: str, flag: str) -> bool:
    """Whether a side is a raster, not features.

    Raises:
        InputError: neither, or missing.
    """
    return is_raster(path, f"{flag} takes a raster of class ids, or polygons")


@contextmanager
def open_side(
    path: str, grid: Scene, names: Names, *, flag: str, attribute: str = CLASS_ATTRIBUTE
) -> Iterator[Side]:
    """One side on the grid of an open raster, which may be that side itself.

    A raster on another grid or in another CRS is resampled to the grid's pixels (nearest);
    polygons are burned where they contain a pixel's centre. Polygons are class 1, or what their
    attribute says if it holds names or ids of classes. Pixels beyond a raster are unknown; beyond
    polygons they are background.

    Args:
        path: raster of class ids, or vector file.
        grid: whose pixels are compared.
        names: id → name of the classes that polygons may say.
        flag: that named the file, for hints.
        attribute: of polygons, that tells their class.

    Raises:
        InputError: neither raster nor vector file, or not on the grid's ground.
    """
    frame = whole_frame(grid)
    if not holds_raster(path, flag):
        yield _polygon_side(path, grid, frame, names, flag, attribute)
        return
    with open_scene(path) as scene:
        rule = label_rule(scene)
        notes = [rule.note] if rule.note else []
        if _is_taken_as_it_is(scene, grid, frame, flag):
            if scene.crs != grid.crs:
                notes.append(f"only one of {path} and {grid.path} has a CRS: taken pixel by pixel")
            source = SampledLabels(Labels(scene, rule), frame.axes)
            yield Side(source=source, notes=tuple(notes))
            return
        notes.append(f"{path} is resampled to {grid.path}")
        with warped_labels(path, frame, rule) as warped:
            yield Side(source=warped, notes=tuple(notes))


def _is_taken_as_it_is(scene: Scene, grid: Scene, frame: Frame, flag: str) -> bool:
    """Whether pixels correspond one by one; otherwise they can be brought onto the grid.

    Raises:
        InputError: neither.
    """
    if scene.crs is None or grid.crs is None:
        if reason := why_not_taken(scene, frame):
            raise InputError(reason, hint=_same_place(flag))
        return True
    if is_same_grid(scene, frame):
        return True
    if not overlaps_raster(scene.path, frame):
        raise _elsewhere(scene.path, grid, flag)
    return False


def _same_place(flag: str) -> str:
    return f"{flag} takes a raster or vector file of the same place"


def _elsewhere(path: str, grid: Scene, flag: str) -> InputError:
    return InputError(f"{path} and {grid.path} do not overlap", hint=_same_place(flag))


def _polygon_side(
    path: str, grid: Scene, frame: Frame, names: Names, flag: str, attribute: str
) -> Side:
    features = read_features(path)
    polygonal = is_polygonal(features.geometries)
    if len(polygonal) and not polygonal.any():
        raise InputError(
            f"{path} holds no polygons", hint=f"{flag} takes a raster of class ids, or polygons"
        )
    column = features.attributes.get(attribute)
    values = None if column is None else np.asarray(column)[polygonal]
    ids, unknown = _class_ids(values, int(polygonal.sum()), names)
    placed, exists = in_pixels(path, features.geometries[polygonal], features.crs, frame, flag)
    if not exists.all():
        raise InputError(f"{path} has points that do not exist in the CRS of {grid.path}")
    left, top, right, bottom = shapely.bounds(placed).reshape(-1, 4).T
    here = (left < grid.width) & (right > 0) & (top < grid.height) & (bottom > 0)
    if len(placed) and not here.any():
        raise _elsewhere(path, grid, flag)
    labels = PolygonLabels(placed[here], ids[here])
    notes = [f"{unknown} polygons of {path} are of other classes: background"] if unknown else []
    return Side(source=labels, polygons=labels, notes=tuple(notes))


def _class_ids(
    values: npt.NDArray[Any] | None, count: int, names: Names
) -> tuple[npt.NDArray[np.uint8], int]:
    """Class of each polygon, and how many are of classes that nobody knows: background."""
    # Where nothing tells, they are of the one class there is.
    only = np.full(count, next(iter(names)) if len(names) == 1 else 1, np.uint8)
    if values is None or not names:
        return only, 0
    by_text = {str(class_id): class_id for class_id in names}
    by_text |= {name.casefold(): class_id for class_id, name in names.items()}
    ids = np.array([by_text.get(str(value).casefold(), 0) for value in values], np.uint8)
    if not ids.any():
        return only, 0
    return ids, int(np.count_nonzero(ids == 0))


def class_names(paths: Mapping[str, str], attribute: str) -> dict[int, str]:
    """Id → name of the classes that two sides speak of, as far as they have names.

    The first raster that names its classes decides; where there is none, the values of the
    polygons' attribute in alphabetical order.

    Args:
        paths: path → flag that named it, the prediction first.
        attribute: of polygons.

    Raises:
        SpecError: it was asked for, and neither side's polygons have it.
    """
    drawn = [path for path, flag in paths.items() if not holds_raster(path, flag)]
    asked = attribute != CLASS_ATTRIBUTE
    if asked and drawn and not any(attribute in attribute_names(path) for path in drawn):
        raise no_such_attribute(drawn[-1], attribute)
    values: dict[str, str] = {}
    """Text in lower case → as it was said first."""
    for path, flag in paths.items():
        if holds_raster(path, flag):
            with open_scene(path) as scene:
                names = {k: name for k, name in scene.class_names.items() if 0 < k < MASK_NODATA}
            if names:
                return names
        elif attribute in attribute_names(path):
            column = read_features(path, columns=[attribute]).attributes[attribute]
            for text in sorted({str(value) for value in column if value is not None}):
                values.setdefault(text.casefold(), text)
    if values and all(text.isdecimal() for text in values):  # polygons of a mask without names
        return {int(text): text for text in values if 0 < int(text) <= LARGEST_CLASS}
    return dict(enumerate(sorted(values.values())[:LARGEST_CLASS], start=1))
