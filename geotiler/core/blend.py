"""Joining overlapping windows into rows that are finished as early as possible.

The result is the weighted mean of all windows that cover a pixel, computed in two one-dimensional
stages (windows of one row along x, rows along y), each as a running mean

    mean += (p - mean) * (w / W)

with separable weights w that are never zero and their running sum W. A model that answers a
constant gives exactly that constant, since p - mean is exactly zero; the first window of a pixel
gives exactly p, since w / W is exactly one. There is no weight raster and no epsilon.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def window_weights(length_px: int) -> NDArray[np.float32]:
    """Weights sin²(π (i + ½) / n) along one side of a window, in (0, 1], symmetric."""
    phase = np.pi * (np.arange(length_px) + 0.5) / length_px
    return np.asarray(np.sin(phase) ** 2, np.float32)


class RunningMean:
    """Weighted mean along one axis of a strip, updated window by window."""

    def __init__(self, shape: tuple[int, int, int], axis: int) -> None:
        """Args: shape: (class, row, col). axis: 1 weighs rows, 2 weighs columns."""
        self.mean = np.zeros(shape, np.float32)
        self._sums = np.zeros(shape[axis], np.float32)
        self._axis = axis

    def add(
        self, start: int, values: NDArray[np.float32], weights: NDArray[np.float32]
    ) -> None:
        """Blend values into positions [start, start + len(weights)) of the axis."""
        stop = start + len(weights)
        self._sums[start:stop] += weights
        share = weights / self._sums[start:stop]
        if self._axis == 2:
            target = self.mean[:, :, start:stop]
            target += (values - target) * share
        else:
            target = self.mean[:, start:stop]
            target += (values - target) * share[:, None]

    def shift(self, count: int) -> None:
        """Drop the first positions; the freed ones at the end become empty."""
        if self._axis != 1:
            raise ValueError("only rows are shifted")
        keep = len(self._sums) - count
        for array, axis in ((self.mean, 1), (self._sums, 0)):
            moved = np.moveaxis(array, axis, 0)
            if keep > 0:
                moved[:keep] = moved[count:].copy()
            moved[max(keep, 0) :] = 0


class StripBlender:
    """Blends row-major windows and emits each row of the scene once, as soon as it is final.

    Holds one row of windows in float32 (class, tile height, width), nothing else.
    """

    def __init__(
        self,
        *,
        classes: int,
        shape: tuple[int, int],
        tile_shape: tuple[int, int],
        rows: Sequence[int],
    ) -> None:
        """Args: classes, scene shape (height, width), tile shape, and first rows of the windows."""
        self._height, self._width = shape
        self._tile_height, self._tile_width = tile_shape
        self._rows = list(rows)
        self._next = 0
        self._row_weights = window_weights(self._tile_height)
        self._col_weights = window_weights(self._tile_width)
        strip = (classes, self._tile_height, self._width)
        self._along_x: RunningMean | None = None
        self._along_y = RunningMean(strip, axis=1)
        self._strip_shape = strip

    def add(self, col: int, probabilities: NDArray[np.float32]) -> None:
        """Blend one window of the current row along x.

        Args:
            col: its first column.
            probabilities: (class, row, col) of the whole tile; what lies beyond the scene's right
                or lower edge (a scene smaller than a tile) is left out.
        """
        if self._along_x is None:
            self._along_x = RunningMean(self._strip_shape, axis=2)
        width = min(self._tile_width, self._width - col)
        self._along_x.add(col, probabilities[:, :, :width], self._col_weights[:width])

    def finish_row(self) -> tuple[int, NDArray[np.float32]]:
        """Close the current row of windows and return the rows of the scene that are now final.

        Returns:
            First row, and (class, row, col) float32. Pixels that no window covered are 0.
        """
        row = self._rows[self._next]
        if self._along_x is not None:
            self._along_y.add(0, self._along_x.mean, self._row_weights)
        self._along_x = None
        self._next += 1
        last = self._next == len(self._rows)
        count = (self._height if last else self._rows[self._next]) - row
        finished = self._along_y.mean[:, :count].copy()
        if not last:
            self._along_y.shift(count)
        return row, finished

