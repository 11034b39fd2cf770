"""How fast this machine does what a plan asks for, tried for about two seconds."""

from __future__ import annotations

import statistics
import time
import zlib
from contextlib import closing
from dataclasses import dataclass

import numpy as np

from geotiler.core.masks import class_ids
from geotiler.core.radiometry import finite_float32
from geotiler.core.resample import resampled
from geotiler.io.scene_reader import SceneReader
from geotiler.models.predictor import Predictor
from geotiler.specs import Window
from geotiler.tasks.segment_plan import SegmentPlan
from geotiler.tasks.segment_reading import opened_reader

NETWORK_S, PIXELS_S = 1.3, 0.7
"""Seconds to try each for; a single window may take longer than that."""


@dataclass(frozen=True, kw_only=True)
class Pace:
    """Measured seconds."""

    window_s: float
    """The network, for one window."""
    pixel_s: float
    """Reading, resampling, deciding and compressing, for one pixel of the scene."""


def calibrated(plan: SegmentPlan, predictor: Predictor) -> Pace:
    """The pace of a plan, from windows of nothing and from real rows of the scene.

    Raises:
        InputError: the scene cannot be read.
    """
    return Pace(window_s=_window_s(plan, predictor), pixel_s=_pixel_s(plan))


def _window_s(plan: SegmentPlan, predictor: Predictor) -> float:
    shape = (predictor.batch, len(plan.bundle.card.bands), *plan.grid.tile_shape)
    tiles = np.zeros(shape, np.float32)
    begin = time.perf_counter()
    predictor(tiles)  # the first one allocates
    times: list[float] = []
    while not times or time.perf_counter() - begin + times[-1] < NETWORK_S:
        started = time.perf_counter()
        predictor(tiles)
        times.append(time.perf_counter() - started)
    return statistics.median(times) / predictor.batch


def _pixel_s(plan: SegmentPlan) -> float:
    """Seconds per pixel of chunks spread over the scene."""
    chunks = list(plan.chunks(plan.stretch(plan.panels[0], plan.rows)))
    order = sorted(range(len(chunks)), key=lambda index: (index * 7919) % len(chunks))
    begin = time.perf_counter()
    pixels = 0
    with closing(opened_reader(plan)) as reader:
        for index in order:
            _handled(plan, chunks[index], reader)
            pixels += chunks[index].height * chunks[index].width
            if time.perf_counter() - begin > PIXELS_S:
                break
    return (time.perf_counter() - begin) / pixels


def _handled(plan: SegmentPlan, chunk: Window, reader: SceneReader) -> None:
    """Do with a chunk what a run does with it outside the network."""
    values, valid = reader(chunk)
    card = plan.bundle.card
    answer = np.zeros((len(card.classes), *valid.shape), np.float32)
    down, across = plan.axes
    ready = down.ready(chunk.height), across.ready(chunk.width)
    if any(axis.ratio != 1.0 for axis in plan.axes) and all(ready):
        row, by_row = down.matrix(0, ready[0])
        col, by_col = across.matrix(0, ready[1])
        rows = slice(row, row + by_row.shape[1])
        cols = slice(col, col + by_col.shape[1])
        resampled(finite_float32(values)[:, rows, cols], valid[rows, cols], by_row, by_col)
        resampled(answer[:, rows, cols], valid[rows, cols], by_row, by_col)  # as much, back again
    ids = [item.id for item in card.classes]
    zlib.compress(class_ids(answer, valid, ids=ids, threshold=plan.threshold), 6)
