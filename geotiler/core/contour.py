"""Outlines between the pixels: where a probability crosses its threshold, or another one.

Each side of a pixel that an outline runs along has a pixel of the class on one hand and another
one on the other. The outline is moved to where, on the line between the two centres, the
probability is at the threshold, or the two classes are equally likely: the corners of marching
squares, in the order of the outline, so that the polygons keep their number, their holes and what
they touch.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from geotiler.core.outlines import Outlines

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

NEAREST = 0.02
"""A corner keeps this share of a pixel from either centre, so that no two fall together."""


@dataclass(frozen=True, kw_only=True)
class PixelSides:
    """Sides of pixels that outlines run along, one after the other, ring by ring."""

    inside: Ints
    """(side, 2): row and column of the pixel inside."""
    outside: Ints
    """(side, 2): row and column of the pixel outside, which may lie beyond the raster."""
    ring: Ints
    """(side): ascending."""


def pixel_sides(outlines: Outlines) -> PixelSides:
    """The sides of pixels of some outlines."""
    starts = outlines.ring_starts
    following = np.arange(1, len(outlines.xy) + 1)
    following[starts[1:] - 1] = starts[:-1]
    xy = outlines.xy.astype(np.int64)
    step = xy[following] - xy
    length = np.abs(step).sum(axis=1)
    unit = np.sign(step)
    of = np.repeat(np.arange(len(xy)), length)
    begins = np.cumsum(length) - length
    low = xy[of] + unit[of] * (np.arange(len(of)) - begins[of])[:, None]
    # Walks keep the class to their right as seen with y down: a top side runs to the right.
    dx, dy = unit[of].T
    right = np.stack([low[:, 0] + (dx - dy - 1) // 2, low[:, 1] + (dx + dy - 1) // 2], axis=1)
    left = right + np.stack([dy, -dx], axis=1)
    ring = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
    return PixelSides(inside=right[:, ::-1], outside=left[:, ::-1], ring=ring[of])


def side_ends(sides: PixelSides) -> tuple[Ints, Ints]:
    """(side, 2) twice: x and y of the pixel corners where each side begins and ends."""
    # As in `pixel_sides`: the pixel inside lies to the right of the way, with y down.
    way = (sides.outside - sides.inside) * np.array([-1, 1])
    turned = np.stack([-way[:, 1], way[:, 0]], axis=1)
    start: Ints = sides.inside[:, ::-1] - (way + turned - 1) // 2
    return start, start + way


def crossings(sides: PixelSides, inside: Floats, outside: Floats) -> Floats:
    """(side, 2): x and y where the outline crosses, halfway where that is not known.

    Args:
        sides: of outlines.
        inside: (side): how far the inner pixel is above the threshold; NaN if unknown.
        outside: (side): the same of the outer pixel, below 0 where it agrees with the mask.

    Law: of two outlines that share a side, both cross it at the same point, to the last bit.
    """
    # Seen from either hand the same: two polygons cross their common side at one point, exactly.
    backwards = (sides.outside < sides.inside).any(axis=1)
    first, second = np.where(backwards, (outside, inside), (inside, outside))
    drop = first - second
    # Not by which of them is inside: where two parts of a patch meet, each is, of one of them.
    known = (first * second <= 0) & (drop != 0)
    share = np.where(known, first / np.where(known, drop, 1.0), 0.5)
    share = np.clip(share, NEAREST, 1 - NEAREST)[:, None]
    start = np.minimum(sides.inside, sides.outside)
    step = np.abs(sides.outside - sides.inside).astype(np.float64)
    crossing: Floats = (start + share * step)[:, ::-1] + 0.5
    return crossing


def row_sums(sides: PixelSides, count: int, summed: Floats) -> Floats:
    """(ring): sum over the pixels that rings enclose, holes negative.

    Args:
        sides: of outlines.
        count: of rings.
        summed: (side): for vertical sides, sum over the pixels of its row left of it.
    """
    run = sides.inside[:, 1] - sides.outside[:, 1]
    total: Floats = np.bincount(sides.ring, -run * summed, count).astype(np.float64)
    return total
