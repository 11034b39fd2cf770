"""Outlines as they would be drawn: right angles, diagonals, free walls, circles, or left alone.

A polygon is tried in the ways that its mode allows, simplest first. The first result is taken that
is valid and whose outline lies near enough to the polygon's own; where there is none, the polygon
is given back as it came and its status says so.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import shapely

from geotiler.core.circles import circles
from geotiler.core.collapse import LEAST, LEAST_FREE, freed, simplest
from geotiler.core.nearness import deviation
from geotiler.core.orientation import dominant_angle, sharpened
from geotiler.core.outline_edges import OutlineEdges, outline_edges
from geotiler.core.walls import (
    EIGHTH,
    FREE,
    Walls,
    angle_between,
    corners,
    misfit,
    neighbours,
)
from geotiler.specs import Regularize

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Geometries = npt.NDArray[np.object_]

WORST_WALL_PX = 1.6
"""Root mean square distance of a wall from its boundary above which right angles are refused: a
wall of another direction, which the mean over the whole outline would hide."""

FAR_CORNER_PX = 4.0
"""Corners that lie further from the outline, as after a chamfer of 8 px, are refused."""

PLAIN_WALLS, PLAIN_RATIO = 6, 1.15
"""A round outline of so few right angles, no more than this much further off, is no circle."""


class Status(enum.IntEnum):
    """What became of a polygon."""

    SIMPLIFIED = 0
    """No regular outline was near enough, or none was asked for."""
    RIGHT_ANGLES = 1
    """Walls follow the building's direction, stand square to it, or run at 45° to it."""
    ANY_ANGLE = 2
    """Some walls have directions of their own."""
    CIRCLE = 3
    CUT = 4
    """Any of these, cut back where it would have covered a neighbour."""

    @property
    def label(self) -> str:
        """As written to files."""
        return self.name.lower()


@dataclass(frozen=True, kw_only=True)
class Regularized:
    """What became of some polygons, in their order."""

    geometries: Geometries
    """Regular ones in place, the others as they came."""
    status: npt.NDArray[np.uint8]
    """(polygon): `Status`."""
    deviation_px: Floats
    """(polygon): mean distance from the outline that came; 0 where nothing changed."""
    angle: Floats
    """(polygon): direction of the building, radians in [0, π/2) from x to y, pixels made square;
    NaN for those that could not be tried."""


def regularize(
    polygons: Geometries,
    pixel_size: Floats,
    *,
    mode: Regularize = Regularize.AUTO,
    bound_px: float = 0.75,
    grain_px: float = 1.0,
) -> Regularized:
    """Regular outlines of polygons, each decided by itself alone.

    Args:
        polygons: in pixel coordinates, straight from the mask: not simplified.
        pixel_size: (polygon, 2): size of a pixel on the ground.
        mode: what may be tried.
        bound_px: largest mean distance between a result and the polygon's outline.
        grain_px: side of the pixels that the mask was made in, where it was enlarged since; all
            distances are in these.

    Laws: what is not refused is valid and deviates by no more than the bound; polygons keep
    their number of rings; the result for a polygon does not depend on the others.
    """
    count = len(polygons)
    result = polygons.copy()
    status = np.zeros(count, np.uint8)
    off = np.zeros(count)
    angle = np.full(count, np.nan)
    if mode is Regularize.NONE:
        return Regularized(geometries=result, status=status, deviation_px=off, angle=angle)
    boxes = _is_box(polygons)
    status[boxes], angle[boxes] = Status.RIGHT_ANGLES, 0.0
    is_polygon = shapely.get_type_id(polygons) == shapely.GeometryType.POLYGON
    single = np.flatnonzero(is_polygon & ~boxes)
    if single.size:
        side = np.sqrt(pixel_size[single].prod(axis=1))
        edges = outline_edges(polygons[single], pixel_size[single] / (side * grain_px)[:, None])
        found = _tried(edges, mode, bound_px)
        result[single] = np.where(found.status > 0, found.geometries, polygons[single])
        status[single], off[single], angle[single] = found.status, found.deviation_px, found.angle
    return Regularized(geometries=result, status=status, deviation_px=off, angle=angle)


def _is_box(polygons: Geometries) -> Bools:
    """(polygon): whether nothing is left to be drawn; in noise that is most of them."""
    bounds = shapely.bounds(polygons)
    extent = np.prod(bounds[:, 2:] - bounds[:, :2], axis=1)
    few = shapely.get_num_coordinates(polygons) == 5
    boxes: Bools = few & (shapely.area(polygons) == extent)
    return boxes


def _tried(edges: OutlineEdges, mode: Regularize, bound_px: float) -> Regularized:
    """What became of the polygons that the edges are of."""
    count = len(edges.origin)
    angle = dominant_angle(edges.moments, edges.ring_polygon[edges.ring], count)
    found = Regularized(
        geometries=np.full(count, None, object),
        status=np.zeros(count, np.uint8),
        deviation_px=np.zeros(count),
        angle=angle,
    )
    number = np.zeros(count, np.int64)
    for way in _WAYS[mode]:
        left = np.flatnonzero(found.status == Status.SIMPLIFIED)
        if not left.size:
            break
        part = edges if len(left) == count else edges.select(found.status == Status.SIMPLIFIED)
        _try(found, number, left, part, way, bound_px)
    if mode is Regularize.AUTO:
        rings, off = circles(edges)
        plain = (found.status == Status.RIGHT_ANGLES) & (number <= PLAIN_WALLS)
        plain &= found.deviation_px <= PLAIN_RATIO * off
        good = (off <= bound_px) & ~plain
        found.geometries[good], found.deviation_px[good] = rings[good], off[good]
        found.status[good] = Status.CIRCLE
    np.remainder(angle, np.pi / 2, out=angle)
    return found


_WAYS = {
    Regularize.RIGHT_ANGLES: (Status.RIGHT_ANGLES,),
    Regularize.ANY_ANGLE: (Status.ANY_ANGLE,),
    Regularize.AUTO: (Status.RIGHT_ANGLES, Status.ANY_ANGLE),
}


@dataclass(frozen=True, kw_only=True)
class _Drawn:
    """One way to draw some polygons."""

    geometries: Geometries
    off: Floats
    """(polygon): mean distance from the outline; infinite where it cannot be drawn so."""
    angle: Floats
    walls: Ints
    """(polygon): number of walls."""


def _try(
    found: Regularized, number: Ints, left: Ints, edges: OutlineEdges, way: Status, bound_px: float
) -> None:
    """Enters what can be drawn in one way into `found` and `number` (of walls).

    First the likeliest description is looked at; then, where that lies too far off, the likeliest
    of those that keep the bound; then the most detailed.

    Args:
        found: of all polygons; the directions in it are used, too.
        number: of all polygons.
        left: positions of the polygons to be drawn.
        edges: of these.
        way: right angles or any angle.
        bound_px: largest mean distance.
    """
    free = way == Status.ANY_ANGLE
    for walls in _described(edges, found.angle[left], (np.inf, bound_px, 0.0), free=free):
        still = found.status[left] == Status.SIMPLIFIED
        if not still.any():
            return
        drawn = _drawn(edges, walls, found.angle[left], still, free=free)
        good = drawn.off <= bound_px
        where = left[good]
        found.geometries[where] = drawn.geometries[good]
        found.deviation_px[where] = drawn.off[good]
        found.angle[where] = drawn.angle[good]
        found.status[where] = way
        number[where] = drawn.walls[good]


def _described(
    edges: OutlineEdges, angle: Floats, bounds_px: tuple[float, ...], *, free: bool
) -> list[Walls]:
    """Walls of the polygons for each bound; rings that have too few are missing.

    Args:
        edges: of the polygons.
        angle: (polygon): direction of each.
        bounds_px: descriptions further off than this are left out.
        free: walls may have directions of their own.
    """
    least = LEAST_FREE if free else LEAST
    walls = _first_walls(edges, angle, free=free)
    short = np.bincount(walls.ring, minlength=len(edges.ring_polygon)) < least
    return simplest(walls.take(~short[walls.ring]), free=free, bounds_px=bounds_px)


def _drawn(
    edges: OutlineEdges, walls: Walls, angle: Floats, chosen: Bools, *, free: bool
) -> _Drawn:
    """The chosen polygons with walls along their directions, which all their walls decide."""
    count, ring_polygon = len(angle), edges.ring_polygon
    there = np.zeros(len(ring_polygon), bool)
    there[walls.ring] = True
    chosen = chosen.copy()
    chosen[ring_polygon[~there]] = False
    walls = walls.take(chosen[ring_polygon[walls.ring]])
    turn = sharpened(walls, ring_polygon[walls.ring], count)
    fixed = walls.turn != FREE
    walls = walls.turned(walls.angle + np.where(fixed, turn[ring_polygon[walls.ring]], 0))
    return _closed(edges, walls, angle + turn, chosen, free=free)


def _first_walls(edges: OutlineEdges, angle: Floats, *, free: bool) -> Walls:
    """A wall for each edge, those of one direction in a row taken together."""
    own = angle[edges.ring_polygon[edges.ring]]
    chord = edges.head - edges.tail
    along = np.arctan2(chord[:, 1], chord[:, 0])
    turn = np.rint(angle_between(own, along) / EIGHTH).astype(np.int64) % 8
    direction = own + turn * EIGHTH
    if free:
        turn, direction = freed(edges.moments, turn, direction, along)
    walls = Walls(
        moments=edges.moments,
        angle=direction,
        turn=turn,
        head=edges.head,
        extra=np.zeros(len(turn)),
        ring=edges.ring,
    )
    walls = _grouped(walls)
    if free:  # several edges of one wall show better where it goes than each of them
        turn, direction = freed(walls.moments, walls.turn, walls.angle, walls.angle)
        walls = replace(walls, turn=turn, angle=direction)
    return _with_turns(walls)


def _grouped(walls: Walls) -> Walls:
    """Walls with the same fixed turn in a row as one."""
    before, after = neighbours(walls.ring)
    goes_on = (walls.turn != FREE) & (walls.turn == walls.turn[before])
    begins = ~goes_on
    # A ring that never changes its turn is no ring; it will be refused as too short.
    none = np.bincount(walls.ring[begins], minlength=int(walls.ring.max(initial=-1)) + 1) == 0
    begins[np.searchsorted(walls.ring, np.flatnonzero(none))] |= True
    first = np.searchsorted(walls.ring, walls.ring)  # of each wall's ring
    group = np.cumsum(begins) - 1
    # What comes before the first beginning of a ring belongs to the ring's last group.
    base = group[first] - begins[first]
    size = np.bincount(walls.ring[begins], minlength=int(walls.ring.max(initial=-1)) + 1)
    early = group <= base
    group = np.where(early, base + size[walls.ring], group)
    kept = np.flatnonzero(begins)
    moments = np.zeros((len(kept), 6))
    np.add.at(moments, group, walls.moments)
    ends = ~goes_on[after] | none[walls.ring]
    head = np.zeros((len(kept), 2))
    head[group[ends]] = walls.head[ends]
    merged = walls.take(kept)
    return Walls(
        moments=moments, angle=merged.angle, turn=merged.turn, head=head,
        extra=merged.extra, ring=merged.ring,
    )  # fmt: skip


def _with_turns(walls: Walls) -> Walls:
    """The same walls with a short one across wherever one is followed by its way back."""
    _, after = neighbours(walls.ring)
    back = np.abs(angle_between(walls.angle, walls.angle[after])) > np.pi - np.radians(12.0)
    if not back.any():
        return walls
    place = np.repeat(np.arange(len(walls)), 1 + back)
    added = np.zeros(len(place), bool)
    added[1:] = place[1:] == place[:-1]
    wide = walls.take(place)
    moments, angle, turn = wide.moments.copy(), wide.angle.copy(), wide.turn.copy()
    # A boundary of no more than a thousandth of a pixel: it fixes the place, and weighs nothing.
    x, y = wide.head[added].T
    small = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=1) * 1e-3
    moments[added] = small
    coming = walls.angle[after][place[added]]
    cross = np.sin(angle_between(angle[added], coming))
    step = np.where(cross >= 0, 2, -2)
    angle[added] = angle[added] + step * EIGHTH
    turn[added] = np.where(turn[added] == FREE, FREE, (turn[added] + step) % 8)
    return Walls(
        moments=moments, angle=angle, turn=turn, head=wide.head, extra=wide.extra * ~added,
        ring=wide.ring,
    )  # fmt: skip


def _closed(
    edges: OutlineEdges, walls: Walls, angle: Floats, chosen: Bools, *, free: bool
) -> _Drawn:
    """Polygons whose corners are where walls meet, and how far they lie off."""
    count = len(chosen)
    of_wall = edges.ring_polygon[walls.ring]
    off = np.where(chosen, 0.0, np.inf)
    rms = np.sqrt(misfit(walls.moments, walls.angle) / np.maximum(walls.moments[:, 0], 1e-9))
    if not free:
        off[of_wall[rms > WORST_WALL_PX]] = np.inf
    geometries = np.full(count, None, object)
    number = np.bincount(of_wall, minlength=count)
    good = np.flatnonzero(np.isfinite(off))
    walls = walls.take(np.isfinite(off)[of_wall])
    if good.size:
        corner = corners(walls)
        distance, far = deviation(edges, walls.ring, corner)
        polygon_rings = edges.ring_polygon
        rings = np.unique(walls.ring)
        points = edges.placed(corner, walls.ring)
        lines = shapely.linearrings(points, indices=np.searchsorted(rings, walls.ring))
        made = shapely.polygons(lines, indices=np.searchsorted(good, polygon_rings[rings]))
        geometries[good] = made
        off[good] = np.where(shapely.is_valid(made), distance[good], np.inf)
        off[far > FAR_CORNER_PX] = np.inf
    return _Drawn(geometries=geometries, off=off, angle=angle, walls=number)
