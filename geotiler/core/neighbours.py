"""Outlines that keep off each other, decided as they come, with those near them in view.

The outlines of a mask do not overlap; drawn with straight walls, two of them may, where they stand
a pixel apart. The later one of two is cut back, unless there would be little left of it. A feature
is decided when everything near it is known, and so is everything near that: what comes out depends
on the neighbourhood only, not on the order of work.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely

from geotiler.core.regularize import Status

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
Geometries = npt.NDArray[np.object_]

GAP_PX = 0.05
"""Left between two outlines of which one was cut back, so that rounding does not join them."""

TOUCH_PX2 = 1e-9
"""Overlaps up to this are walls in common."""

MOST_CUT = 0.25
"""Share of its area of which another one covers no more: a polygon that can be cut back."""


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """Some features, in the order in which they will be written."""

    rough: Geometries
    """Outlines of the mask, in pixels; they do not overlap."""
    drawn: Geometries
    """What is to take their place."""
    status: npt.NDArray[np.uint8]
    bounds: Floats
    """(feature, 4): left, top, right, bottom of both."""
    columns: dict[str, npt.NDArray[Any]]
    """Whatever else belongs to each feature."""

    def __len__(self) -> int:
        """Number of features."""
        return len(self.rough)

    def take(self, positions: Ints | Bools) -> Drawn:
        """The features at `positions`."""
        return Drawn(
            rough=self.rough[positions],
            drawn=self.drawn[positions],
            status=self.status[positions],
            bounds=self.bounds[positions],
            columns={name: column[positions] for name, column in self.columns.items()},
        )


def drawn_features(
    rough: Geometries,
    drawn: Geometries,
    status: npt.NDArray[np.uint8],
    columns: dict[str, npt.NDArray[Any]],
) -> Drawn:
    """Features with the bounds of both outlines."""
    one, other = shapely.bounds(rough), shapely.bounds(drawn)
    bounds = np.hstack([np.minimum(one[:, :2], other[:, :2]), np.maximum(one[:, 2:], other[:, 2:])])
    return Drawn(rough=rough, drawn=drawn, status=status, bounds=bounds, columns=columns)


def concatenated(tables: list[Drawn]) -> Drawn:
    """All features of several tables, at least one."""
    return Drawn(
        rough=np.concatenate([each.rough for each in tables]),
        drawn=np.concatenate([each.drawn for each in tables]),
        status=np.concatenate([each.status for each in tables]),
        bounds=np.concatenate([each.bounds for each in tables]),
        columns={
            name: np.concatenate([each.columns[name] for each in tables])
            for name in tables[0].columns
        },
    )


class Neighbourhood:
    """Features on their way out, held back until what is near them has come.

    Law: the features that come out do not overlap where they did not as they came, and are the
    same whatever the batches they came in.
    """

    def __init__(self, reach_px: float) -> None:
        """Args: reach_px: how far a drawn outline may lie beyond its rough one, at most."""
        self._reach = reach_px
        self._waiting: deque[Drawn] = deque()
        self._gone: list[Drawn] = []

    def add(self, features: Drawn, open_bounds: Floats, row: int) -> Iterator[Drawn]:
        """The features that are decided when some more have come, in batches as they came.

        Args:
            features: the next ones.
            open_bounds: (n, 4): left, top, right, bottom that features yet to come have so far.
            row: first row that no feature is known from.
        """
        if len(features):
            self._waiting.append(features)
        if self._waiting:
            unknown = [[-np.inf, row, np.inf, np.inf]]
            wide = np.concatenate([open_bounds, unknown]) + self._reach * np.array([-1, -1, 1, 1])
            yield from self._decided(self._settled(shapely.STRtree(_boxes(wide))))

    def finish(self) -> Iterator[Drawn]:
        """The features that are left: no others will come."""
        yield from self._decided(len(self._waiting))

    def _settled(self, unknown: shapely.STRtree) -> int:
        """How many batches know all their neighbours, and those all of theirs."""
        if unknown.query(_boxes(self._waiting[0].bounds)).size:
            return 0  # most often, and soon seen
        boxes = _boxes(np.concatenate([each.bounds for each in self._waiting]))
        tree = shapely.STRtree(boxes)
        unsettled = np.unique(unknown.query(boxes)[0])
        unsettled = np.unique(tree.query(boxes[unsettled])[1])
        ends = np.cumsum([len(each) for each in self._waiting])
        if not unsettled.size:
            return len(ends)
        return int(np.searchsorted(ends, unsettled[0], side="right"))

    def _decided(self, count: int) -> Iterator[Drawn]:
        """The first batches; those that the waiting ones may meet stay in view."""
        if not count:
            return
        parted = apart(concatenated([*self._gone, *self._waiting]))
        start = sum(map(len, self._gone))
        for _ in range(count):
            first = self._waiting.popleft()
            yield parted.take(np.arange(start, start + len(first)))
            self._gone.append(first)
            start += len(first)
        self._gone = self._in_view()

    def _in_view(self) -> list[Drawn]:
        """Of the features that are gone, the neighbours of waiting ones, and theirs."""
        if not self._waiting:
            return []
        gone = concatenated(self._gone)
        boxes = _boxes(gone.bounds)
        waiting = _boxes(np.concatenate([each.bounds for each in self._waiting]))
        near = np.unique(shapely.STRtree(boxes).query(waiting)[1])
        near = np.unique(shapely.STRtree(boxes).query(boxes[near])[1])
        return [gone.take(near)] if near.size else []


def _boxes(bounds: Floats) -> Geometries:
    """Boxes of (n, 4) left, top, right, bottom; infinite ones are very large."""
    boxes: Geometries = shapely.box(*np.clip(bounds, -1e12, 1e12).T)
    return boxes


def apart(features: Drawn, *, gap_px: float = GAP_PX) -> Drawn:
    """The features with overlaps taken away that their outlines did not have.

    Of two that overlap the later one is cut back. One of which another one covers a large part
    could not be: it gets its own outline, and all others are cut back from that.

    Args:
        features: in the order in which they come first.
        gap_px: left where one was cut back.
    """
    drawn, status = features.drawn.copy(), features.status.copy()
    rough, boxes = features.rough, _boxes(features.bounds)
    pairs = shapely.STRtree(boxes).query(boxes)
    # Boxes that touch share no ground; in noise most pairs do no more.
    low = np.maximum(features.bounds[pairs[0], :2], features.bounds[pairs[1], :2])
    high = np.minimum(features.bounds[pairs[0], 2:], features.bounds[pairs[1], 2:])
    pairs = pairs[:, (pairs[0] != pairs[1]) & (low < high).all(axis=1)]
    # In the order of the features, so that cuts of one are always made in the same order.
    one, other = pairs[:, np.lexsort(pairs[::-1])]
    near = shapely.intersects(drawn[one], rough[other])
    one, other = one[near], other[near]
    covered = shapely.area(shapely.intersection(drawn[one], rough[other]))
    weak = np.zeros(len(drawn), bool)
    weak[other[covered > MOST_CUT * shapely.area(rough[other])]] = True
    drawn[weak], status[weak] = rough[weak], Status.SIMPLIFIED
    held = weak[other] & ~weak[one]
    _cut(drawn, status, one[held], rough[other[held]], gap_px)

    later = pairs[0] > pairs[1]
    one, other = pairs[:, later][:, np.lexsort(pairs[:, later][::-1])]
    kept = drawn.copy()
    near = ~weak[one] & shapely.intersects(kept[one], kept[other])
    _cut(drawn, status, one[near], kept[other[near]], gap_px)
    return replace(features, drawn=drawn, status=status)


def _cut(
    drawn: Geometries,
    status: npt.NDArray[np.uint8],
    index: Ints,
    obstacles: Geometries,
    gap_px: float,
) -> None:
    """Takes obstacles away from the polygons at `index`, in place; the largest part is kept."""
    covered = shapely.area(shapely.intersection(drawn[index], obstacles)) > TOUCH_PX2
    for place, obstacle in zip(index[covered].tolist(), obstacles[covered], strict=True):
        wide = shapely.buffer(obstacle, gap_px, join_style="mitre") if gap_px else obstacle
        parts = shapely.get_parts(shapely.difference(drawn[place], wide))
        parts = parts[shapely.get_type_id(parts) == shapely.GeometryType.POLYGON]
        if drawn[place].geom_type == "MultiPolygon":  # corners that touch are parts of their own
            drawn[place] = shapely.multipolygons(parts)
        elif len(parts):
            drawn[place] = parts[shapely.area(parts).argmax()]
        if status[place] != Status.SIMPLIFIED:
            status[place] = Status.CUT
