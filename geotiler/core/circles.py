"""Round outlines."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import shapely

from geotiler.core.outline_edges import OutlineEdges

Floats = npt.NDArray[np.float64]
Geometries = npt.NDArray[np.object_]

SMALLEST_RADIUS_PX = 5.0
"""Below that a circle and a square with worn corners look alike."""

LARGEST_MEAN_PX, LARGEST_PX = 0.45, 1.3
"""Mean and largest distance of the outline of a round thing from its circle: the staircase alone
has a mean of a quarter of a pixel, and at most 0.71."""

SAGITTA_PX = 0.1
"""How far the chords of a drawn circle stay inside it."""


def circles(edges: OutlineEdges) -> tuple[Geometries, Floats]:
    """Circles (polygon) for the polygons that are round and have no holes, and the mean distance
    (polygon) of the outline from them, infinite for all others.

    The centre is that of the area, and the area is kept.
    """
    count = len(edges.origin)
    polygon = edges.ring_polygon[edges.ring][edges.segment_edge]
    start, stop = edges.start, edges.stop
    cross = start[:, 0] * stop[:, 1] - stop[:, 0] * start[:, 1]
    area = np.bincount(polygon, cross, count) / 2
    safe = np.where(area != 0, area, 1.0)
    both = cross[:, None] * (start + stop)
    moments = [np.bincount(polygon, both[:, axis], count) for axis in (0, 1)]
    centre = np.stack(moments, axis=1) / (6 * safe)[:, None]
    radius = np.sqrt(np.abs(area) / np.pi)
    middle = (start + stop) / 2 - centre[polygon]
    length = np.hypot(*(stop - start).T)
    off = np.abs(np.hypot(middle[:, 0], middle[:, 1]) - radius[polygon])
    whole = np.bincount(polygon, length, count)
    mean = np.bincount(polygon, off * length, count) / np.where(whole > 0, whole, 1.0)
    ends = start - centre[polygon]
    worst = np.zeros(count)
    np.maximum.at(worst, polygon, np.abs(np.hypot(ends[:, 0], ends[:, 1]) - radius[polygon]))
    simple = np.bincount(edges.ring_polygon, minlength=count) == 1
    is_round = (
        simple & (radius >= SMALLEST_RADIUS_PX) & (mean <= LARGEST_MEAN_PX) & (worst <= LARGEST_PX)
    )
    drawn = np.full(count, None, object)
    for index in np.flatnonzero(is_round):
        ring = centre[index] + _circle(float(radius[index]))
        drawn[index] = shapely.Polygon(ring / edges.scale[index] + edges.origin[index])
    return drawn, np.where(is_round, mean, np.inf)


def _circle(radius: float) -> Floats:
    """(n, 2): corners of a regular polygon with the area of a circle about (0, 0)."""
    quarter = np.ceil(np.pi / (4 * np.arccos(1 - SAGITTA_PX / radius)))
    number = 4 * int(max(quarter, 3))
    wide = radius * np.sqrt(2 * np.pi / (number * np.sin(2 * np.pi / number)))
    angle = np.arange(number) * (2 * np.pi / number)
    ring: Floats = wide * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return ring
