"""Fewer walls: the one that costs least is taken out first, in all buildings at once.

A wall between two that run the same way is a step: taken out, the two become one line. A wall
between two others is a chamfer: taken out, they meet in a corner. What it costs is the integral of
the squared distance, along the outline, by which the outline then lies further off, in px³: a
notch 5 px wide and 2 px deep costs 20, a chamfer of 8 px cost 21.

Where to stop is decided per ring. States are kept at growing limits, and the one with the least
description length is taken: a clean mask keeps a notch that would be noise in a ragged one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from geotiler.core.walls import (
    FREE,
    PARALLEL_RAD,
    Walls,
    angle_between,
    corners,
    joined,
    meeting,
    misfit,
    neighbours,
    offset,
    principal_angle,
    squared_distance,
)

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

LIMITS_PX3 = (6.0, 15.0, 40.0, 100.0, 250.0)
"""Costs up to which walls are taken out, state by state."""

STEP_PX, STEP_ROOT_PX = 1.5, 0.8
"""Parallel walls that differ by less are one wall, if its boundary is as near as the second, as
root mean square: a long wall that is a degree off should not get steps for it."""

INDEPENDENT_PX = 6.0
"""Length of outline over which its noise is alike: so many pixels count as one observation."""

FLOOR_PX2 = 0.12
"""Mean squared distance below which a fit is no better: that of pixel sides from a straight line
is 1/12, and a mask is never drawn that well."""

WALL_PRICE = 2.0
"""Price of a wall in the description, in units of half the logarithm of the observations, twice:
where it lies, and where it ends."""

MEAN_OF_ROOT = 0.8
"""Mean distance over root mean square distance, √(2/π) for noise."""

SMALLEST_RING = 10
"""Rings with fewer walls lose one at a time, larger ones every cheapest of five in a row."""

SHARPEST_RAD = np.radians(140.0)
"""Walls that turn back by more do not meet in a corner: it would be a spike."""

SNAP_PX = 0.5
"""A direction is as good as the best one where it adds no more than this, as root mean square."""

LEAST, LEAST_FREE = 4, 3
"""Fewest walls of a ring."""

MAX_ROUNDS = 400


@dataclass(frozen=True, kw_only=True)
class _Options:
    """What taking out each wall would mean."""

    cost: Floats
    """px³; infinite where it cannot be."""
    is_step: Bools
    """The walls before and after it become one; otherwise they meet in a corner."""
    meet: Floats
    """(wall, 2): that corner."""
    moments: Floats
    """(wall, 6): of the one wall."""
    angle: Floats
    turn: Ints
    rest: Floats
    """Integral of the squared distance of the wall itself from the one wall."""

    def take(self, positions: Bools) -> _Options:
        """The options of the walls at `positions`."""
        return _Options(
            cost=self.cost[positions],
            is_step=self.is_step[positions],
            meet=self.meet[positions],
            moments=self.moments[positions],
            angle=self.angle[positions],
            turn=self.turn[positions],
            rest=self.rest[positions],
        )


def simplest(
    walls: Walls, *, free: bool = False, bounds_px: Sequence[float] = (np.inf,)
) -> list[Walls]:
    """The walls that describe each ring best, few and close to the outline, for each bound.

    Args:
        walls: as they come from the outline; turns that are equal do not follow each other.
        free: walls may have directions of their own; then three make a ring, else four.
        bounds_px: mean distances from the outline beyond which a simpler state is not looked at.
    """
    count = _ring_count(walls)
    best = [walls] * len(bounds_px)
    prices = [np.full(count, np.inf) for _ in bounds_px]
    cheapest = np.full(count, -np.inf)
    for limit in LIMITS_PX3:
        walls = _collapsed(walls, limit, free, cheapest)
        price, mean = _price(walls)
        for index, bound_px in enumerate(bounds_px):
            allowed = (mean <= bound_px) | (limit == LIMITS_PX3[0])
            better = allowed & (price < prices[index])
            prices[index] = np.where(better, price, prices[index])
            old = best[index].take(~better[best[index].ring])
            best[index] = joined([old, walls.take(better[walls.ring])])
    return best


def _ring_count(walls: Walls) -> int:
    return int(walls.ring[-1]) + 1 if len(walls) else 0


def _price(walls: Walls) -> tuple[Floats, Floats]:
    """Description length (ring), up to a constant, and mean distance (ring) from the outline."""
    count = _ring_count(walls)
    length = np.bincount(walls.ring, walls.moments[:, 0], count)
    error = np.bincount(walls.ring, walls.extra + misfit(walls.moments, walls.angle), count)
    number = np.bincount(walls.ring, minlength=count)
    length = np.where(length > 0, length, 1.0)
    observations = np.maximum(length / INDEPENDENT_PX, 2.0)
    price: Floats = observations * np.log(error / length + FLOOR_PX2)
    price += WALL_PRICE * number * np.log(observations)
    return price, MEAN_OF_ROOT * np.sqrt(error / length)


def _collapsed(walls: Walls, limit: float, free: bool, cheapest: Floats) -> Walls:
    """The walls that are left when none is cheaper than `limit`.

    Args:
        walls: of all rings.
        limit: in px³.
        free: see `simplest`.
        cheapest: (ring): what its cheapest wall cost when last looked at; kept up to date.
    """
    active = cheapest[walls.ring] < limit
    finished = [walls.take(~active)]
    walls = walls.take(active)
    for _ in range(MAX_ROUNDS):
        if not len(walls):
            break
        options = _options(walls, free)
        chosen = _cheapest(walls.ring, options.cost, limit)
        at_work = np.zeros(_ring_count(walls), bool)
        at_work[walls.ring[chosen]] = True
        still = at_work[walls.ring]
        place = np.flatnonzero(chosen)
        if not still.all():
            done = walls.take(~still)
            finished.append(done)
            cheapest[done.ring] = np.inf
            np.minimum.at(cheapest, done.ring, options.cost[~still])
            place = (np.cumsum(still) - 1)[place]
            walls, options = walls.take(still), options.take(still)
        walls = _without(walls, place, options)
    return joined([*finished, walls])


def _options(walls: Walls, free: bool) -> _Options:
    """What taking out each wall costs; infinite where it cannot be."""
    before, after = neighbours(walls.ring)
    least = LEAST_FREE if free else LEAST
    count = np.bincount(walls.ring)[walls.ring]
    line = offset(walls.moments, walls.angle)
    corner = corners(walls)
    start = corner[before]
    turn = angle_between(walls.angle[before], walls.angle[after])
    fixed = (walls.turn[before] != FREE) & (walls.turn[after] != FREE)
    same = walls.turn[before] == walls.turn[after]
    is_step = np.where(fixed, same, np.abs(turn) < PARALLEL_RAD)

    joint, angle, new_turn = _merged(walls, before, after, free)
    new_line = offset(joint, angle)
    rest = squared_distance(walls.moments, angle, new_line)
    own = misfit(walls.moments, walls.angle)
    step_cost = misfit(joint, angle) - own[before] - own[after] + rest - own
    slight = fixed & (np.abs(line[after] - line[before]) < STEP_PX)
    slight &= misfit(joint, angle) <= STEP_ROOT_PX**2 * joint[:, 0]
    step_cost = np.where(slight, np.minimum(step_cost, LIMITS_PX3[0] * 0.99), step_cost)
    step_cost = np.where(count >= least + 2, step_cost, np.inf)

    meet = meeting(walls.angle[before], line[before], walls.angle[after], line[after], walls.head)
    ahead = _along(walls.angle[before], start[before], meet) > 0
    ahead &= _along(walls.angle[after], meet, corner[after]) > 0
    can_meet = ahead & (np.abs(turn) > PARALLEL_RAD) & (np.abs(turn) < SHARPEST_RAD)
    chamfer_cost = _chamfer(walls, before, after, np.hypot(*(corner - start).T))
    chamfer_cost = np.where(can_meet & (count >= least + 1), chamfer_cost, np.inf)

    cost = np.where(is_step, step_cost, chamfer_cost)
    flipped = _along(walls.angle, start, corner) <= 0
    cost = np.where(flipped & np.isfinite(cost), -1.0, cost)
    return _Options(
        cost=cost, is_step=is_step, meet=meet, moments=joint, angle=angle, turn=new_turn, rest=rest
    )


def _along(angle: Floats, start: Floats, stop: Floats) -> Floats:
    """(wall): how far `stop` lies ahead of `start` in a direction."""
    step = stop - start
    ahead: Floats = np.cos(angle) * step[:, 0] + np.sin(angle) * step[:, 1]
    return ahead


def _chamfer(walls: Walls, before: Ints, after: Ints, length: Floats) -> Floats:
    """(wall): integral of its squared distance from the nearer of its prolonged neighbours."""
    one = np.abs(np.sin(walls.angle[before] - walls.angle))
    other = np.abs(np.sin(walls.angle[after] - walls.angle))
    total = np.where(one + other > 0, one + other, 1.0)
    upto = length * other / total
    cost: Floats = (one**2 * upto**3 + other**2 * (length - upto) ** 3) / 3
    return cost


def _merged(walls: Walls, one: Ints, other: Ints, free: bool) -> tuple[Floats, Floats, Ints]:
    """Moments, directions and turns of pairs of walls taken as one.

    Fixed directions stay, unless walls may be free and another one fits better by half a pixel.
    """
    joint = walls.moments[one] + walls.moments[other]
    turn = np.where(walls.turn[one] == FREE, walls.turn[other], walls.turn[one])
    angle = np.where(walls.turn[one] == FREE, walls.angle[other], walls.angle[one])
    if free:
        longer = np.where(
            walls.moments[one, 0] >= walls.moments[other, 0], walls.angle[one], walls.angle[other]
        )
        turn, angle = freed(joint, turn, angle, longer)
    return joint, angle, turn


def freed(moments: Floats, turn: Ints, angle: Floats, along: Floats) -> tuple[Ints, Floats]:
    """Turns and directions of walls, their own where the fixed one is worse by half a pixel.

    Args:
        moments: of the walls.
        turn: fixed, or FREE.
        angle: the fixed direction.
        along: about where the wall goes, so that its own direction is not the opposite one.
    """
    own = principal_angle(moments)
    own = np.where(np.cos(own - along) < 0, own + np.pi, own)
    excess = misfit(moments, angle) - misfit(moments, own)
    is_free = (turn == FREE) | (excess > SNAP_PX**2 * moments[:, 0])
    return np.where(is_free, FREE, turn), np.where(is_free, own, angle)


def _cheapest(ring: Ints, cost: Floats, limit: float) -> Bools:
    """(wall): True for those to take out: the cheapest of five neighbours, or of a small ring."""
    count = np.bincount(ring)[ring]
    chosen = cost < limit
    before, after = neighbours(ring)
    index = np.arange(len(ring))
    for other in (before, after, before[before], after[after]):
        chosen &= (cost < cost[other]) | ((cost == cost[other]) & (index <= other))
    small = np.flatnonzero(count < SMALLEST_RING)
    if small.size:
        # Two at once could leave too few.
        starts = np.flatnonzero(np.append(True, ring[small][1:] != ring[small][:-1]))
        lowest = np.minimum.reduceat(cost[small], starts)
        sizes = np.diff(np.append(starts, small.size))
        hits = chosen[small] & (cost[small] == np.repeat(lowest, sizes))
        first = np.cumsum(hits) - np.repeat(np.cumsum(hits)[starts] - hits[starts], sizes)
        chosen[small] = hits & (first == 1)
    return chosen


def _without(walls: Walls, chosen: Ints, options: _Options) -> Walls:
    """The walls less the chosen ones, their neighbours changed accordingly."""
    before, after = neighbours(walls.ring)
    moments, angle, turn = walls.moments.copy(), walls.angle.copy(), walls.turn.copy()
    head, extra = walls.head.copy(), walls.extra.copy()
    keep = np.ones(len(walls), bool)
    keep[chosen] = False

    steps = chosen[options.is_step[chosen]]
    first, last = before[steps], after[steps]
    keep[last] = False
    moments[first], angle[first] = options.moments[steps], options.angle[steps]
    turn[first], head[first] = options.turn[steps], head[last]
    extra[first] += extra[last] + extra[steps] + options.rest[steps]

    cuts = chosen[~options.is_step[chosen]]
    first, last = before[cuts], after[cuts]
    head[first] = options.meet[cuts]
    half = np.maximum(options.cost[cuts], 0) / 2 + extra[cuts] / 2
    extra[first] += half
    extra[last] += half
    changed = replace(walls, moments=moments, angle=angle, turn=turn, head=head, extra=extra)
    return changed.take(keep)
