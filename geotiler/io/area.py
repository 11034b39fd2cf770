"""A part of a scene that is asked for, in the scene's own pixels."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyproj
import rasterio.features
import shapely
from affine import Affine
from numpy.typing import NDArray
from shapely.affinity import scale, translate

from geotiler.errors import InputError
from geotiler.io.raster import Scene
from geotiler.io.scene_extent import coordinates_told, crs_of, crs_told, extent, told_numbers
from geotiler.specs import Window

_BURN_ROWS = 256
"""Rows burned at once, counted from the scene's first: what a pixel gets does not depend on which
window it is asked for with."""

_EDGE_PARTS = 64
"""Pieces that the longest edge is cut into on its way to another CRS, where it is a curve."""

_EDGE_PX = 0.01
"""What is no wider is a line and rounding."""

_MERCATOR, _MERCATOR_RADIUS_M = 3857, 6378137.0


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

    def scaled(self, x: float, y: float) -> Area:
        """The same area in pixels of an overview: so many times as many across and down."""
        return Area(scale(self.polygons, x, y, origin=(0, 0)))

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
        InputError: no file of polygons, or only one of the two has a CRS.
        OutsideError: it lies beside the scene.
    """
    # loads pandas, which takes a third of a second
    from geotiler.io.vector_reading import read_features

    features = read_features(path)
    kinds = shapely.get_type_id(features.geometries)
    others = ~np.isin(kinds, (3, 6))  # Polygon, MultiPolygon
    if not len(kinds) or others.any():
        found = features.geometries[others][0].geom_type if len(kinds) else "no polygon"
        raise InputError(f"{path} holds {found}", hint="--aoi takes a file of polygons alone")
    if (features.crs is None) != (scene.crs is None):
        missing = path if features.crs is None else scene.path
        raise InputError(
            f"{missing} has no CRS, so that area and scene cannot be laid together",
            hint="--bounds takes coordinates of the scene",
        )
    told = shapely.union_all(shapely.make_valid(features.geometries))
    area = told if features.crs is None else moved(told, features.crs, crs_of(scene))
    named = "" if features.crs is None else f" in {crs_told(features.crs)}"
    name = f"{path}, at {told_numbers(told.bounds)}{named},"
    return on_scene(area, scene, name, hint=lambda: _misplaced(told, features.crs, scene))


def _misplaced(told: shapely.Geometry, crs: pyproj.CRS | None, scene: Scene) -> str:
    """What may be wrong with polygons that lie beside a scene: what would lie on it is told."""
    swapped = shapely.transform(told, lambda xy: xy[:, ::-1])
    if crs is not None and _lies_on(told, scene):
        return (
            f"its numbers lie on the scene as they are, in {coordinates_told(scene)}: "
            "it says another CRS than it has"
        )
    if _lies_on(swapped if crs is None else moved(swapped, crs, crs_of(scene)), scene):
        return "with x and y swapped it lies on the scene"
    return "geotiler info tells where the scene lies"


def _lies_on(area: shapely.Geometry, scene: Scene) -> bool:
    try:
        on_scene(area, scene, "")
    except InputError:
        return False
    return True


def moved(area: shapely.Geometry, source: pyproj.CRS, target: pyproj.CRS) -> shapely.Geometry:
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
    placed = shapely.transform(area, lambda xy: np.stack(way.transform(*xy.T), axis=1))
    if not _around(target):
        return placed
    parts = shapely.get_parts(placed)
    whole = [_unbroken(part, _around(target)) for part in parts]
    broken = any(one is not other for one, other in zip(parts, whole, strict=True))
    return shapely.union_all(whole) if broken else placed


def _unbroken(polygon: shapely.Geometry, around: float) -> shapely.Geometry:
    """A polygon whose x goes on where the way to its CRS jumped to the other end of the world."""
    x, y = shapely.get_coordinates(polygon).T
    if not np.isfinite(x).all():
        return polygon
    turns = np.rint((np.unwrap(x, period=around) - x) / around)
    going_on = x + turns * around  # exactly, so that the end of a ring is its beginning
    if not turns.any() or np.ptp(going_on) > around / 2:  # around a pole, say
        return polygon
    return shapely.transform(polygon, lambda _: np.stack([going_on, y], axis=1))


def on_scene(
    area: shapely.Geometry,
    scene: Scene,
    name: str,
    *,
    hint: Callable[[], str | None] = lambda: None,
) -> Area:
    """An area in the scene's CRS, in its pixels.

    Longitudes may go on beyond 180, in the scene or in the area: whole turns are tried as well.
    """
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
        raise InputError(f"{name} has no place in the CRS of {scene.path}", hint=hint())
    whole = shapely.box(0, 0, scene.width, scene.height)
    pieces = [
        shapely.intersection(
            shapely.make_valid(shapely.transform(translate(area, turn), to_pixels)), whole
        )
        for turn in (0.0, *_turns(scene))
    ]
    more = [piece for piece in pieces[1:] if _is_more_than_an_edge(piece)]
    polygons = shapely.union_all([pieces[0], *more]) if more else pieces[0]
    if polygons.is_empty or not polygons.area:
        raise OutsideError(
            f"{name} does not touch {scene.path}, which covers {told_numbers(extent(scene))} in "
            f"{coordinates_told(scene)}",
            hint=hint(),
        )
    return Area(polygons)


def _turns(scene: Scene) -> tuple[float, ...]:
    """Once around the world, either way, in the scene's coordinates; none where that is nowhere.

    Nor on a scene wider than the world and a pixel (maps may repeat a column): its coordinates are
    no places, whatever it says.
    """
    around = 0.0 if scene.crs is None else _around(crs_of(scene))
    left, _, right, _ = extent(scene)
    pixel = (1 + _EDGE_PX) * (abs(scene.transform.a) + abs(scene.transform.b))
    return (-around, around) if around and right - left <= around + pixel else ()


def _around(crs: pyproj.CRS) -> float:
    """What x grows by once around the world: 360 in degrees; 0 where it does not.

    Of projections in Web Mercator alone, whose maps are asked for beyond their edge.
    """
    if crs.is_geographic:
        return round(math.tau / crs.axis_info[0].unit_conversion_factor, 9)
    return math.tau * _MERCATOR_RADIUS_M if crs.to_epsg() == _MERCATOR else 0.0


def _is_more_than_an_edge(piece: shapely.Geometry) -> bool:
    """Whether what lies on a scene is not the line alone at which a turn begins and ends."""
    left, top, right, bottom = piece.bounds
    return bool(piece.area and min(right - left, bottom - top) > _EDGE_PX)
