"""Maps without gaps, simplified as a whole: what two polygons share, they go on to share."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import shapely

from geotiler.core.contour import PixelSides, side_ends
from geotiler.core.outlines import Outlines

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Geometries = npt.NDArray[np.object_]

TOLERANCE_PX = 1.25
"""Corners whose triangle has no more than the square of this are smoothed away: the steps of a
slanted border have triangles of half a pixel."""

CONTOUR_PX = 0.6
"""The same for borders between the pixels, which have no steps."""


def noded(tables: Sequence[Outlines]) -> Geometries:
    """Polygons of all outlines, with a corner wherever another outline has one.

    A long side that two others meet halfway has no corner there of its own; without one, its
    neighbours' corner could move away from it.
    """
    corners = np.unique(np.concatenate([_packed(table.xy) for table in tables]))
    polygons = []
    for table in tables:
        starts = table.ring_starts
        following = np.arange(1, len(table.xy) + 1)
        following[starts[1:] - 1] = starts[:-1]
        xy = table.xy.astype(np.int64)
        step = xy[following] - xy
        length = np.abs(step).sum(axis=1)
        of = np.repeat(np.arange(len(xy)), length)
        along = np.arange(len(of)) - (np.cumsum(length) - length)[of]
        points = xy[of] + np.sign(step)[of] * along[:, None]
        kept = (along == 0) | np.isin(_packed(points), corners, assume_unique=False)
        ring = np.repeat(np.arange(len(starts) - 1), np.diff(starts))[of]
        rings = shapely.linearrings(points[kept].astype(np.float64), indices=ring[kept])
        polygons.append(table.polygons_of(rings))
    return np.concatenate(polygons)


def contoured(
    tables: Sequence[Outlines], sides: Sequence[PixelSides], points: Sequence[Floats]
) -> Geometries:
    """Polygons of all outlines through points on their sides, without gaps between them.

    Where three borders or more meet around the corner of a pixel, all of them go on to the middle
    of their points: between these there would be a gap otherwise.

    Args:
        tables: outlines of the whole map.
        sides: of each table.
        points: (side, 2): x and y on each side, the same for both outlines that share it.
    """
    ends = [side_ends(each) for each in sides]
    corners, middles = _junctions(ends, points)
    polygons = []
    for table, each, at, (start, _) in zip(tables, sides, points, ends, strict=True):
        corner = _packed(start)
        meets = np.isin(corner, corners)
        place = np.repeat(np.arange(len(at)), 1 + meets)
        vertices = at[place]
        first = np.flatnonzero(meets) + np.arange(int(meets.sum()))
        vertices[first] = middles[np.searchsorted(corners, corner[meets])]
        polygons.append(table.polygons_of(shapely.linearrings(vertices, indices=each.ring[place])))
    return np.concatenate(polygons)


def _junctions(ends: Sequence[tuple[Ints, Ints]], points: Sequence[Floats]) -> tuple[Ints, Floats]:
    """Corners of pixels, packed, that three sides or more meet at, and the means (corner, 2) of
    the points on these.

    The means lie within the square of the four pixels' centres, on whose edges the points are:
    lines from a mean to its points do not cross.
    """
    low = np.concatenate([np.minimum(*each) for each in ends])
    high = np.concatenate([np.maximum(*each) for each in ends])
    is_down = (high[:, 1] > low[:, 1]).astype(np.int64)
    chosen = np.unique(_packed(low) * 2 + is_down, return_index=True)[1]
    at = np.tile(np.concatenate(points)[chosen], (2, 1))
    both = np.concatenate([_packed(low[chosen]), _packed(high[chosen])])
    corners, group, count = np.unique(both, return_inverse=True, return_counts=True)
    sums = np.stack([np.bincount(group, axis) for axis in at.T], axis=1)
    meets = count > 2
    return corners[meets], sums[meets] / count[meets][:, None]


def _packed(xy: npt.NDArray[np.integer]) -> npt.NDArray[np.int64]:
    x, y = xy.astype(np.int64).T
    packed: npt.NDArray[np.int64] = (y << 32) | x
    return packed


def simplified_coverage(polygons: Geometries, scale: Floats, tolerance: float) -> Geometries:
    """Polygons with fewer corners, whose common borders stay common.

    Args:
        polygons: as `noded` or `contoured` makes them, all of the map.
        scale: (2): size of a pixel on the ground, one for the whole map.
        tolerance: in the unit of `scale`; 0 leaves everything as it is.

    Source: Visvalingam and Whyatt, The Cartographic Journal 30 (1993), as GEOS does it for
    coverages.
    """
    if tolerance <= 0 or not len(polygons):
        return polygons
    ground = shapely.transform(polygons, lambda points: points * scale)
    thin = shapely.coverage_simplify(ground, tolerance)
    back: Geometries = shapely.transform(thin, lambda points: points / scale)
    return back
