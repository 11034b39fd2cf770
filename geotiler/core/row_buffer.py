"""Rows that are held while a raster is read from top to bottom."""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np
from numpy.typing import NDArray


class RowBuffer:
    """Consecutive rows of several arrays, appended below and dropped above."""

    def __init__(self, start: int = 0) -> None:
        """Args: start: the number of the first row that will be appended."""
        self._pieces: deque[tuple[NDArray[Any], ...]] = deque()
        self.start = start
        """First row held."""
        self.stop = start
        """One past the last row held."""

    def append(self, *arrays: NDArray[Any]) -> None:
        """Add rows below; rows are the last axis but one."""
        self._pieces.append(arrays)
        self.stop += arrays[0].shape[-2]

    def pieces(
        self, start: int, stop: int, columns: slice = slice(None)
    ) -> list[tuple[NDArray[Any], ...]]:
        """Views of rows [start, stop) of each array as they were appended, from top to bottom."""
        taken: list[tuple[NDArray[Any], ...]] = []
        first = self.start
        for arrays in self._pieces:
            count = arrays[0].shape[-2]
            low, high = max(start, first), min(stop, first + count)
            if low < high:
                taken.append(tuple(a[..., low - first : high - first, columns] for a in arrays))
            first += count
        return taken

    def rows(self, start: int, stop: int, columns: slice = slice(None)) -> tuple[NDArray[Any], ...]:
        """Rows [start, stop) of each array; to be read, not written."""
        taken = self.pieces(start, stop, columns)
        if len(taken) == 1:
            return taken[0]
        return tuple(np.concatenate(group, axis=-2) for group in zip(*taken, strict=True))

    def drop(self, before: int) -> None:
        """Forget pieces that end at or above a row."""
        while self._pieces and self.start + self._pieces[0][0].shape[-2] <= before:
            self.start += self._pieces.popleft()[0].shape[-2]
