"""How visible the tile grid is in a result."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_ROWS_AT_ONCE = 64
"""Bounds the temporary arrays, which would otherwise be as large as a row of tiles."""


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
        sums: NDArray[np.float64] | None = None,
    ) -> None:
        """Args: row_lines, col_lines: rows and columns whose upper or left neighbour lies across
        a tile line. sums: what other meters of the same result counted; added to.
        """
        self._row_lines = frozenset(row_lines)
        self._col_lines = np.asarray(col_lines, np.intp)
        self._previous: tuple[NDArray[np.float32], NDArray[np.bool_]] | None = None
        # (elsewhere, on lines) × (sum of |Δp|, pairs)
        self._sums = np.zeros((2, 2)) if sums is None else sums

    def add(self, row: int, probabilities: NDArray[np.float32], valid: NDArray[np.bool_]) -> None:
        """Take in consecutive rows (class, row, col) and their valid mask."""
        for top in range(0, len(valid), _ROWS_AT_ONCE):
            rows = slice(top, top + _ROWS_AT_ONCE)
            self._across(probabilities[:, rows], valid[rows])
        if self._previous is not None:
            above, above_valid = self._previous
            self._pair(row, above, above_valid, probabilities[:, :1], valid[:1])
        for offset in range(1, probabilities.shape[1]):
            if row + offset in self._row_lines:
                self._pair(
                    row + offset,
                    probabilities[:, offset - 1 : offset],
                    valid[offset - 1 : offset],
                    probabilities[:, offset : offset + 1],
                    valid[offset : offset + 1],
                )
        self._previous = probabilities[:, -1:].copy(), valid[-1:].copy()

    def _across(self, probabilities: NDArray[np.float32], valid: NDArray[np.bool_]) -> None:
        """Count the pairs of neighbouring columns."""
        steps = np.abs(np.diff(probabilities, axis=2)).sum(axis=0)
        pairs = valid[:, 1:] & valid[:, :-1]
        steps *= pairs
        on_lines = self._col_lines - 1
        line = np.array([steps[:, on_lines].sum(dtype=float), pairs[:, on_lines].sum()])
        every = np.array([steps.sum(dtype=float), pairs.sum()])
        self._sums[1] += line
        self._sums[0] += every - line

    def _pair(
        self,
        row: int,
        above: NDArray[np.float32],
        above_valid: NDArray[np.bool_],
        below: NDArray[np.float32],
        below_valid: NDArray[np.bool_],
    ) -> None:
        both = above_valid & below_valid
        steps = (np.abs(below - above).sum(axis=0) * both).sum(dtype=float)
        self._sums[int(row in self._row_lines)] += steps, both.sum()

    @property
    def index(self) -> float | None:
        """See `seam_index`."""
        return seam_index(self._sums)


def seam_index(sums: NDArray[np.float64]) -> float | None:
    """Mean |Δp| on tile lines over elsewhere; None where there is nothing to compare."""
    (elsewhere, others), (on_lines, pairs) = sums
    if not (others and pairs and elsewhere):
        return None
    return float((on_lines / pairs) / (elsewhere / others))
