"""Cutting chips out of rows of a scene, at the scene's resolution or another one."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geotiler.core.radiometry import finite_float32
from geotiler.core.resample import Axis, resampled
from geotiler.core.row_buffer import RowBuffer
from geotiler.core.sweep import Chunk
from geotiler.specs import MASK_NODATA, Window

Reader = Callable[[Window], Chunk]


@dataclass(frozen=True, kw_only=True)
class Cutter:
    """How chips come out of a scene: which source pixels each is made of."""

    axes: tuple[Axis, Axis]
    """(rows, columns) of the scene to the grid of the chips."""

    @property
    def is_resampled(self) -> bool:
        """True if the chips' pixels are not the scene's."""
        return any(axis.ratio != 1.0 for axis in self.axes)

    def source(self, window: Window) -> Window:
        """The scene's pixels that a window of the chips' grid is made of."""
        if not self.is_resampled:
            return window
        top, bottom = self.axes[0].needed(window.row, window.row_stop)
        left, right = self.axes[1].needed(window.col, window.col_stop)
        return Window(row=top, col=left, height=bottom - top, width=right - left)

    def cut(
        self,
        values: NDArray[Any],
        valid: NDArray[np.bool_],
        origin: tuple[int, int],
        window: Window,
    ) -> Chunk:
        """Values (band, row, col) and valid mask of a window of the chips' grid.

        Values keep their type; resampled integers are rounded. A resampled pixel is valid when the
        scene's pixel below its centre is. Where invalid, values are 0, and NaN if floating-point.

        Args:
            values: (band, row, col) of the scene around `self.source(window)`.
            valid: (row, col) of the same pixels.
            origin: scene (row, col) of their first pixel.
            window: the chip.
        """
        place = self.source(window)
        rows = slice(place.row - origin[0], place.row_stop - origin[0])
        cols = slice(place.col - origin[1], place.col_stop - origin[1])
        raw, known = values[:, rows, cols], valid[rows, cols]
        if self.is_resampled:
            raw, known = self._resampled(raw, known, place, window)
        return _blanked(raw, known), known

    def _resampled(
        self, raw: NDArray[Any], known: NDArray[np.bool_], place: Window, window: Window
    ) -> Chunk:
        by_row = self.axes[0].matrix(window.row, window.row_stop)[1]
        by_col = self.axes[1].matrix(window.col, window.col_stop)[1]
        out, reached = resampled(finite_float32(raw), known, by_row, by_col)
        rows, cols = (
            nearest(axis, start, stop) - first
            for axis, start, stop, first in (
                (self.axes[0], window.row, window.row_stop, place.row),
                (self.axes[1], window.col, window.col_stop, place.col),
            )
        )
        sure = known[np.ix_(rows, cols)] & reached
        if np.issubdtype(raw.dtype, np.integer):
            limits = np.iinfo(raw.dtype)
            # In float64, since float32 rounds the limits of 32-bit integers up.
            out = np.clip(np.rint(out.astype(np.float64)), limits.min, limits.max)
        return out.astype(raw.dtype), sure


def nearest(axis: Axis, start: int, stop: int) -> NDArray[np.int64]:
    """Source pixels below the centres of the target pixels [start, stop)."""
    centres = (np.arange(start, stop) + 0.5) / axis.ratio
    below = np.floor(centres).astype(np.int64)
    inside: NDArray[np.int64] = np.clip(below, 0, axis.source_px - 1)
    return inside


def _blanked(values: NDArray[Any], valid: NDArray[np.bool_]) -> NDArray[Any]:
    if valid.all():
        return values
    blank = np.nan if np.issubdtype(values.dtype, np.floating) else 0
    return np.where(valid, values, np.asarray(blank, values.dtype))


@dataclass(frozen=True, kw_only=True)
class ChipRow:
    """Source pixels of one row of chips."""

    index: int
    """Position in the rows that were asked for."""
    values: NDArray[Any]
    valid: NDArray[np.bool_]
    origin: tuple[int, int]
    """Scene (row, col) of their first pixel."""


def read_windows(cutter: Cutter, rows: Sequence[Window], chunk_rows: int) -> Iterator[Window]:
    """Windows of the scene that rows of chips need, each scene row once, from top to bottom.

    Args:
        cutter: chips to scene.
        rows: windows of whole rows of chips, all of the same columns, downwards.
        chunk_rows: rows to read at once; windows begin at multiples of it.
    """
    done = 0
    for row in rows:
        place = cutter.source(row)
        first = max(done, place.row // chunk_rows * chunk_rows)
        while first < place.row_stop:
            stop = min(first + chunk_rows, cutter.axes[0].source_px)
            yield Window(row=first, col=place.col, height=stop - first, width=place.width)
            first = done = stop


def chip_rows(
    cutter: Cutter, rows: Sequence[Window], windows: Iterator[tuple[Window, Chunk]]
) -> Iterator[ChipRow]:
    """The source pixels of each row of chips, holding no more rows than one needs.

    Args:
        cutter: as for `read_windows`.
        rows: as for `read_windows`.
        windows: what it gave, with the pixels.
    """
    buffer = RowBuffer()
    for index, row in enumerate(rows):
        place = cutter.source(row)
        buffer.drop(place.row)
        while buffer.stop < place.row_stop:
            window, (values, valid) = next(windows)
            if buffer.stop < window.row:  # rows between were finished by an earlier run
                buffer = RowBuffer()
                buffer.start = buffer.stop = window.row
            buffer.append(values, valid)
        pixels, known = buffer.rows(place.row, place.row_stop)
        yield ChipRow(index=index, values=pixels, valid=known, origin=(place.row, place.col))


def panels(
    cutter: Cutter, starts_px: Sequence[int], chip_shape: tuple[int, int], pixel_bytes: int,
    most_bytes: int,
) -> list[tuple[int, ...]]:  # fmt: skip
    """Columns of chips, in groups whose rows of source pixels fit into `most_bytes`.

    Args:
        cutter: chips to scene.
        starts_px: first column of each chip.
        chip_shape: (height, width).
        pixel_bytes: of all bands of one source pixel.
        most_bytes: bound; a group has at least one chip.
    """
    height = math.ceil(chip_shape[0] / cutter.axes[0].ratio) + 2
    width_px = most_bytes / (pixel_bytes * height) * cutter.axes[1].ratio
    groups: list[list[int]] = []
    for start in starts_px:
        if not groups or start + chip_shape[1] - groups[-1][0] > width_px:
            groups.append([])
        groups[-1].append(start)
    return [tuple(group) for group in groups]


@dataclass(frozen=True, kw_only=True)
class ChipCounts:
    """What is in one chip."""

    valid_px: int
    labelled_px: int
    """Valid pixels whose class is known; 0 without labels."""
    class_px: dict[int, int]
    """Pixels of each class but background."""


def masked_labels(
    labels: NDArray[np.uint8] | None, valid: NDArray[np.bool_]
) -> tuple[NDArray[np.uint8] | None, ChipCounts]:
    """Class ids with 255 where the chip is invalid, and what is in them."""
    valid_px = int(np.count_nonzero(valid))
    if labels is None:
        return None, ChipCounts(valid_px=valid_px, labelled_px=0, class_px={})
    masked = np.where(valid, labels, np.uint8(MASK_NODATA))
    counts = np.bincount(masked.ravel(), minlength=256)
    present = np.flatnonzero(counts[1:MASK_NODATA]) + 1
    return masked, ChipCounts(
        valid_px=valid_px,
        labelled_px=masked.size - int(counts[MASK_NODATA]),
        class_px={int(key): int(counts[key]) for key in present},
    )
