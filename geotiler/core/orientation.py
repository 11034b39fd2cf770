"""The direction of a building: the one that most of its walls follow, or stand square to."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from geotiler.core.walls import FREE, Walls, principal_angle, scatter

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

QUARTER = np.pi / 2

BINS = 90
"""Directions modulo a quarter turn are first counted in bins of one degree."""

NEAR_RAD = (np.radians(10.0), np.radians(5.0))
"""Walls this near to the direction found so far decide the next one."""


def dominant_angle(moments: Floats, group: Ints, count: int) -> Floats:
    """(group): direction of each building, radians in [0, π/2).

    The peak of a histogram in which every edge counts with the square of its length, sharpened
    by the line of least squares through the edges near it, those across turned by a quarter.

    Args:
        moments: (edge, 6), see `geotiler.core.walls`.
        group: (edge): building of each edge, ascending.
        count: of buildings.
    """
    angle = np.remainder(principal_angle(moments), QUARTER)
    weight = moments[:, 0] ** 2
    place = angle / QUARTER * BINS
    low = np.floor(place).astype(np.int64)
    share = place - low
    size = count * BINS
    votes = np.bincount(group * BINS + low % BINS, weight * (1 - share), size)
    votes += np.bincount(group * BINS + (low + 1) % BINS, weight * share, size)
    votes = votes.reshape(count, BINS)
    smooth = sum((4 - abs(shift)) * np.roll(votes, shift, axis=1) for shift in range(-3, 4))
    best = np.asarray(smooth).argmax(axis=1) * (QUARTER / BINS)
    for near in NEAR_RAD:
        turns = np.rint((principal_angle(moments) - best[group]) / QUARTER)
        off = principal_angle(moments) - best[group] - turns * QUARTER
        best = best + _correction(moments, best[group] + turns * QUARTER, np.abs(off) < near, group,
                                  count)  # fmt: skip
    result: Floats = np.remainder(best, QUARTER)
    return result


def sharpened(walls: Walls, group: Ints, count: int) -> Floats:
    """(group): what to add to the directions of walls that are not free, in radians."""
    fixed = walls.turn != FREE
    return _correction(walls.moments, walls.angle, fixed, group, count)


def _correction(
    moments: Floats, angle: Floats, chosen: npt.NDArray[np.bool_], group: Ints, count: int
) -> Floats:
    """(group): by how much the directions of the chosen edges are off, by least squares."""
    xx, xy, yy = scatter(moments)
    cosine, sine = np.cos(angle), np.sin(angle)
    along = cosine * cosine * xx + 2 * cosine * sine * xy + sine * sine * yy
    across = sine * sine * xx - 2 * cosine * sine * xy + cosine * cosine * yy
    mixed = cosine * sine * (yy - xx) + (cosine * cosine - sine * sine) * xy
    difference = np.bincount(group, np.where(chosen, along - across, 0), count)
    product = np.bincount(group, np.where(chosen, mixed, 0), count)
    turn: Floats = np.arctan2(2 * product, difference) / 2
    return np.where((difference > 0) & (np.abs(turn) < NEAR_RAD[0]), turn, 0.0)
