"""A scene labelled in one pass is the scene labelled at once, however its rows come."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from geotiler.core.cells import CellAxis
from geotiler.core.label_sweep import LabelCounts, LabelPlan, label_cells
from geotiler.core.radiometry import normalise
from geotiler.core.resample import Axis
from geotiler.specs import Scale

SCALE = Scale(minimum=0, maximum=255)


def _plan(shape: tuple[int, int], tile: int, stride: int, **changes: object) -> LabelPlan:
    axes = tuple(Axis.scaled(side, 1.0) for side in shape)
    cells = tuple(CellAxis(length_px=side, tile_px=tile, stride_px=stride) for side in shape)
    values = {
        "axes": axes, "cells": cells, "classes": 2, "scale": SCALE, "mean": (0.4,), "std": (0.2,),
        "min_valid": 0.5, "batch": 4, **changes,
    }  # fmt: skip
    return LabelPlan(**values)  # type: ignore[arg-type]


def _mean(batch: NDArray[np.float32]) -> NDArray[np.float32]:
    """p and 1 - p from the mean of a tile: what a network may answer to it."""
    p = 1 / (1 + np.exp(-batch.mean(axis=(1, 2, 3), dtype=np.float64)))
    return np.stack([p, 1 - p], axis=1).astype(np.float32)


def _chunks(image: NDArray[np.uint8], valid: NDArray[np.bool_], step: int) -> Iterator[object]:
    for top in range(0, len(valid), step):
        yield image[:, top : top + step], valid[top : top + step]


def _whole(
    plan: LabelPlan, chunks: Iterator[object]
) -> tuple[NDArray[np.float32], NDArray[np.bool_], LabelCounts]:
    counts = LabelCounts()
    rows = list(label_cells(chunks, _mean, plan, counts))  # type: ignore[arg-type]
    assert [r.row for r in rows] == np.cumsum([0, *(len(r.known) for r in rows)])[:-1].tolist()
    return (
        np.concatenate([r.probabilities for r in rows], axis=1),
        np.concatenate([r.known for r in rows]),
        counts,
    )


@given(
    shape=st.tuples(st.integers(1, 50), st.integers(1, 50)),
    tile=st.integers(1, 16),
    data=st.data(),
)
def test_without_overlap_each_cell_is_the_answer_to_its_tile(
    shape: tuple[int, int], tile: int, data: st.DataObject
) -> None:
    random = np.random.default_rng(data.draw(st.integers(0, 99)))
    image = random.integers(0, 256, (1, *shape), dtype=np.uint8)
    valid = random.random(shape) < data.draw(st.sampled_from([0.5, 0.9, 1.0]))
    plan = _plan(shape, tile, tile, batch=data.draw(st.integers(1, 9)))
    found, known, counts = _whole(plan, _chunks(image, valid, data.draw(st.integers(1, 60))))
    inputs = normalise(image, valid, scale=SCALE, mean=plan.mean, std=plan.std)
    rows, cols = plan.cells
    enough = 0
    for row, top in enumerate(rows.starts):
        for col, left in enumerate(cols.starts):
            part = slice(top, top + tile), slice(left, left + tile)
            cell = valid[row * tile : (row + 1) * tile, col * tile : (col + 1) * tile]
            labelled = valid[part].mean() >= 0.5 and valid[part].any()
            enough += labelled
            assert known[row, col] == (labelled and cell.any())
            if known[row, col]:
                seen = inputs[:, *part]
                pad = [(0, 0), *((0, tile - side) for side in seen.shape[1:])]
                expected = _mean(np.pad(seen, pad, mode="symmetric")[None])[0]
                np.testing.assert_allclose(found[:, row, col], expected, rtol=1e-6)
    assert counts.computed == enough
    assert counts.computed + counts.skipped == len(rows.starts) * len(cols.starts)


@pytest.mark.parametrize("ratio", [1.0, 0.5, 1.7])
@pytest.mark.parametrize("stride", [3, 5, 8])
def test_the_answer_does_not_depend_on_how_rows_come_or_are_batched(
    ratio: float, stride: int
) -> None:
    random = np.random.default_rng(1)
    shape = (61, 47)
    image = random.integers(0, 256, (1, *shape), dtype=np.uint8)
    valid = random.random(shape) < 0.8
    axes = tuple(Axis.scaled(side, ratio) for side in shape)
    cells = tuple(CellAxis(length_px=axis.target_px, tile_px=8, stride_px=stride) for axis in axes)
    first, *others = (
        _whole(
            _plan(shape, 8, stride, axes=axes, cells=cells, batch=batch),
            _chunks(image, valid, step),
        )
        for step, batch in ((61, 1), (7, 4), (1, 32))
    )
    assert first[1].any()
    for other in others:
        np.testing.assert_array_equal(other[0], first[0])
        np.testing.assert_array_equal(other[1], first[1])


def test_a_scene_without_a_valid_pixel_is_never_shown_to_the_network() -> None:
    shape = (20, 20)
    plan = _plan(shape, 8, 4, min_valid=0.0)
    counts = LabelCounts()

    def network(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        raise AssertionError("there is nothing to see")

    rows = list(
        label_cells(
            _chunks(np.zeros((1, *shape), np.uint8), np.zeros(shape, bool), 5),  # type: ignore[arg-type]
            network, plan, counts,
        )
    )  # fmt: skip
    assert sum(len(row.known) for row in rows) == 5
    assert not any(row.known.any() for row in rows)
    assert counts == LabelCounts(computed=0, skipped=16)


@pytest.mark.parametrize("ratio", [1.0, 0.25])
def test_memory_does_not_grow_with_the_height(ratio: float) -> None:
    width, rows = 3000, 200
    chunk = np.zeros((1, rows, width), np.uint8), np.ones((rows, width), bool)
    peaks = []
    for height in (1000, 6000):
        shape = (height, width)
        axes = tuple(Axis.scaled(side, ratio) for side in shape)
        cells = tuple(CellAxis(length_px=axis.target_px, tile_px=64, stride_px=48) for axis in axes)
        plan = _plan(shape, 64, 48, axes=axes, cells=cells)
        chunks = (chunk for _ in range(height // rows))
        tracemalloc.start()
        for _ in label_cells(chunks, _mean, plan, LabelCounts()):
            pass
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.05 * peaks[0]


def test_batches_run_on_across_rows_of_tiles() -> None:
    shape = (130, 190)
    plan = _plan(shape, 16, 16, batch=8)
    sizes = []

    def network(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        sizes.append(len(batch))
        return _mean(batch)

    image = np.ones((1, *shape), np.uint8)
    for _ in label_cells(_chunks(image, np.ones(shape, bool), 50), network, plan, LabelCounts()):  # type: ignore[arg-type]
        pass
    assert sum(sizes) == 9 * 12
    assert all(size == 8 for size in sizes[:-1])  # though a row has 12 tiles


@given(
    shape=st.tuples(st.integers(1, 60), st.integers(1, 40)),
    tile=st.integers(1, 16),
    ratio=st.sampled_from([1.0, 0.4, 1.7]),
    data=st.data(),
)
def test_begun_in_the_middle_the_rows_are_those_of_the_whole(
    shape: tuple[int, int], tile: int, ratio: float, data: st.DataObject
) -> None:
    random = np.random.default_rng(data.draw(st.integers(0, 99)))
    image = random.integers(0, 256, (1, *shape), dtype=np.uint8)
    valid = random.random(shape) < data.draw(st.sampled_from([0.6, 1.0]))
    axes = tuple(Axis.scaled(side, ratio) for side in shape)
    stride = data.draw(st.integers(1, tile))
    cells = tuple(
        CellAxis(length_px=axis.target_px, tile_px=tile, stride_px=stride) for axis in axes
    )
    plan = _plan(shape, tile, stride, axes=axes, cells=cells, batch=data.draw(st.integers(1, 5)))
    whole, known, _ = _whole(plan, _chunks(image, valid, 7))
    first = data.draw(st.integers(0, cells[0].cells - 1))
    top = plan.spans(first)[0].read[0]
    chunks = _chunks(image[:, top:], valid[top:], data.draw(st.integers(1, 60)))
    part = list(label_cells(chunks, _mean, plan, LabelCounts(), first=first))  # type: ignore[arg-type]
    assert part[0].row == first
    found = np.concatenate([rows.probabilities for rows in part], axis=1)
    np.testing.assert_array_equal(found, whole[:, first:])
    np.testing.assert_array_equal(np.concatenate([rows.known for rows in part]), known[first:])
