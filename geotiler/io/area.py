"""The part of a scene that is asked for, in the scene's own pixels."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass

import numpy as np
import pyproj
import rasterio.features
import shapely
from affine import Affine
from numpy.typing import NDArray

from geotiler.errors import InputError, SpecError
from geotiler.io.raster import Scene, crs_name
from geotiler.specs import Window

_BURN_ROWS = 256
"""Rows burned at once, counted from the scene's first: what a pixel gets does not depend on which
window it is asked for with."""

_EDGE_PARTS = 64
"""Pieces that the longest edge is cut into on its way to another CRS, where it is a curve."""


class OutsideError(InputError):
    """A scene has no pixel of the area that is asked for."""


@dataclass(frozen=True)
class Area:
    """Polygons in pixel coordinates of a scene, x to the right and y down."""

    polygons: shapely.Geometry

    @property
    def is_box(self) -> bool:
        """True if it is one rectangle along rows and columns."""
        return bool(self.polygons.equals(shapely.envelope(self.polygons)))

    @property
    def digest(self) -> str:
        """Tells it from other areas."""
        text = shapely.to_wkb(shapely.normalize(self.polygons), byte_order=1)
        return hashlib.sha256(text).hexdigest()[:16]

    def window(self, shape: tuple[int, int]) -> Window:
        """The smallest window of a scene of that shape that holds all of it that is inside."""
        left, top, right, bottom = self.polygons.bounds
        row, col = max(0, math.floor(top)), max(0, math.floor(left))
        last_row, last_col = min(shape[0], math.ceil(bottom)), min(shape[1], math.ceil(right))
        return Window(row=row, col=col, height=last_row - row, width=last_col - col)

    def touches(self, rows: NDArray[np.float64], columns: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which rectangles it touches: (row ranges, column ranges) from two (n, 2) of limits."""
        shapely.prepare(self.polygons)
        boxes = shapely.box(
            columns[None, :, 0], rows[:, None, 0], columns[None, :, 1], rows[:, None, 1]
        )
        found: NDArray[np.bool_] = shapely.intersects(self.polygons, boxes)
        return found

    def covers(self, window: Window) -> NDArray[np.bool_]:
        """Pixels (row, col) of a window that it touches."""
        first = window.row // _BURN_ROWS * _BURN_ROWS
        blocks = []
        for row in range(first, window.row_stop, _BURN_ROWS):
            block = rasterio.features.rasterize(
                [self.polygons],
                out_shape=(_BURN_ROWS, window.col_stop),
                transform=Affine.translation(0, row),
                all_touched=True,
                dtype="uint8",
            )
            blocks.append(block[:, window.col :] > 0)
        found = np.concatenate(blocks)
        return found[window.row - first : window.row_stop - first]


def area_of_file(path: str, scene: Scene) -> Area:
    """The polygons of a vector file, on a scene.

    Raises:
        InputError: no file of polygons, or without place.
        OutsideError: it lies beside the scene.
    """
    # loads pandas, which takes a third of a second
    from geotiler.io.vector_reading import read_features

    features = read_features(path)
    kinds = shapely.get_type_id(features.geometries)
    if not len(kinds) or not np.isin(kinds, (3, 6)).all():  # Polygon, MultiPolygon
        raise InputError(f"{path} holds no polygons only", hint="--aoi takes a file of polygons")
    if features.crs is None or scene.crs is None:
        missing = path if features.crs is None else scene.path
        raise InputError(
            f"{missing} has no CRS, so that area and scene cannot be laid together",
            hint="--bounds takes coordinates of the scene",
        )
    area = shapely.union_all(shapely.make_valid(features.geometries))
    area = _moved(area, features.crs, _crs_of(scene))
    return _on_scene(area, scene, path, hint="its coordinates may be in another order")


def area_of_bounds(
    bounds: tuple[float, float, float, float], scene: Scene, crs: str | None = None
) -> Area:
    """The rectangle (left, bottom, right, top), or that of the scene's CRS which holds it.

    Args:
        bounds: in a CRS.
        scene: open.
        crs: of the bounds; None: the scene's.

    Raises:
        SpecError: no such CRS.
        InputError: the scene has none, or one of no known place.
        OutsideError: it lies beside the scene.
    """
    left, bottom, right, top = bounds
    box = shapely.box(min(left, right), min(bottom, top), max(left, right), max(bottom, top))
    name = f"--bounds {','.join(f'{value:.10g}' for value in bounds)}"
    if crs is None:
        return _on_scene(box, scene, name, hint=_elsewhere(box, scene))
    if scene.crs is None:
        raise InputError(
            f"{scene.path} has no CRS, so that bounds in {crs} have no place on it",
            hint="leave out --bounds-crs: --bounds takes coordinates of the scene",
        )
    try:
        source = pyproj.CRS.from_user_input(crs)
    except pyproj.exceptions.CRSError as error:
        raise SpecError(f"no such CRS: {crs!r}", hint="as --bounds-crs EPSG:4326") from error
    moved = shapely.envelope(_moved(box, source, _crs_of(scene)))
    return _on_scene(moved, scene, f"{name} in {crs}", hint="geotiler info tells its extent")


def extent(scene: Scene) -> tuple[float, float, float, float]:
    """(left, bottom, right, top) of a scene in its CRS, of a turned one of all corners."""
    corners = np.array([(0, 0), (scene.width, 0), (scene.width, scene.height), (0, scene.height)])
    x, y = scene.transform * corners.T
    return float(np.min(x)), float(np.min(y)), float(np.max(x)), float(np.max(y))


def extent_lonlat(scene: Scene) -> tuple[float, float, float, float] | None:
    """(west, south, east, north) in degrees; None without a CRS, or where it has no such place.

    West of a scene that crosses the antimeridian is larger than east.
    """
    if scene.crs is None:
        return None
    try:
        way = pyproj.Transformer.from_crs(_crs_of(scene), 4326, always_xy=True)
    except pyproj.exceptions.ProjError:  # coordinates of a building site, of no known place
        return None
    west, south, east, north = way.transform_bounds(*extent(scene))
    found = float(west), float(south), float(east), float(north)
    return found if np.isfinite(found).all() else None


def _crs_of(scene: Scene) -> pyproj.CRS:
    return pyproj.CRS.from_wkt(scene.crs.to_wkt())


def _moved(area: shapely.Geometry, source: pyproj.CRS, target: pyproj.CRS) -> shapely.Geometry:
    """An area in another CRS; long edges are curves there.

    Raises:
        InputError: no way leads from one to the other.
    """
    if source == target:
        return area
    left, bottom, right, top = area.bounds
    area = shapely.segmentize(area, max(right - left, top - bottom, 1e-12) / _EDGE_PARTS)
    try:
        way = pyproj.Transformer.from_crs(source, target, always_xy=True)
    except pyproj.exceptions.ProjError as error:
        raise InputError(
            f"coordinates in {source.name} have no known place in {target.name}",
            hint="--bounds without --bounds-crs takes coordinates of the scene",
        ) from error
    return shapely.transform(area, lambda xy: np.stack(way.transform(*xy.T), axis=1))


def _elsewhere(box: shapely.Geometry, scene: Scene) -> str:
    """What to do about bounds that lie beside a scene."""
    degrees = extent_lonlat(scene)
    if degrees is not None and box.intersects(shapely.box(*degrees)):
        return "in degrees they lie on it: --bounds-crs EPSG:4326"
    return "LEFT,BOTTOM,RIGHT,TOP in the same coordinates, or --bounds-crs"


def _on_scene(area: shapely.Geometry, scene: Scene, name: str, *, hint: str) -> Area:
    """An area in the scene's CRS, in its pixels."""
    inverse = ~scene.transform

    def to_pixels(xy: NDArray[np.float64]) -> NDArray[np.float64]:
        x, y = xy.T
        columns = inverse.a * x + inverse.b * y + inverse.c
        rows = inverse.d * x + inverse.e * y + inverse.f
        # Corners that were meant to lie on the grid lie beside it by rounding only.
        pixels = np.stack([columns, rows], axis=1)
        nearest = np.rint(pixels)
        return np.where(np.abs(pixels - nearest) < 1e-6, nearest, pixels)

    if not np.isfinite(shapely.get_coordinates(area)).all():
        raise InputError(f"{name} has no place in the CRS of {scene.path}")
    polygons = shapely.make_valid(shapely.transform(area, to_pixels))
    whole = shapely.box(0, 0, scene.width, scene.height)
    polygons = shapely.intersection(polygons, whole)
    if polygons.is_empty or not polygons.area:
        covered = ",".join(f"{value:.10g}" for value in extent(scene))
        crs = crs_name(scene.crs) or "pixels (it has no CRS)"
        raise OutsideError(
            f"{name} does not touch {scene.path}, which covers {covered} in {crs}", hint=hint
        )
    return Area(polygons)
