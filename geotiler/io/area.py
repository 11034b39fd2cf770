"""The part of a scene that is asked for, in the scene's own pixels."""

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
from rasterio.crs import CRS
from shapely.affinity import translate

from geotiler.errors import GeotilerError, InputError, SpecError
from geotiler.io.raster import Scene
from geotiler.specs import Window

_BURN_ROWS = 256
"""Rows burned at once, counted from the scene's first: what a pixel gets does not depend on which
window it is asked for with."""

_EDGE_PARTS = 64
"""Pieces that the longest edge is cut into on its way to another CRS, where it is a curve."""


_FEW_PX = 32
"""Bounds of less than that on each side are told: in other units they mean something else."""

_EDGE_PX = 0.01
"""What is no wider is a line and rounding."""

_DEGREES = "EPSG:4326"
_MERCATOR, _MERCATOR_RADIUS_M = 3857, 6378137.0
_PIXELS = "bounds of a scene without a CRS are columns and rows of pixels, from the top left"
_UNNAMED = "bounds of a scene whose CRS nobody told are in the coordinates of its transform"


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
        InputError: no file of polygons, or only one of the two has a CRS.
        OutsideError: it lies beside the scene.
    """
    # loads pandas, which takes a third of a second
    from geotiler.io.vector_reading import read_features

    features = read_features(path)
    kinds = shapely.get_type_id(features.geometries)
    others = ~np.isin(kinds, (3, 6))  # Polygon, MultiPolygon
    if not len(kinds) or others.any():
        found = features.geometries[others][0].geom_type if len(kinds) else "nothing"
        raise InputError(f"{path} holds {found}", hint="--aoi takes a file of polygons alone")
    if (features.crs is None) != (scene.crs is None):
        missing = path if features.crs is None else scene.path
        raise InputError(
            f"{missing} has no CRS, so that area and scene cannot be laid together",
            hint="--bounds takes coordinates of the scene",
        )
    area = shapely.union_all(shapely.make_valid(features.geometries))
    if features.crs is not None:
        area = _moved(area, features.crs, _crs_of(scene))
    return _on_scene(area, scene, path, hint=lambda: "its coordinates may be in another order")


def area_of_bounds(
    bounds: tuple[float, float, float, float], scene: Scene, crs: str | None = None
) -> Area:
    """The rectangle (left, bottom, right, top), or that of the scene's CRS which holds it.

    Args:
        bounds: in a CRS. Degrees whose left is larger than their right cross the antimeridian.
        scene: open.
        crs: of the bounds; None: the scene's.

    Raises:
        SpecError: no such CRS, or bounds whose ends are reversed.
        InputError: the scene has none, or one of no known place, or they are less than a pixel.
        OutsideError: it lies beside the scene.
    """
    box = _box(bounds, crs, scene)
    _check_order(bounds, crs, scene)
    name = f"--bounds {_told(bounds)}" + ("" if crs is None else f" in {crs}")
    area = _on_scene(box, scene, name, hint=lambda: _elsewhere(bounds, crs, scene))
    share_px = box.area * abs((~scene.transform).determinant)
    if share_px < 1 - 1e-6:
        raise InputError(
            f"{name} cover {share_px:.2g} of one pixel of {scene.path}, whose extent is "
            f"{_told(extent(scene))} in {_coordinates(scene)}",
            hint=_without_crs(scene)
            if scene.crs is None
            else "LEFT,BOTTOM,RIGHT,TOP, or --bounds-crs",
        )
    return area


def few_pixels(window: Window, scene: Scene) -> str | None:
    """A line about bounds that cover so little that it may be a mistake; None: they do not."""
    if max(window.shape) >= _FEW_PX:
        return None
    told = f"--bounds cover {window.height} × {window.width} pixels of {scene.path}"
    return told if scene.crs is not None else f"{told}: {_without_crs(scene)}"


def _box(
    bounds: tuple[float, float, float, float], crs: str | None, scene: Scene
) -> shapely.Geometry:
    """The rectangle that bounds are, or that holds them, in the scene's coordinates.

    Raises: as `area_of_bounds`, but for a place beside the scene.
    """
    left, bottom, right, top = bounds
    source = _crs_of_bounds(crs, scene)
    if _crosses_antimeridian(bounds, source):
        halves = [shapely.box(left, bottom, 180, top), shapely.box(-180, bottom, right, top)]
    else:
        halves = [
            shapely.box(min(left, right), min(bottom, top), max(left, right), max(bottom, top))
        ]
    if source is None or scene.crs is None:
        return halves[0]
    target = _crs_of(scene)
    found = shapely.union_all([shapely.envelope(_moved(half, source, target)) for half in halves])
    if len(halves) == 1:
        return found
    if target.is_geographic:
        return found
    whole = shapely.envelope(found)
    # In a projection of the whole world they lie at its two ends.
    return whole if whole.area < 2 * found.area else found


def _crs_of_bounds(crs: str | None, scene: Scene) -> pyproj.CRS | None:
    """What bounds are in; None: neither they nor the scene have a CRS.

    Raises:
        SpecError: no such CRS.
        InputError: the scene has none.
    """
    if crs is None:
        return None if scene.crs is None else _crs_of(scene)
    if scene.crs is None:
        raise InputError(
            f"{scene.path} has no CRS, so that bounds in {crs} have no place on it",
            hint="leave out --bounds-crs: --bounds takes coordinates of the scene",
        )
    try:
        return pyproj.CRS.from_user_input(crs)
    except pyproj.exceptions.CRSError as error:
        raise SpecError(f"no such CRS: {crs!r}", hint="as --bounds-crs EPSG:4326") from error


def _crosses_antimeridian(
    bounds: tuple[float, float, float, float], source: pyproj.CRS | None
) -> bool:
    """Whether bounds go from a longitude in the east to one in the west, as RFC 7946 writes them.

    Not beyond half of the world: that is more likely a mistake.
    """
    left, _, right, _ = bounds
    is_far = source is not None and source.is_geographic and -180 <= right < left <= 180
    return is_far and right + 360 - left < 180


def _check_order(bounds: tuple[float, float, float, float], crs: str | None, scene: Scene) -> None:
    """Raises: SpecError: left and right are reversed, or bottom and top.

    Where y goes down, as rows do, the bottom is the larger one: either order says what is meant.
    """
    left, bottom, right, top = bounds
    wrong = []
    if left > right and not _crosses_antimeridian(bounds, _crs_of_bounds(crs, scene)):
        wrong.append(f"left {left:.10g} is larger than right {right:.10g}")
    if bottom > top and (scene.crs is not None or scene.transform.e < 0):
        wrong.append(f"bottom {bottom:.10g} is larger than top {top:.10g}")
    if wrong:
        ordered = left, min(bottom, top), right, max(bottom, top)
        if any(text.startswith("left") for text in wrong):
            ordered = right, ordered[1], left, ordered[3]
        raise SpecError(
            f"`bounds` are reversed: {', '.join(wrong)}",
            hint=f"in order they are --bounds {_told(ordered)}",
        )


def crs_name(crs: CRS | None) -> str | None:
    """Authority and code of a CRS, else its projection; None: there is none."""
    if crs is None:
        return None
    authority = crs.to_authority()
    if authority:
        return ":".join(authority)
    return str(crs.to_dict().get("proj", "a CRS of its own"))


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
    moved = shapely.transform(area, lambda xy: np.stack(way.transform(*xy.T), axis=1))
    if not _around(target):
        return moved
    parts = shapely.get_parts(moved)
    whole = [_unbroken(part, _around(target)) for part in parts]
    broken = any(one is not other for one, other in zip(parts, whole, strict=True))
    return shapely.union_all(whole) if broken else moved


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


def _elsewhere(bounds: tuple[float, float, float, float], crs: str | None, scene: Scene) -> str:
    """What to do about bounds that lie beside a scene: what would lie on it is told."""
    if scene.crs is None:
        return _without_crs(scene)
    left, bottom, right, top = bounds
    swapped = bottom, left, top, right
    if crs is None and _lie_on(bounds, _DEGREES, scene):
        return f"in degrees they lie on it: --bounds-crs {_DEGREES}"
    if crs is not None and _lie_on(bounds, None, scene):
        return "in the scene's own CRS they lie on it: leave out --bounds-crs"
    if _lie_on(swapped, crs, scene):
        return f"x and y are swapped: --bounds {_told(swapped)} lie on it"
    if crs is None and _lie_on(swapped, _DEGREES, scene):
        return (
            "as degrees with longitude first they lie on it: "
            f"--bounds {_told(swapped)} --bounds-crs {_DEGREES}"
        )
    return "LEFT,BOTTOM,RIGHT,TOP in the same coordinates, or --bounds-crs"


def _lie_on(bounds: tuple[float, float, float, float], crs: str | None, scene: Scene) -> bool:
    try:
        _on_scene(_box(bounds, crs, scene), scene, "")
    except GeotilerError:
        return False
    return True


def _told(bounds: tuple[float, float, float, float]) -> str:
    return ",".join(f"{value:.10g}" for value in bounds)


def _coordinates(scene: Scene) -> str:
    """What the coordinates of a scene are, in words."""
    if scene.crs is not None:
        return str(crs_name(scene.crs))
    return "pixels" if _is_plain(scene) else "coordinates of no known CRS"


def _without_crs(scene: Scene) -> str:
    """What bounds of a scene without a CRS are in."""
    return _PIXELS if _is_plain(scene) else _UNNAMED


def _is_plain(scene: Scene) -> bool:
    return bool(scene.transform.almost_equals(Affine.identity()))


def _on_scene(
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
            f"{name} does not touch {scene.path}, which covers {_told(extent(scene))} in "
            f"{_coordinates(scene)}",
            hint=hint(),
        )
    return Area(polygons)


def _turns(scene: Scene) -> tuple[float, ...]:
    """Once around the world, either way, in the scene's coordinates; none where that is nowhere.

    Nor on a scene wider than the world and a pixel (maps may repeat a column): its coordinates are
    no places, whatever it says.
    """
    around = 0.0 if scene.crs is None else _around(_crs_of(scene))
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
