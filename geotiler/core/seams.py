"""How visible the tile grid is in a result."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def tile_lines(first_px: Sequence[int], tile_px: int, length_px: int) -> tuple[int, ...]:
    """Positions inside (0, length) where a window begins or has just ended."""
    edges = {start for start in first_px} | {start + tile_px for start in first_px}
    return tuple(sorted(edge for edge in edges if 0 < edge < length_px))


class SeamMeter:
    """Mean |Δp| between neighbours across tile lines, over that between all other neighbours.

    A result without seams measures about 1; the figure is pooled over classes and both axes, and
    pairs with an invalid pixel do not count.
    """

    def __init__(self, row_lines: Sequence[int] = (), col_lines: Sequence[int] = ()) -> None:
        """Args: rows and columns whose upper or left neighbour lies across a tile line."""
        self._row_lines = frozenset(row_lines)
        self._col_lines = np.asarray(col_lines, np.intp)
        self._previous: tuple[NDArray[np.float32], NDArray[np.bool_]] | None = None
        self._sums = np.zeros((2, 2))  # (elsewhere, on lines) × (sum of |Δp|, pairs)

    def add(
        self, row: int, probabilities: NDArray[np.float32], valid: NDArray[np.bool_]
    ) -> None:
        """Take in consecutive rows (class, row, col) and their valid mask."""
        across = np.abs(np.diff(probabilities, axis=2)).sum(axis=0)
        pairs = valid[:, 1:] & valid[:, :-1]
        across *= pairs
        on_lines = self._col_lines - 1
        line = np.array([across[:, on_lines].sum(dtype=float), pairs[:, on_lines].sum()])
        every = np.array([across.sum(dtype=float), pairs.sum()])
        self._sums[1] += line
        self._sums[0] += every - line
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
        """Mean |Δp| on tile lines over elsewhere; None where there is nothing to compare."""
        (elsewhere, others), (on_lines, pairs) = self._sums
        if not (others and pairs and elsewhere):
            return None
        return float((on_lines / pairs) / (elsewhere / others))
