"""How visible the tile grid is in a result."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from geotiler.core.arrays import HOST, Array, Arrays

LEAST_PAIRS = 20_000
"""Pairs of neighbours across tile lines from which their mean is told. Edges of buildings that
happen to lie on a line weigh in it.

Source: 400 placements of lines that are no tile lines, on the probabilities of an aerial photograph
of Dubai: with 16,000 pairs 95 % of the figures lay between 0.62 and 1.48, with 4,000 between 0.2
and 1.8.
"""


def tile_lines(first_px: Sequence[int], tile_px: int, length_px: int) -> tuple[int, ...]:
    """Positions inside (0, length) where a window begins or has just ended."""
    edges = set(first_px) | {start + tile_px for start in first_px}
    return tuple(sorted(edge for edge in edges if 0 < edge < length_px))


class SeamMeter:
    """Mean |Δp| between neighbours across tile lines, over that between all other neighbours.

    A result without seams measures about 1; the figure is pooled over classes and both axes, and
    pairs with an invalid pixel do not count.
    """

    def __init__(
        self,
        row_lines: Sequence[int] = (),
        col_lines: Sequence[int] = (),
        sums: Array | None = None,
        arrays: Arrays = HOST,
    ) -> None:
        """Args: row_lines, col_lines: rows and columns whose upper or left neighbour lies across
        a tile line. sums: what other meters of the same result counted; added to.
        arrays: where they live that are given, and `sums`.
        """
        self._arrays = arrays
        self._row_lines = np.asarray(row_lines, np.intp)
        self._across_lines = arrays.of(np.asarray(col_lines, np.intp) - 1)
        self._previous: tuple[Array, Array] | None = None
        # (elsewhere, on lines) × (sum of |Δp|, pairs)
        self._sums = arrays.zero_sums() if sums is None else sums

    def add(self, row: int, probabilities: Array, valid: NDArray[np.bool_]) -> None:
        """Take in consecutive rows (class, row, col) and their valid mask."""
        known = self._arrays.mask(valid)
        if self._previous is not None:
            above, above_known = self._previous
            self._down(row, above, probabilities[:, :1], above_known & known[:1])
        for top in range(0, len(known), self._arrays.rows_at_once):
            # One row more, so that the pair at the edge of two blocks counts, too.
            stop = top + self._arrays.rows_at_once
            block, inside = probabilities[:, top : stop + 1], known[top : stop + 1]
            self._across(probabilities[:, top:stop], known[top:stop])
            self._down(row + top + 1, block[:, :-1], block[:, 1:], inside[:-1] & inside[1:])
        copied = self._arrays.copied
        self._previous = copied(probabilities[:, -1:]), copied(known[-1:])

    def _across(self, probabilities: Array, valid: Array) -> None:
        """Count the pairs of neighbouring columns."""
        steps = abs(probabilities[:, :, 1:] - probabilities[:, :, :-1]).sum(axis=0)
        pairs = valid[:, 1:] & valid[:, :-1]
        steps *= pairs
        lines = self._across_lines
        self._count(steps, pairs, steps[:, lines], pairs[:, lines])

    def _down(self, row: int, upper: Array, lower: Array, pairs: Array) -> None:
        """Count the pairs of neighbouring rows; `row` is the number of the first lower one."""
        steps = abs(lower - upper).sum(axis=0)
        steps *= pairs
        is_line = np.isin(np.arange(row, row + len(pairs)), self._row_lines)
        lines = self._arrays.of(np.flatnonzero(is_line))
        self._count(steps, pairs, steps[lines], pairs[lines])

    def _count(self, steps: Array, pairs: Array, line_steps: Array, line_pairs: Array) -> None:
        line = self._arrays.sums(line_steps, line_pairs)
        self._sums[1] += line
        self._sums[0] += self._arrays.sums(steps, pairs) - line

    @property
    def index(self) -> float | None:
        """See `seam_index`."""
        return seam_index(self._sums)


def reliable_seam_index(sums: NDArray[np.float64]) -> float | None:
    """As `seam_index`; None also where there are fewer than LEAST_PAIRS pairs on tile lines."""
    return seam_index(sums) if sums[1, 1] >= LEAST_PAIRS else None


def seam_index(sums: NDArray[np.float64]) -> float | None:
    """Mean |Δp| on tile lines over elsewhere; None where there is nothing to compare."""
    (elsewhere, others), (on_lines, pairs) = sums
    if not (others and pairs and elsewhere):
        return None
    return float((on_lines / pairs) / (elsewhere / others))
