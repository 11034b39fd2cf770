"""How far drawn outlines lie from those of the mask."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import shapely

from geotiler.core.outline_edges import OutlineEdges
from geotiler.core.walls import neighbours

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

MOST_SEGMENTS = 128
"""Mean distances of rings with twice as many segments, or more, are taken from a sample."""

MANY_LINES = 64
"""Rings with more segments are searched through an index."""

PIECE_PX = 2.0
"""Longest piece of outline that is judged by its middle."""


def deviation(edges: OutlineEdges, ring: Ints, corner: Floats) -> tuple[Floats, Floats]:
    """Mean distance (polygon) of the outline from rings drawn for it, and the largest distance
    (polygon) of their corners from the simplified outline; in pixels.

    Args:
        edges: the outline.
        ring: (corner): ring of each corner, ascending; rings may be missing.
        corner: (corner, 2): drawn rings, not closed.
    """
    count = len(edges.origin)
    segment_ring = edges.ring[edges.segment_edge]
    there = np.zeros(len(edges.ring_polygon), bool)
    there[ring] = True
    chosen = there[segment_ring] & _sampled(segment_ring)
    start, stop = _pieces(edges.start[chosen], edges.stop[chosen])
    owner = np.repeat(segment_ring[chosen], _piece_counts(edges.start[chosen], edges.stop[chosen]))
    middle, length = (start + stop) / 2, np.hypot(*(stop - start).T)
    _, after = neighbours(ring)
    away = _nearest(middle, owner, corner, corner[after], ring)
    polygon = edges.ring_polygon[owner]
    total = np.bincount(polygon, away * length, count)
    whole = np.bincount(polygon, length, count)
    mean = total / np.where(whole > 0, whole, 1.0)

    # The simplified outline is within a pixel of the outline, and has a tenth of its pieces.
    chosen = there[edges.ring]
    off = _nearest(corner, ring, edges.tail[chosen], edges.head[chosen], edges.ring[chosen])
    far = np.zeros(count)
    np.maximum.at(far, edges.ring_polygon[ring], off)
    return mean, far


def _sampled(ring: Ints) -> npt.NDArray[np.bool_]:
    """(segment): True for all of a small ring, and for every so many of a large one."""
    starts = np.searchsorted(ring, np.arange(int(ring.max(initial=-1)) + 2))
    step = np.maximum(np.diff(starts) // MOST_SEGMENTS, 1)
    sampled: npt.NDArray[np.bool_] = (np.arange(len(ring)) - starts[ring]) % step[ring] == 0
    return sampled


def _piece_counts(start: Floats, stop: Floats) -> Ints:
    length = np.hypot(*(stop - start).T)
    number: Ints = np.maximum(np.ceil(length / PIECE_PX), 1).astype(np.int64)
    return number


def _pieces(start: Floats, stop: Floats) -> tuple[Floats, Floats]:
    """Segments cut into equal pieces that are short enough."""
    number = _piece_counts(start, stop)
    of = np.repeat(np.arange(len(number)), number)
    inside = np.arange(len(of)) - (np.cumsum(number) - number)[of]
    step = (stop - start) / number[:, None]
    low = start[of] + step[of] * inside[:, None]
    return low, low + step[of]


def _nearest(point: Floats, ring: Ints, start: Floats, stop: Floats, line_ring: Ints) -> Floats:
    """(point): distance to the nearest segment of the same ring.

    Args:
        point: (n, 2).
        ring: (n), ascending.
        start: (m, 2): segments.
        stop: (m, 2).
        line_ring: (m), ascending.
    """
    rings = np.arange(int(ring[-1]) + 2 if len(ring) else 1)
    line_starts, point_starts = np.searchsorted(line_ring, rings), np.searchsorted(ring, rings)
    number = np.diff(line_starts)
    result = np.empty(len(point))
    for one in np.flatnonzero(number > MANY_LINES):
        lines = slice(line_starts[one], line_starts[one + 1])
        points = slice(point_starts[one], point_starts[one + 1])
        whole = shapely.multilinestrings(
            shapely.linestrings(np.stack([start[lines], stop[lines]], axis=1))
        )
        shapely.prepare(whole)
        result[points] = shapely.distance(shapely.points(point[points]), whole)
    few = np.flatnonzero(number[ring] <= MANY_LINES)
    few = few[np.argsort(-number[ring[few]], kind="stable")]
    count, first = number[ring[few]], line_starts[ring[few]]
    x, y = point[few].T
    best = np.full(len(few), np.inf)
    chord = stop - start
    square = chord[:, 0] ** 2 + chord[:, 1] ** 2
    share = chord / np.where(square > 0, square, 1)[:, None]
    for turn in range(int(count.max(initial=0))):
        # Those with the most lines come first, so that all that have one more are a slice.
        size = int(np.searchsorted(-count, -turn, side="left"))
        line = first[:size] + turn
        dx, dy = x[:size] - start[line, 0], y[:size] - start[line, 1]
        along = np.clip(dx * share[line, 0] + dy * share[line, 1], 0, 1)
        dx -= along * chord[line, 0]
        dy -= along * chord[line, 1]
        np.minimum(best[:size], dx * dx + dy * dy, out=best[:size])
    result[few] = np.sqrt(best)
    return result
