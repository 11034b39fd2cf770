"""Outlines of a class raster as cyclic lists of horizontal segments, all with array operations.

The outline of a set of pixels is a closed walk that alternates between horizontal and vertical
pixel sides. It is followed so that a shell runs to the right along its top side. A maximal
horizontal stretch is a *segment*, from its *tail* to its *head*; a vertical *side* leads from
the head of one segment to the tail of the next. Segments are found by comparing each row with
the one above, sides by sorting the ends of the segments by column: no pixel is walked.

Where two pixels of a class touch at a corner only, each turns its own corner. That is right for
two components; a component that touches itself there would get a ring through one point twice,
which is invalid, so `walk` exchanges the two ways on: the ring falls into two that touch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array
from scipy.sparse.csgraph import breadth_first_order, connected_components

Ints = npt.NDArray[np.int64]
Coords = npt.NDArray[np.int32]
Bools = npt.NDArray[np.bool_]
Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class Segments:
    """Maximal horizontal stretches of outlines, in pixel corners."""

    number: Ints
    """Unique over the whole raster."""
    tail: Coords
    """x where the segment starts."""
    head: Coords
    """x where it ends; right of the tail on a top side, left of it on a bottom side."""
    y: Coords
    class_id: Bytes

    def take(self, positions: Ints) -> Segments:
        """The segments at `positions`, as a copy."""
        return Segments(
            number=self.number[positions],
            tail=self.tail[positions],
            head=self.head[positions],
            y=self.y[positions],
            class_id=self.class_id[positions],
        )

    @staticmethod
    def concatenate(tables: Sequence[Segments]) -> Segments:
        """All segments of several tables, in order."""
        return Segments(
            number=np.concatenate([table.number for table in tables]),
            tail=np.concatenate([table.tail for table in tables]),
            head=np.concatenate([table.head for table in tables]),
            y=np.concatenate([table.y for table in tables]),
            class_id=np.concatenate([table.class_id for table in tables]),
        )


@dataclass(frozen=True, kw_only=True)
class Sides:
    """Ends of vertical sides."""

    column: Ints
    """2 x + s: s = 0 where the class lies left of the side (the walk goes down it), else 1."""
    y: Ints
    down: Bools
    """Whether the side goes down from this end."""
    segment: Ints
    """Number of the segment that has its head or tail here."""
    run: Ints
    """Run of pixels that the segment bounds."""

    @staticmethod
    def none() -> Sides:
        """No side at all."""
        empty = np.empty(0, np.int64)
        return Sides(column=empty, y=empty, down=np.empty(0, bool), segment=empty, run=empty)


class Found(NamedTuple):
    """What one block of rows shows."""

    segments: Segments
    run: Ints
    """(segment): the run of pixels it bounds."""
    sides: Sides


class Rings(NamedTuple):
    """Closed outlines, part by part, a part's shell before its holes."""

    xy: npt.NDArray[np.int32]
    """(vertex, 2)."""
    starts: Ints
    """(ring + 1)."""
    area_px: Ints
    """(ring): negative for holes."""
    part: Ints
    """(ring)."""


def offsets(sizes: Ints) -> Ints:
    """(n + 1): where groups of the given sizes begin, and where the last one ends."""
    result = np.zeros(len(sizes) + 1, np.int64)
    np.cumsum(sizes, out=result[1:])
    return result


def runs(flat: Bytes) -> tuple[Ints, Ints]:
    """Start and stop of each stretch of equal non-zero values; the last value must be 0."""
    breaks = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    starts = breaks[flat[breaks] != 0]
    if flat[0]:
        starts = np.concatenate([[0], starts])
    return starts, breaks[flat[breaks - 1] != 0]


def connected_labels(count: int, pairs: Ints) -> Ints:
    """(count): component number of each node of the graph with the edges `pairs` (n, 2)."""
    ones = np.ones(len(pairs), np.uint8)
    graph = csr_array((ones, (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    labels: Ints = connected_components(graph, directed=False)[1].astype(np.int64)
    return labels


def connected(grid: Bytes, run_starts: Ints, *, corners: bool = False) -> Ints:
    """(n, 2): pairs of runs of neighbouring rows that touch along a side (or at a corner).

    Args:
        grid: (row, col) whose last column is 0.
        run_starts: of `grid.ravel()`.
        corners: pairs that touch at a corner of two other classes instead.
    """
    stride = grid.shape[1]
    flat = grid.ravel()
    upper, lower = flat[:-stride], flat[stride:]
    if corners:
        falling = (upper[:-1] == lower[1:]) & (upper[:-1] != upper[1:]) & (upper[:-1] > 0)
        rising = (upper[1:] == lower[:-1]) & (upper[1:] != upper[:-1]) & (upper[1:] > 0)
        above = np.concatenate([np.flatnonzero(falling), np.flatnonzero(rising) + 1])
        below = np.concatenate([np.flatnonzero(falling) + 1, np.flatnonzero(rising)])
    else:
        above = below = runs(lower * (upper == lower))[0]
    first = np.searchsorted(run_starts, above, side="right") - 1
    second = np.searchsorted(run_starts, below + stride, side="right") - 1
    return np.stack([first, second], axis=1)


def segments_of(grid: Bytes, run_starts: Ints, row: int, first_number: int) -> Found:
    """Segments between each row of `grid` and the next one.

    Args:
        grid: (row, col) whose last column is 0 and whose row 0 was seen before.
        run_starts: of `grid.ravel()`.
        row: row of the raster that grid[1] is.
        first_number: number of the first segment.
    """
    stride = grid.shape[1]
    flat = grid.ravel()
    upper, lower = flat[:-stride], flat[stride:]
    differ = upper != lower
    top, bottom = runs(lower * differ), runs(upper * differ)
    start, stop = np.concatenate([top[0], bottom[0]]), np.concatenate([top[1], bottom[1]])
    is_top = np.arange(len(start)) < len(top[0])
    pixel = start + stride * is_top
    x0, x1 = (start % stride).astype(np.int32), (stop % stride).astype(np.int32)
    y = (start // stride + row).astype(np.int32)
    number = first_number + np.arange(len(start))
    segments = Segments(
        number=number,
        tail=np.where(is_top, x0, x1),
        head=np.where(is_top, x1, x0),
        y=y,
        class_id=flat[pixel],
    )
    run = np.searchsorted(run_starts, pixel, side="right") - 1
    # A corner is concave where the row of the class goes on beyond the segment. (The pixel
    # before the first one is the last of `flat`, which is 0.)
    concave0 = flat[pixel - 1] == segments.class_id
    concave1 = flat[pixel + (stop - start)] == segments.class_id
    sides = Sides(
        column=np.concatenate([2 * x0 + ~concave0, 2 * x1 + concave1]).astype(np.int64),
        y=np.concatenate([y, y]).astype(np.int64),
        down=np.concatenate([is_top != concave0, is_top != concave1]),
        segment=np.concatenate([number, number]),
        run=np.concatenate([run, run]),
    )
    return Found(segments, run, sides)


def pair_sides(carried: Sides, found: Sides) -> tuple[Ints, Ints, Sides]:
    """Links between segments, the run each belongs to, and the sides that are still open.

    A link (a, b) says: the head of segment a leads to the tail of segment b. Sorted down its
    column, every end from which a side goes down is followed by the end it goes to, unless that
    one lies in rows yet to come.
    """
    column = np.concatenate([carried.column, found.column])
    y = np.concatenate([carried.y, found.y])
    down = np.concatenate([carried.down, found.down])
    segment = np.concatenate([carried.segment, found.segment])
    run = np.concatenate([carried.run, found.run])
    base = int(y.min()) if len(y) else 0
    span = int(y.max()) - base + 1 if len(y) else 1
    order = np.argsort((column * span + (y - base)) * 2 + down, kind="stable")
    begins = down[order]
    follows = np.zeros(len(order), bool)
    follows[:-1] = begins[:-1] & ~begins[1:]
    first = np.flatnonzero(follows)
    above, below = order[first], order[first + 1]
    goes_down = column[above] % 2 == 0
    links = np.stack(
        [
            np.where(goes_down, segment[above], segment[below]),
            np.where(goes_down, segment[below], segment[above]),
        ],
        axis=1,
    )
    left = np.sort(order[begins & ~follows])
    still = Sides(
        column=column[left],
        y=y[left],
        down=down[left],
        segment=segment[left],
        run=np.zeros(len(left), np.int64),
    )
    return links, run[below], still


def walk(segments: Segments, links: Ints, part: Ints) -> Rings:
    """Rings of complete outlines.

    Args:
        segments: all segments of some parts.
        links: (n, 2) segment numbers.
        part: (segment): number of its 4-connected part; rings are ordered by it, then by their
            topmost-leftmost corner, where they also begin.
    """
    count = len(part)
    if not count:
        empty = np.empty(0, np.int64)
        return Rings(np.empty((0, 2), np.int32), np.zeros(1, np.int64), empty, empty)
    width = int(max(segments.tail.max(), segments.head.max())) + 1
    top = int(segments.y.min())
    place = part * (int(segments.y.max()) - top + 1) + (segments.y - top)
    order = np.argsort((place * width + segments.tail) * 2 + (segments.tail > segments.head))
    tail, head, y = segments.tail[order], segments.head[order], segments.y[order]
    place = place[order]

    following = _following(segments.number[order], links)
    _exchange_ways(following, place * width + tail, place * width + head)
    sequence, starts = _cycles(following)
    xy = np.empty((2 * count, 2), np.int32)
    xy[0::2, 0], xy[1::2, 0] = tail[sequence], head[sequence]
    xy[:, 1] = np.repeat(y[sequence], 2)
    area = np.add.reduceat(((tail - head) * y.astype(np.int64))[sequence], starts[:-1])
    return Rings(xy, 2 * starts, area, part[order][sequence[starts[:-1]]])


def _following(number: Ints, links: Ints) -> Ints:
    """(segment): position of the next segment, from links between segment numbers."""
    by_number = np.argsort(number)
    ends = by_number[np.searchsorted(number[by_number], links)]
    following = np.empty(len(number), np.int64)
    following[ends[:, 0]] = ends[:, 1]
    return following


def _exchange_ways(following: Ints, tail: Ints, head: Ints) -> None:
    """Exchanges, in place, the ways on where one part has two heads, or two tails, at a point.

    Args:
        following: (segment): position of the next one.
        tail: (segment): a number for its part and the point of its tail; ascending.
        head: the same for its head.
    """
    order = np.argsort(head, kind="stable")
    twice = np.flatnonzero(head[order][1:] == head[order][:-1])
    one, other = order[twice], order[twice + 1]
    following[one], following[other] = following[other], following[one]
    twice = np.flatnonzero(tail[1:] == tail[:-1])
    swap = np.arange(len(tail))
    swap[twice], swap[twice + 1] = twice + 1, twice
    following[:] = swap[following]


def _cycles(following: Ints) -> tuple[Ints, Ints]:
    """The elements cycle by cycle, each from its smallest one on, and where cycles start.

    Args:
        following: a permutation.

    Returns:
        Sequence (n) and starts (cycle + 1).
    """
    count = len(following)
    ones, rows = np.ones(count, np.uint8), np.arange(count + 1)
    labels = connected_components(csr_array((ones, following, rows)), connection="weak")[1]
    smallest = np.empty(int(labels.max()) + 1, np.int64)
    smallest[labels[::-1]] = rows[:-1][::-1]
    sizes = np.bincount(labels)
    by_start = np.argsort(smallest)
    smallest, sizes = smallest[by_start], sizes[by_start]
    # One cycle through all: then a single traversal, in C, lists every ring in order.
    before = np.empty(count, np.int64)
    before[following] = rows[:-1]
    chained = following.copy()
    chained[before[smallest]] = np.roll(smallest, -1)
    graph = csr_array((ones, chained, rows))
    sequence = breadth_first_order(graph, int(smallest[0]), return_predecessors=False)
    return sequence.astype(np.int64), offsets(sizes)
