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
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geotiler.core.arrays import HOST, Array, Arrays


def window_weights(length_px: int) -> NDArray[np.float32]:
    """Weights sin²(π (i + ½) / n) along one side of a window, in (0, 1], symmetric."""
    phase = np.pi * (np.arange(length_px) + 0.5) / length_px
    return np.asarray(np.sin(phase) ** 2, np.float32)


@dataclass(frozen=True, kw_only=True)
class Share:
    """How much one more window counts where it lies."""

    axis: int
    """1 weighs rows, 2 weighs columns."""
    front: int
    """Positions from here on have no earlier window: its values are the mean."""
    values: Array
    """Its share of the mean at the positions before."""


class RunningMean:
    """Weighted mean along one axis of an array, updated window by window at its front."""

    def __init__(self, shape: tuple[int, int, int], axis: int, arrays: Arrays = HOST) -> None:
        """Args: shape: (class, row, col). axis: 1 weighs rows, 2 weighs columns.

        arrays: where the mean lives; its weights are few, and always the host's.
        """
        self.mean = arrays.zeros(shape)
        self._sums = np.zeros(shape[axis], np.float32)
        self._axis = axis
        self._arrays = arrays

    def share(self, weights: NDArray[np.float32]) -> Share:
        """Take up one more window's weights."""
        sums = self._sums[: len(weights)]
        front = int(np.count_nonzero(sums))  # weights are never zero, and windows leave no gap
        sums += weights
        values: NDArray[np.float32] = weights[:front] / sums[:front]
        values = values[:, None] if self._axis == 1 else values
        return Share(axis=self._axis, front=front, values=self._arrays.of(values))

    def shift(self, count: int) -> None:
        """Drop the first positions; the freed ones at the end become empty."""
        self._arrays.shift(self.mean, self._axis, count)
        HOST.shift(self._sums, 0, count)


def _blend(mean: Array, values: Array, share: Share) -> None:
    before = (slice(None),) * share.axis
    known, new = (*before, slice(share.front)), (*before, slice(share.front, None))
    mean[new] = values[new]  # what the formula gives there, without computing it
    step = values[known] - mean[known]
    step *= share.values
    mean[known] += step


class StripBlender:
    """Blends row-major windows and emits each row of the scene once, as soon as it is final.

    Holds one row of windows (class, tile height, width) and one window in float32, nothing else:
    whatever lies left of a window is final along x when that window comes, and goes down into the
    strip at once.
    """

    def __init__(
        self,
        *,
        classes: int,
        shape: tuple[int, int],
        tile_shape: tuple[int, int],
        rows: Sequence[int],
        arrays: Arrays = HOST,
    ) -> None:
        """Args: classes, scene shape (height, width), tile shape, and first rows of the windows.

        arrays: where they live that are given and come out.
        """
        self._height, self._width = shape
        self._rows = list(rows)
        self._next = 0
        self._row_weights = window_weights(tile_shape[0])
        self._col_weights = window_weights(tile_shape[1])
        self._along_x = RunningMean((classes, *tile_shape), 2, arrays)
        self._along_y = RunningMean((classes, tile_shape[0], self._width), 1, arrays)
        self._col: int | None = None
        """Scene column of the first position of `_along_x`; None before a row's first window."""
        self._row_share: Share | None = None
        self._emitted = 0
        """Rows at the strip's top that were given out and are still there."""

    def add(self, col: int, probabilities: Array) -> None:
        """Blend one window of the current row; windows come from left to right.

        Args:
            col: its first column.
            probabilities: (class, row, col) of the whole tile; what lies beyond the scene's right
                or lower edge is left out.
        """
        self._forget_emitted()
        if self._col is None:
            self._row_share = self._along_y.share(self._row_weights)
        else:
            self._settle(col)
        self._col = col
        width = min(len(self._col_weights), self._width - col)
        share = self._along_x.share(self._col_weights[:width])
        _blend(self._along_x.mean[:, :, :width], probabilities[:, :, :width], share)

    def finish_row(self) -> tuple[int, Array]:
        """Close the current row of windows and return the rows of the scene that are now final.

        Returns:
            First row, and (class, row, col) float32, a view that holds until the next call.
            Pixels that no window covered are 0.
        """
        self._forget_emitted()
        self._settle(self._width)
        self._col = None
        row = self._rows[self._next]
        self._next += 1
        last = self._next == len(self._rows)
        self._emitted = (self._height if last else self._rows[self._next]) - row
        return row, self._along_y.mean[:, : self._emitted]

    def _settle(self, stop: int) -> None:
        """Blend what lies left of a column into the strip."""
        if self._col is None or self._row_share is None:
            return
        count = min(stop, self._col + len(self._col_weights)) - self._col
        target = self._along_y.mean[:, :, self._col : self._col + count]
        _blend(target, self._along_x.mean[:, :, :count], self._row_share)
        self._along_x.shift(stop - self._col)

    def _forget_emitted(self) -> None:
        self._along_y.shift(self._emitted)
        self._emitted = 0
