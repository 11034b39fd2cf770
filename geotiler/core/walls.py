"""Outlines as rings of straight walls, each with the moments of the boundary that it stands for.

A wall is a line: a direction, and an offset that is the mean of its boundary. Means, scatters and
squared deviations of any stretch of boundary follow from six sums over it (length, and first and
second moments), so that walls are fitted, moved and merged without touching a point again.

The boundary of a mask is a staircase. Averaged along its length it has no bias: the middle of each
pixel side lies as often outside the true edge as inside, by half a pixel at most.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

FREE = 8
"""`Walls.turn` of a wall that keeps its own direction."""

EIGHTH = np.pi / 4

PARALLEL_RAD = np.radians(12.0)
"""Free walls that differ by less are taken as one wall when what is between them goes."""


@dataclass(frozen=True, kw_only=True)
class Walls:
    """Closed rings of walls, ring by ring, in the order of the outline."""

    moments: Floats
    """(wall, 6): length, then the integrals of x, y, xx, xy, yy along its boundary."""
    angle: Floats
    """(wall): direction, radians."""
    turn: Ints
    """(wall): direction as eighths of a turn from the building's own, 0 to 7, or FREE."""
    head: Floats
    """(wall, 2): about where the wall ends and the next one begins."""
    extra: Floats
    """(wall): integral of the squared distance of boundary that fell to this wall."""
    ring: Ints
    """(wall): ring of each wall, ascending."""

    def __len__(self) -> int:
        """Number of walls."""
        return len(self.angle)

    def take(self, positions: Ints | Bools) -> Walls:
        """The walls at `positions`."""
        return Walls(
            moments=self.moments[positions],
            angle=self.angle[positions],
            turn=self.turn[positions],
            head=self.head[positions],
            extra=self.extra[positions],
            ring=self.ring[positions],
        )

    def turned(self, angle: Floats) -> Walls:
        """The same walls with other directions."""
        return replace(self, angle=angle)

    @property
    def following(self) -> Ints:
        """(wall): the next one of its ring."""
        return neighbours(self.ring)[1]


def joined(tables: list[Walls]) -> Walls:
    """All walls of several tables with different rings, ring by ring."""
    ring = np.concatenate([each.ring for each in tables])
    whole = Walls(
        moments=np.concatenate([each.moments for each in tables]),
        angle=np.concatenate([each.angle for each in tables]),
        turn=np.concatenate([each.turn for each in tables]),
        head=np.concatenate([each.head for each in tables]),
        extra=np.concatenate([each.extra for each in tables]),
        ring=ring,
    )
    return whole.take(np.argsort(ring, kind="stable"))


def neighbours(ring: Ints) -> tuple[Ints, Ints]:
    """(wall): the previous and the next element of the same ring; `ring` is ascending."""
    count = len(ring)
    index = np.arange(count)
    if not count:
        return index, index
    is_first = np.ones(count, bool)
    is_first[1:] = ring[1:] != ring[:-1]
    first = np.flatnonzero(is_first)
    last = np.append(first[1:], count) - 1
    before, after = index - 1, index + 1
    before[first], after[last] = last, first
    return before, after


def segment_moments(start: Floats, stop: Floats) -> Floats:
    """(segment, 6): moments of straight pieces of boundary."""
    step = stop - start
    length = np.hypot(step[:, 0], step[:, 1])
    x, y = ((start + stop) / 2).T
    dx, dy = step.T
    sums = [np.ones_like(x), x, y, x * x + dx * dx / 12, x * y + dx * dy / 12, y * y + dy * dy / 12]
    return np.stack(sums, axis=1) * length[:, None]


def scatter(moments: Floats) -> tuple[Floats, Floats, Floats]:
    """Central second moments xx, xy, yy; not negative on the diagonal."""
    n, x, y, xx, xy, yy = moments.T
    n = np.where(n > 0, n, 1.0)
    return np.maximum(xx - x * x / n, 0), xy - x * y / n, np.maximum(yy - y * y / n, 0)


def principal_angle(moments: Floats) -> Floats:
    """(wall): direction of the line of least squares, radians, up to half a turn."""
    xx, xy, yy = scatter(moments)
    angle: Floats = np.arctan2(2 * xy, xx - yy) / 2
    return angle


def offset(moments: Floats, angle: Floats) -> Floats:
    """(wall): mean distance of the boundary from the origin, along the normal of `angle`."""
    n = np.where(moments[:, 0] > 0, moments[:, 0], 1.0)
    mean: Floats = (np.cos(angle) * moments[:, 2] - np.sin(angle) * moments[:, 1]) / n
    return mean


def squared_distance(moments: Floats, angle: Floats, line: Floats) -> Floats:
    """(wall): integral of the squared distance from the line at an offset, along the boundary."""
    sine, cosine = np.sin(angle), np.cos(angle)
    n, x, y, xx, xy, yy = moments.T
    second = sine * sine * xx - 2 * sine * cosine * xy + cosine * cosine * yy
    first = cosine * y - sine * x
    total: Floats = np.maximum(second - 2 * line * first + line * line * n, 0)
    return total


def misfit(moments: Floats, angle: Floats) -> Floats:
    """(wall): as `squared_distance`, for the line in that direction that fits best."""
    sine, cosine = np.sin(angle), np.cos(angle)
    xx, xy, yy = scatter(moments)
    total: Floats = np.maximum(sine * sine * xx - 2 * sine * cosine * xy + cosine * cosine * yy, 0)
    return total


def angle_between(one: Floats, other: Floats) -> Floats:
    """The turn from one direction to another, radians in [-π, π)."""
    turn: Floats = np.remainder(other - one + np.pi, 2 * np.pi) - np.pi
    return turn


def corners(walls: Walls) -> Floats:
    """(wall, 2): where each wall meets the next one of its ring.

    Walls that are nearly parallel would meet anywhere: between them the corner of the outline is
    taken, moved onto both as far as that goes.
    """
    after = walls.following
    return meeting(
        walls.angle, offset(walls.moments, walls.angle),
        walls.angle[after], offset(walls.moments, walls.angle)[after], walls.head,
    )  # fmt: skip


def meeting(
    angle: Floats, line: Floats, other_angle: Floats, other_line: Floats, near: Floats
) -> Floats:
    """(pair, 2): intersections of lines; where nearly parallel, between the feet of `near`."""
    ca, sa, cb, sb = np.cos(angle), np.sin(angle), np.cos(other_angle), np.sin(other_angle)
    sine = ca * sb - sa * cb
    crossing = np.abs(sine) > np.sin(PARALLEL_RAD)
    safe = np.where(crossing, sine, 1.0)
    # Points p of a line obey -sin(angle) p_x + cos(angle) p_y = line.
    x = (cb * line - ca * other_line) / safe
    y = (sb * line - sa * other_line) / safe
    off_a = line - (ca * near[:, 1] - sa * near[:, 0])
    off_b = other_line - (cb * near[:, 1] - sb * near[:, 0])
    foot_x = near[:, 0] - (off_a * sa + off_b * sb) / 2
    foot_y = near[:, 1] + (off_a * ca + off_b * cb) / 2
    return np.stack([np.where(crossing, x, foot_x), np.where(crossing, y, foot_y)], axis=1)
