"""Which found object is which true one, decided while a scene is read from top to bottom.

Objects are polygons in pixel coordinates. They are given when they are complete and forgotten as
soon as nothing that is still to come can be their partner, so that what is held does not grow
with the scene.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import shapely
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Geometries = npt.NDArray[np.object_]

_ROOM_PX = 2.0
"""How far the simplified outline of an object may lie outside of its pixels, generously."""


@dataclass(frozen=True, kw_only=True)
class Objects:
    """Complete objects of one side, truth or prediction."""

    shapes: Geometries
    """(n): polygons and multipolygons in pixels, valid and with an area."""
    class_id: npt.NDArray[np.uint8]
    number: Ints
    """(n): what the caller calls each; -1 where it does not matter."""

    @classmethod
    def none(cls) -> Objects:
        """No objects."""
        return cls(
            shapes=np.empty(0, object), class_id=np.empty(0, np.uint8), number=np.empty(0, np.int64)
        )

    def __len__(self) -> int:
        return len(self.shapes)

    def take(self, chosen: Ints | Bools) -> Objects:
        """The chosen objects, by position or by a mask."""
        return Objects(
            shapes=self.shapes[chosen], class_id=self.class_id[chosen], number=self.number[chosen]
        )

    def __add__(self, other: Objects) -> Objects:
        return Objects(
            shapes=np.concatenate([self.shapes, other.shapes]),
            class_id=np.concatenate([self.class_id, other.class_id]),
            number=np.concatenate([self.number, other.number]),
        )


@dataclass(frozen=True, kw_only=True)
class Unfinished:
    """Objects of one side that go on below the rows that were read."""

    bounds: Floats
    """(n, 4): left, top, right, bottom of what is known of them, in pixels."""
    area_px: Floats
    """(n): of what is known of them."""

    @classmethod
    def none(cls) -> Unfinished:
        """No objects."""
        return cls(bounds=np.empty((0, 4)), area_px=np.empty(0))


@dataclass(frozen=True, kw_only=True)
class Matches:
    """Objects whose fate is decided."""

    truth: Objects
    predicted: Objects
    """Partner of each of `truth`, in the same order."""
    iou: Floats
    missed: Objects
    """True objects without a partner."""
    false: Objects
    """Found objects without a partner."""


@dataclass
class _Pending:
    """Objects of one side that wait."""

    objects: Objects = field(default_factory=Objects.none)
    area: Floats = field(default_factory=lambda: np.empty(0))
    bounds: Floats = field(default_factory=lambda: np.empty((0, 4)))
    linked: int = 0
    """How many of them, from the first, have been compared with all objects of the other side."""

    def add(self, objects: Objects) -> None:
        self.objects += objects
        self.area = np.concatenate([self.area, shapely.area(objects.shapes)])
        self.bounds = np.concatenate([self.bounds, shapely.bounds(objects.shapes).reshape(-1, 4)])

    def keep(self, stay: Bools) -> None:
        self.linked = int(np.count_nonzero(stay[: self.linked]))
        self.objects = self.objects.take(stay)
        self.area, self.bounds = self.area[stay], self.bounds[stay]


class ObjectMatcher:
    """Pairs of objects of one class whose intersection over union is large enough.

    The best pair comes first, and an object has one partner at most. Where the objects of a side
    do not overlap each other and the least is over one half, there is one possible partner only.

    Law: the pairs do not depend on how the scene is cut into strips.
    """

    def __init__(self, least_iou: float = 0.5) -> None:
        """Args: least_iou: of a pair, in (0, 1]."""
        self._least = least_iou
        self._truth, self._predicted = _Pending(), _Pending()
        self._pairs: Ints = np.empty((0, 2), np.int64)
        """(pair, 2): positions among the waiting true and found objects."""
        self._iou: Floats = np.empty(0)

    def add(self, truth: Objects, predicted: Objects) -> None:
        """Give the next objects of either side."""
        self._truth.add(truth)
        self._predicted.add(predicted)

    def settle(self, row: float, truth: Unfinished, predicted: Unfinished) -> Matches:
        """What is decided when everything above a row is known, but for unfinished objects.

        Args:
            row: every object that begins above it was given or is unfinished.
            truth: unfinished true objects.
            predicted: unfinished found objects.
        """
        self._link()
        closed = (
            _is_closed(self._truth, row, predicted, self._least),
            _is_closed(self._predicted, row, truth, self._least),
        )
        count = len(self._truth.objects), len(self._predicted.objects)
        group = _groups(count, self._pairs)
        waits = np.zeros(int(group.max(initial=-1)) + 1, bool)
        waits[group[~np.concatenate(closed)]] = True
        decided = ~waits[group]
        ready = decided[self._pairs[:, 0]]
        chosen = _best_first(self._pairs[ready], self._iou[ready])
        return self._release(decided, self._pairs[ready][chosen], self._iou[ready][chosen], ready)

    def _link(self) -> None:
        """Compare what is new on either side."""
        truth, predicted = self._truth, self._predicted
        old, new = slice(0, truth.linked), slice(truth.linked, None)
        found = [
            self._compared(new, slice(0, None)),
            self._compared(old, slice(predicted.linked, None)),
        ]
        self._pairs = np.concatenate([self._pairs, *(pairs for pairs, _ in found)])
        self._iou = np.concatenate([self._iou, *(iou for _, iou in found)])
        truth.linked, predicted.linked = len(truth.objects), len(predicted.objects)

    def _compared(self, of_truth: slice, of_predicted: slice) -> tuple[Ints, Floats]:
        """Pairs (pair, 2) that are good enough, and their intersection over union."""
        truth, predicted = self._truth, self._predicted
        first = of_truth.start or 0, of_predicted.start or 0
        tree = shapely.STRtree(predicted.objects.shapes[of_predicted])
        one, other = tree.query(truth.objects.shapes[of_truth])
        one, other = one + first[0], other + first[1]
        area = truth.area[one], predicted.area[other]
        # What the boxes share bounds what the objects share; the exact answer costs far more.
        low = np.maximum(truth.bounds[one, :2], predicted.bounds[other, :2])
        high = np.minimum(truth.bounds[one, 2:], predicted.bounds[other, 2:])
        most = np.minimum(np.prod(np.maximum(high - low, 0), axis=1), np.minimum(*area))
        likely = most >= self._least * (area[0] + area[1] - most)
        likely &= truth.objects.class_id[one] == predicted.objects.class_id[other]
        one, other = one[likely], other[likely]
        shared = shapely.area(
            shapely.intersection(truth.objects.shapes[one], predicted.objects.shapes[other])
        )
        iou = shared / (truth.area[one] + predicted.area[other] - shared)
        good = iou >= self._least
        return np.stack([one[good], other[good]], axis=1).astype(np.int64), iou[good]

    def _release(self, decided: Bools, pairs: Ints, iou: Floats, ready: Bools) -> Matches:
        """Hand out what is decided and forget it."""
        split = len(self._truth.objects)
        sides = (self._truth, decided[:split]), (self._predicted, decided[split:])
        alone = []
        for column, (side, done) in enumerate(sides):
            single = done.copy()
            single[pairs[:, column]] = False
            alone.append(side.objects.take(single))
        matches = Matches(
            truth=self._truth.objects.take(pairs[:, 0]),
            predicted=self._predicted.objects.take(pairs[:, 1]),
            iou=iou, missed=alone[0], false=alone[1],
        )  # fmt: skip
        left = self._pairs[~ready]
        moved = [np.cumsum(~done) - 1 for _, done in sides]
        self._pairs = np.stack([moved[0][left[:, 0]], moved[1][left[:, 1]]], axis=1)
        self._iou = self._iou[~ready]
        for side, done in sides:
            side.keep(~done)
        return matches


def _is_closed(side: _Pending, row: float, others: Unfinished, least_iou: float) -> Bools:
    """(n): nothing that is still to come can be the partner of these objects."""
    closed: Bools = side.bounds[:, 3] <= row
    if len(others.area_px) and closed.any():
        room = np.array([-_ROOM_PX, -_ROOM_PX, _ROOM_PX, _ROOM_PX])
        tree = shapely.STRtree(shapely.box(*(others.bounds + room).T))
        index = np.flatnonzero(closed)
        mine, theirs = tree.query(shapely.box(*side.bounds[index].T))
        mine = index[mine]
        # One that is too large already can only grow; outlines may lose a part of their pixels.
        possible = others.area_px[theirs] / 2 * least_iou <= side.area[mine]
        closed[mine[possible]] = False
    return closed


def _groups(count: tuple[int, int], pairs: Ints) -> Ints:
    """(true objects, then found ones): number of the group that pairs tie each to."""
    total = count[0] + count[1]
    if not total:
        return np.empty(0, np.int64)
    ties = csr_array(
        (np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1] + count[0])), shape=(total, total)
    )
    labels: Ints = connected_components(ties, directed=False)[1].astype(np.int64)
    return labels


def _best_first(pairs: Ints, iou: Floats) -> Ints:
    """Positions of the pairs that stay when each object keeps its best partner."""
    taken: tuple[set[int], set[int]] = (set(), set())
    chosen = []
    for position in np.lexsort([pairs[:, 1], pairs[:, 0], -iou]).tolist():
        one, other = pairs[position].tolist()
        if one not in taken[0] and other not in taken[1]:
            taken[0].add(one)
            taken[1].add(other)
            chosen.append(position)
    return np.array(sorted(chosen), np.int64)
