"""Reading a scene at another ground sample distance, strip by strip, without seams.

A pixel j of the target grid lies at the source coordinate (j + ½) / ratio - ½, computed from the
scene's corner in floating point and never rounded per window. Each axis is one sparse matrix whose
rows are triangle kernels (bilinear when enlarging, widened to the target's pixel when shrinking,
so that nothing aliases); a strip uses the rows of that matrix it needs. Invalid pixels carry no
weight: values are sums of w·v·x over sums of w·v.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from scipy import sparse


@dataclass(frozen=True, kw_only=True)
class Axis:
    """One axis of a scene at two resolutions."""

    source_px: int
    target_px: int
    ratio: float
    """Target pixels per source pixel."""

    @classmethod
    def scaled(cls, source_px: int, ratio: float) -> Axis:
        """The axis whose target grid is the shortest that covers the source."""
        # The subtraction keeps 1000 * 0.3 = 300.00000000000006 from becoming 301 pixels.
        target_px = max(1, math.ceil(source_px * ratio - 1e-6))
        return cls(source_px=source_px, target_px=target_px, ratio=ratio)

    @property
    def reversed(self) -> Axis:
        """The way back."""
        return Axis(source_px=self.target_px, target_px=self.source_px, ratio=1.0 / self.ratio)

    @property
    def reach_px(self) -> float:
        """Half width of the kernel in source pixels."""
        return max(1.0, 1.0 / self.ratio)

    def needed(self, start: int, stop: int) -> tuple[int, int]:
        """Source pixels [first, last) that target pixels [start, stop) are made of.

        At a ratio of 1 these are the same pixels, without a margin.
        """
        first = math.floor((start + 0.5) / self.ratio - 0.5 - self.reach_px) + 1
        last = math.ceil((stop - 0.5) / self.ratio - 0.5 + self.reach_px)
        return max(0, min(first, self.source_px - 1)), min(self.source_px, max(last, 1))

    def ready(self, source_stop: int) -> int:
        """How many target pixels can be made of the source pixels [0, source_stop)."""
        if source_stop >= self.source_px:
            return self.target_px
        count = math.floor((source_stop - 1.5 - self.reach_px) * self.ratio)
        count = max(0, min(self.target_px, count))
        while count > 0 and self.needed(count - 1, count)[1] > source_stop:
            count -= 1
        return count

    def matrix(self, start: int, stop: int) -> tuple[int, sparse.csr_matrix]:
        """First source pixel, and the (stop - start, needed) float32 weights, rows summing to 1."""
        from scipy import sparse  # a tenth of a second that scenes at the model's GSD do without

        first, last = self.needed(start, stop)
        centres = (np.arange(start, stop) + 0.5) / self.ratio - 0.5
        taps = math.ceil(2 * self.reach_px) + 1
        low = np.floor(centres - self.reach_px).astype(np.int64) + 1
        columns = low[:, None] + np.arange(taps)
        weights = 1.0 - np.abs(columns - centres[:, None]) / self.reach_px
        weights[weights < 1e-9] = 0.0
        # Beyond the scene's edge the nearest pixel stands in, as in any resampling filter.
        columns = np.clip(columns, 0, self.source_px - 1) - first
        weights /= weights.sum(axis=1, keepdims=True)
        rows = np.repeat(np.arange(stop - start), taps)
        # Taps without weight may lie outside of what is needed.
        columns = np.clip(columns, 0, last - first - 1)
        matrix = sparse.coo_matrix(
            (weights.ravel().astype(np.float32), (rows, columns.ravel())),
            shape=(stop - start, last - first),
        )
        return first, matrix.tocsr()


def resampled(
    values: NDArray[np.float32],
    valid: NDArray[np.bool_],
    by_rows: sparse.csr_matrix,
    by_cols: sparse.csr_matrix,
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Values (band, row, col) and their valid mask on the target grid, weighted by validity.

    A target pixel is valid when any valid pixel contributes to it, so that on the way back every
    valid source pixel finds at least one.
    """
    # Always divided by the weights, which sum to 1 only up to rounding where all is valid: the
    # answer must not depend on how rows and columns are cut into strips.
    weight = _both(valid.astype(np.float32), by_rows, by_cols)
    reached = weight > 0
    out = np.zeros((values.shape[0], *weight.shape), np.float32)
    for plane, target in zip(values, out, strict=True):
        summed = _both(np.where(valid, plane, np.float32(0)), by_rows, by_cols)
        np.divide(summed, weight, out=target, where=reached)
    return out, reached


def _both(
    plane: NDArray[np.float32], by_rows: sparse.csr_matrix, by_cols: sparse.csr_matrix
) -> NDArray[np.float32]:
    # Rows first: the sparse-dense product runs along contiguous memory, and the second one is
    # done on the transposed result for the same reason.
    return np.ascontiguousarray((by_cols @ np.ascontiguousarray((by_rows @ plane).T)).T)
