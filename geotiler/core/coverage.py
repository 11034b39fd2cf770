"""Maps without gaps, simplified as a whole: what two polygons share, they go on to share."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import shapely

from geotiler.core.polygons import Outlines

Floats = npt.NDArray[np.float64]
Geometries = npt.NDArray[np.object_]

TOLERANCE_PX = 1.25
"""Corners whose triangle has no more than the square of this are smoothed away: the steps of a
slanted border have triangles of half a pixel."""


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


def _packed(xy: npt.NDArray[np.integer]) -> npt.NDArray[np.int64]:
    x, y = xy.astype(np.int64).T
    packed: npt.NDArray[np.int64] = (y << 32) | x
    return packed


def simplified_coverage(polygons: Geometries, scale: Floats, tolerance: float) -> Geometries:
    """Polygons with fewer corners, whose common borders stay common.

    Args:
        polygons: as `noded` makes them, all of the map.
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
