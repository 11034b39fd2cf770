"""Reading the scene of a plan: only what is wanted of it, and its first rows early."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from itertools import takewhile
from types import TracebackType

import numpy as np

from geotiler.core.sweep import Chunk, SweepPlan
from geotiler.io.scene_reader import SceneReader
from geotiler.specs import Window
from geotiler.tasks.segment_plan import SegmentPlan

_EARLY_BYTES = 2**26
"""Most that is read before the network is ready; of scenes that are resampled, whose rows are not
kept as they were read, two stretches as later on."""


class EarlyRows:
    """The rows that the first tiles are cut from, read while the network is made ready.

    A context: what nobody took is let go at its end.
    """

    def __init__(self, plan: SegmentPlan) -> None:
        """Begins to read."""
        stretch = plan.stretch(plan.panels[0], plan.rows)
        first, last = stretch.rows.network
        tile_stop = min(first + plan.grid.tile_shape[0], last)
        stop = plan.axes[0].needed(first, tile_stop)[1]
        swept = plan.sweep_plan(stretch, 1)
        windows = list(takewhile(lambda window: window.row < stop, plan.chunks(stretch)))
        pixel_bytes = len(plan.bands) * np.dtype(plan.dtype).itemsize
        chunk_bytes = max(window.height * window.width for window in windows) * pixel_bytes
        most = 2 if swept.is_resampled else max(1, _EARLY_BYTES // chunk_bytes)
        self._scene = opened_reader(plan)
        read = WantedReader(plan, swept, self._scene)
        self._pool = ThreadPoolExecutor(1, "geotiler")
        self._coming: dict[Window, Future[Chunk]] = {
            window: self._pool.submit(read, window) for window in windows[:most]
        }

    def keep(self, windows: Iterable[Window]) -> None:
        """Let go what is not among some windows, for nobody will take it."""
        wanted = set(windows)
        for window in self._coming.keys() - wanted:
            self._coming.pop(window).cancel()

    def taken(self, window: Window) -> Chunk | None:
        """What is read of a window, once; None where it is not among the first.

        Raises:
            InputError: the scene is damaged there.
        """
        coming = self._coming.pop(window, None)
        return None if coming is None else coming.result()

    def __enter__(self) -> EarlyRows:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._pool.shutdown(cancel_futures=True)
        self._coming.clear()
        self._scene.close()


def opened_reader(plan: SegmentPlan) -> SceneReader:
    """What reads a plan's scene."""
    spec = plan.spec
    return SceneReader(spec.scene, plan.bands, drivers=spec.drivers, allow_remote=spec.allow_remote)


class WantedReader:
    """Reads windows of a scene, and of each only the columns that wanted windows touch."""

    def __init__(
        self,
        plan: SegmentPlan,
        swept: SweepPlan,
        scene: SceneReader,
        early: EarlyRows | None = None,
    ) -> None:
        """Args: swept: whose windows are wanted. early: what is being read already."""
        self._scene = scene
        self._early = early
        self._wanted = swept.wanted
        self._empty = np.zeros((len(plan.bands), 1, 1), plan.dtype)
        height, width = swept.tile_shape
        by_row, by_col = swept.axes
        self._rows = [
            by_row.needed(start, min(start + height, by_row.target_px))
            for start in swept.rows.starts
        ]
        self._columns = [
            by_col.needed(start, min(start + width, by_col.target_px))
            for start in swept.columns.starts
        ]

    def __call__(self, window: Window) -> Chunk:
        """Values and valid mask of a window; what is not needed is invalid."""
        found = None if self._early is None else self._early.taken(window)
        if found is not None:
            return found
        if self._wanted is None:
            return self._scene(window)
        numbers = [
            number
            for number, (first, last) in enumerate(self._rows)
            if first < window.row_stop and last > window.row
        ]
        columns = np.flatnonzero(self._wanted[numbers].any(axis=0))
        values = np.broadcast_to(self._empty, (len(self._empty), *window.shape)).copy()
        valid = np.zeros(window.shape, bool)
        if columns.size:
            first = max(window.col, self._columns[columns[0]][0])
            last = min(window.col_stop, self._columns[columns[-1]][1])
            inside = slice(first - window.col, last - window.col)
            part = replace(window, col=first, width=last - first)
            values[:, :, inside], valid[:, inside] = self._scene(part)
        return values, valid
