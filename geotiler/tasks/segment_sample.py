"""What a few small windows of a scene tell of all of it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from geotiler.core.grid import Grid
from geotiler.io.raster import Scene
from geotiler.specs import Window

_GLANCES, _GLANCE_PX = 150, 32


def about_skipped(scene: Scene, bands: Sequence[int], grid: Grid) -> int:
    """About how many windows of a grid have no valid pixel.

    Judged by a coarse view of the scene where it has overviews or is small; otherwise by glances
    into some of the windows, since a coarse view would be made of all of its pixels.
    """
    if scene.is_cheap_to_overlook:
        return _skipped_in(scene.coarse_valid(bands), grid)
    windows = list(grid)
    chosen = windows[:: max(1, len(windows) // _GLANCES)]
    empty = sum(not _shows_something(scene, bands, grid, window) for window in chosen)
    return round(len(windows) * empty / len(chosen))


def _skipped_in(valid: NDArray[np.bool_], grid: Grid) -> int:
    down, right = (a / b for a, b in zip(valid.shape, grid.shape, strict=True))
    return sum(
        not valid[
            int(window.row * down) : math.ceil(window.row_stop * down),
            int(window.col * right) : math.ceil(window.col_stop * right),
        ].any()
        for window in grid
    )


def _shows_something(scene: Scene, bands: Sequence[int], grid: Grid, window: Window) -> bool:
    """Whether a small part in the middle or in a corner of a window is valid."""
    down, right = (a / b for a, b in zip(scene.shape, grid.shape, strict=True))
    height, width = min(_GLANCE_PX, scene.height), min(_GLANCE_PX, scene.width)
    # Not beyond the window: its neighbour may be valid where it is not.
    rows = window.row * down, max(window.row * down, window.row_stop * down - height)
    cols = window.col * right, max(window.col * right, window.col_stop * right - width)
    for y, x in ((0.5, 0.5), (0, 0), (0, 1), (1, 0), (1, 1)):
        row = int(rows[0] + y * (rows[1] - rows[0]))
        col = int(cols[0] + x * (cols[1] - cols[0]))
        part = Window(
            row=min(row, scene.height - height),
            col=min(col, scene.width - width),
            height=height,
            width=width,
        )
        if scene.valid_mask(part, bands).any():
            return True
    return False
