"""The truth on the grid of a mask: class ids per window, from a raster or from polygons."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyproj
import rasterio
import rasterio.features
import shapely
from affine import Affine
from rasterio.crs import CRS
from rasterio.enums import Resampling
from rasterio.errors import RasterioError
from rasterio.vrt import WarpedVRT
from rasterio.warp import transform_bounds

from geotiler.errors import InputError
from geotiler.io.labels import LabelRule, Labels, label_rule
from geotiler.io.raster import Scene, open_scene
from geotiler.io.vector import DRIVERS, Features, is_vector, read_features
from geotiler.specs import Window

SAME_GRID_PX = 0.01
"""Grids are one when their corners are no further apart."""

Classes = npt.NDArray[np.uint8]


class Truth(Protocol):
    """What is known to be there, on the grid of a mask."""

    notes: tuple[str, ...]
    """Choices that were made in reading it."""

    def read(self, window: Window) -> Classes:
        """Class ids (row, col); 0 background, 255 unknown."""


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
    scene = _raster_or_none(path)
    if scene is None:
        yield _PolygonTruth(path, read_features(path), mask)
        return
    with scene:
        rule = label_rule(scene, whole_floats=True)
        notes = tuple(note for note in (rule.note,) if note)
        if _same_grid(scene, mask):
            yield _RasterTruth(Labels(scene, rule), notes)
        elif _only_one_has_crs(scene, mask) and scene.shape == mask.shape:
            note = f"only one of {path} and {mask.path} has a CRS: taken pixel by pixel"
            yield _RasterTruth(Labels(scene, rule), (*notes, note))
        else:
            _check_overlap(scene, mask)
            with _warped(path, mask) as vrt:
                yield _WarpedTruth(vrt, rule, (*notes, f"{path} is resampled to {mask.path}"))


def _raster_or_none(path: str) -> Scene | None:
    if Path(path).suffix.lower() in DRIVERS and Path(path).suffix.lower() != ".gpkg":
        return None
    try:
        return open_scene(path)
    except InputError as error:
        if is_vector(path):
            return None
        raise InputError(
            error.message, hint="--truth takes a raster of class ids, or polygons"
        ) from error


def _applied(transform: Affine, x: Any, y: Any) -> tuple[Any, Any]:
    """The point (x, y) moved by an affine transform; arrays too."""
    a, b, c, d, e, f = tuple(transform)[:6]
    return a * x + b * y + c, d * x + e * y + f


def _same_grid(scene: Scene, mask: Scene) -> bool:
    if scene.shape != mask.shape or scene.crs != mask.crs:
        return False
    if mask.crs is None:
        return True
    corners = [(0, 0), (mask.width, 0), (0, mask.height), (mask.width, mask.height)]
    there = [_applied(~mask.transform, *_applied(scene.transform, *xy)) for xy in corners]
    return bool(np.abs(np.subtract(there, corners)).max() <= SAME_GRID_PX)


def _only_one_has_crs(scene: Scene, mask: Scene) -> bool:
    return (scene.crs is None) != (mask.crs is None)


def _check_overlap(scene: Scene, mask: Scene) -> None:
    if scene.crs is None or mask.crs is None:
        raise InputError(
            f"{scene.path} is {scene.height} x {scene.width} pixels (rows, columns), "
            f"{mask.path} is {mask.height} x {mask.width}; without a CRS they must be equal",
            hint="--truth takes a raster or vector file of the same place",
        )
    try:
        bounds = transform_bounds(scene.crs, mask.crs, *_bounds(scene))
    except RasterioError as error:
        raise _elsewhere(scene.path, mask) from error
    if not _touch(bounds, _bounds(mask)):
        raise _elsewhere(scene.path, mask)


def _bounds(scene: Scene) -> tuple[float, float, float, float]:
    corners = [(0, 0), (scene.width, 0), (0, scene.height), (scene.width, scene.height)]
    xs, ys = zip(*(_applied(scene.transform, *corner) for corner in corners), strict=True)
    return min(xs), min(ys), max(xs), max(ys)


def _touch(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _elsewhere(path: str, mask: Scene) -> InputError:
    return InputError(
        f"{path} and {mask.path} do not overlap",
        hint="--truth takes a raster or vector file of the same place",
    )


class _RasterTruth:
    """A raster on the mask's own grid."""

    def __init__(self, labels: Labels, notes: tuple[str, ...]) -> None:
        self._labels = labels
        self.notes = notes

    def read(self, window: Window) -> Classes:
        return self._labels.read(window)


@contextmanager
def _warped(path: str, mask: Scene) -> Iterator[WarpedVRT]:
    """The raster at `path` on the grid of `mask`; its alpha band tells what lies outside."""
    try:
        with (
            rasterio.open(path) as dataset,
            WarpedVRT(
                dataset,
                crs=mask.crs,
                transform=mask.transform,
                width=mask.width,
                height=mask.height,
                resampling=Resampling.nearest,
                src_nodata=None,
                nodata=None,
                add_alpha=True,
            ) as vrt,
        ):
            yield vrt
    except RasterioError as error:
        raise InputError(f"{path} cannot be brought onto the grid of {mask.path}") from error


class _WarpedTruth:
    """A raster on another grid."""

    def __init__(self, vrt: WarpedVRT, rule: LabelRule, notes: tuple[str, ...]) -> None:
        self._vrt = vrt
        self._nodata = vrt.src_dataset.nodata
        self._rule = rule
        self.notes = notes

    def read(self, window: Window) -> Classes:
        area = rasterio.windows.Window(window.col, window.row, window.width, window.height)
        values, alpha = self._vrt.read([1, 2], window=area)
        inside = alpha > 0
        valid = inside & (values != self._nodata) if self._nodata is not None else inside
        classes = self._rule.apply(values, valid)
        # The rule may read a stored 0 as background; outside nothing is stored.
        classes[~inside] = 255
        return classes


class _PolygonTruth:
    """Polygons, burned window by window."""

    def __init__(self, path: str, features: Features, mask: Scene) -> None:
        self.notes: tuple[str, ...] = ()
        shapes, ids = _polygons(path, features, mask.class_names)
        if mask.crs is None:
            self.notes = (f"{mask.path} has no CRS: {path} is taken to be in its pixels",)
            self._shapes = shapes
        else:
            self._shapes = _in_pixels(path, features.crs, shapes, mask, mask.crs)
        self._ids = ids
        self._tree = shapely.STRtree(self._shapes)
        frame = shapely.box(0, 0, mask.width, mask.height)
        if len(shapes) and not self._tree.query(frame).size:
            raise _elsewhere(path, mask)

    def read(self, window: Window) -> Classes:
        frame = shapely.box(window.col, window.row, window.col_stop, window.row_stop)
        # In the order of the file: where polygons overlap the later one holds.
        chosen = np.sort(self._tree.query(frame))
        if not chosen.size:
            return np.zeros(window.shape, np.uint8)
        burned: Classes = rasterio.features.rasterize(
            zip(self._shapes[chosen], self._ids[chosen].tolist(), strict=True),
            out_shape=window.shape,
            transform=Affine.translation(window.col, window.row),
            dtype=np.uint8,
        )
        return burned


def _polygons(
    path: str, features: Features, names: Mapping[int, str]
) -> tuple[npt.NDArray[np.object_], npt.NDArray[np.uint8]]:
    """Polygonal geometries and the class id of each."""
    kinds = shapely.get_type_id(features.geometries)
    polygonal = np.isin(kinds, [shapely.GeometryType.POLYGON, shapely.GeometryType.MULTIPOLYGON])
    if len(kinds) and not polygonal.any():
        raise InputError(
            f"{path} holds no polygons", hint="--truth takes polygons or a raster of class ids"
        )
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


def _in_pixels(
    path: str,
    crs: pyproj.CRS | None,
    shapes: npt.NDArray[np.object_],
    mask: Scene,
    mask_crs: CRS,
) -> npt.NDArray[np.object_]:
    """The shapes in pixel coordinates of the mask."""
    if crs is None:
        raise InputError(
            f"{path} has no CRS, but {mask.path} has one",
            hint="--truth takes a vector file with a CRS",
        )
    to_mask = pyproj.Transformer.from_crs(crs, mask_crs.to_wkt(), always_xy=True)
    points = shapely.get_coordinates(shapes)
    x, y = to_mask.transform(points[:, 0], points[:, 1])
    pixels = np.stack(_applied(~mask.transform, x, y), axis=1)
    if not np.isfinite(pixels).all():
        raise InputError(f"{path} has points that do not exist in the CRS of {mask.path}")
    moved: npt.NDArray[np.object_] = shapely.set_coordinates(shapes.copy(), pixels)
    return moved
