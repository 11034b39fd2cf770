"""The truth on the grid of a mask: class ids per window, from a raster or from polygons."""

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
from geotiler.io.label_polygons import PolygonLabels, in_pixels, is_polygonal
from geotiler.io.label_rasters import (
    SampledLabels,
    is_raster,
    is_same_grid,
    overlaps_raster,
    warped_labels,
)
from geotiler.io.label_source import Classes, Frame, LabelSource, frame_of
from geotiler.io.labels import Labels, label_rule
from geotiler.io.raster import Scene, open_scene
from geotiler.io.vector import Features, read_features
from geotiler.specs import Window

_HINT = "--truth takes a raster of class ids, or polygons"
_SAME_PLACE = "--truth takes a raster or vector file of the same place"


@dataclass(frozen=True, kw_only=True)
class Truth:
    """What is known to be there, on the grid of a mask."""

    source: LabelSource
    notes: tuple[str, ...] = ()
    """Choices that were made in reading it."""

    def read(self, window: Window) -> Classes:
        """Class ids (row, col); 0 background, 255 unknown."""
        return self.source.read(window)


@contextmanager
def open_truth(path: str, mask: Scene) -> Iterator[Truth]:
    """The truth for an open mask.

    A raster on another grid or in another CRS is resampled to the mask's pixels (nearest);
    polygons are burned where they contain a pixel's centre. Polygons are class 1, or what their
    attribute `class` says if it names the mask's classes. Where truth and mask overlap in part,
    pixels beyond a truth raster are unknown; beyond polygons they are background.

    Raises:
        InputError: neither raster nor vector file, or not on the mask's ground.
    """
    frame = frame_of(mask, (Axis.scaled(mask.height, 1.0), Axis.scaled(mask.width, 1.0)))
    if not is_raster(path, _HINT):
        yield _polygon_truth(path, read_features(path), mask, frame)
        return
    with open_scene(path) as scene:
        rule = label_rule(scene, whole_floats=True)
        notes = [rule.note] if rule.note else []
        if _is_taken_as_it_is(scene, mask, frame):
            if scene.crs != mask.crs:
                notes.append(f"only one of {path} and {mask.path} has a CRS: taken pixel by pixel")
            source = SampledLabels(Labels(scene, rule), frame.axes)
            yield Truth(source=source, notes=tuple(notes))
            return
        notes.append(f"{path} is resampled to {mask.path}")
        with warped_labels(path, frame, rule) as warped:
            yield Truth(source=warped, notes=tuple(notes))


def _is_taken_as_it_is(scene: Scene, mask: Scene, frame: Frame) -> bool:
    """Whether pixels correspond one by one; otherwise they can be brought onto the grid.

    Raises:
        InputError: neither.
    """
    if scene.crs is None or mask.crs is None:
        if scene.shape != mask.shape:
            raise InputError(
                f"{scene.path} is {scene.height} x {scene.width} pixels (rows, columns), "
                f"{mask.path} is {mask.height} x {mask.width}; without a CRS they must be equal",
                hint=_SAME_PLACE,
            )
        return True
    if is_same_grid(scene, frame):
        return True
    if not overlaps_raster(scene.path, frame):
        raise _elsewhere(scene.path, mask)
    return False


def _elsewhere(path: str, mask: Scene) -> InputError:
    return InputError(f"{path} and {mask.path} do not overlap", hint=_SAME_PLACE)


def _polygon_truth(path: str, features: Features, mask: Scene, frame: Frame) -> Truth:
    shapes, ids = _polygons(path, features, mask.class_names)
    placed, exists = in_pixels(path, shapes, features.crs, frame, "--truth")
    if not exists.all():
        raise InputError(f"{path} has points that do not exist in the CRS of {mask.path}")
    left, top, right, bottom = shapely.bounds(placed).T
    here = (left < mask.width) & (right > 0) & (top < mask.height) & (bottom > 0)
    if len(placed) and not here.any():
        raise _elsewhere(path, mask)
    notes = ()
    if mask.crs is None:
        notes = (f"{mask.path} has no CRS: {path} is taken to be in its pixels",)
    return Truth(source=PolygonLabels(placed, ids), notes=notes)


def _polygons(
    path: str, features: Features, names: Mapping[int, str]
) -> tuple[npt.NDArray[np.object_], npt.NDArray[np.uint8]]:
    """Polygonal geometries and the class id of each."""
    polygonal = is_polygonal(features.geometries)
    if len(polygonal) and not polygonal.any():
        raise InputError(f"{path} holds no polygons", hint=_HINT)
    shapes = features.geometries[polygonal]
    ids = np.ones(len(shapes), np.uint8)
    by_name = {name.casefold(): class_id for class_id, name in names.items()}
    column: Any = features.attributes.get("class")
    if column is not None and by_name:
        # Features of classes that the mask does not know are background.
        said = [str(value).casefold() for value in np.asarray(column)[polygonal]]
        if set(said) & set(by_name):
            ids = np.array([by_name.get(name, 0) for name in said], np.uint8)
    return shapes, ids
