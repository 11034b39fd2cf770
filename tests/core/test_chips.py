"""Chips cut from rows equal chips cut from the whole scene."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from geotiler.core.chips import Chunk, Cutter, chip_rows, masked_labels, panels, read_windows
from geotiler.core.resample import Axis
from geotiler.core.splits import chip_grid
from geotiler.specs import Window


def cutter(shape: tuple[int, int], ratio: float) -> Cutter:
    return Cutter(axes=(Axis.scaled(shape[0], ratio), Axis.scaled(shape[1], ratio)))


@settings(max_examples=40)
@given(
    shape=st.tuples(st.integers(20, 150), st.integers(20, 150)),
    ratio=st.sampled_from([1.0, 0.5, 0.37, 1.6]),
    chunk=st.integers(1, 60),
    most_bytes=st.sampled_from([1, 4000, 10**9]),
    skipped=st.sets(st.integers(0, 8)),
    seed=st.integers(0, 99),
)
def test_reading_by_rows_and_panels_changes_nothing(
    shape: tuple[int, int], ratio: float, chunk: int, most_bytes: int, skipped: set[int], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    scene = rng.integers(0, 255, (2, *shape), dtype=np.uint8)
    valid = rng.random(shape) > 0.3
    cut = cutter(shape, ratio)
    grid = chip_grid((cut.axes[0].target_px, cut.axes[1].target_px), (16, 16), 5, None)
    height, width = grid.chip_shape
    read = np.zeros(shape, int)

    def pixels(windows: Iterator[Window]) -> Iterator[tuple[Window, Chunk]]:
        for window in windows:
            read[window.slices] += 1
            yield window, (scene[:, *window.slices], valid[window.slices])

    columns = [col for col, _ in grid.cols.chips]
    groups = panels(cut, columns, grid.chip_shape, 3, most_bytes)
    assert [col for group in groups for col in group] == columns
    for group in groups:
        rows = [
            Window(row=row, col=group[0], height=height, width=group[-1] + width - group[0])
            for index, (row, _) in enumerate(grid.rows.chips)
            if index not in skipped
        ]
        for strip in chip_rows(cut, rows, pixels(read_windows(cut, rows, chunk))):
            for col in group:
                row = rows[strip.index].row
                window = Window(row=row, col=col, height=height, width=width)
                got, known = cut.cut(strip.values, strip.valid, strip.origin, window)
                whole, sure = cut.cut(scene, valid, (0, 0), window)
                assert_array_equal(known, sure)
                assert_array_equal(got, whole)
                if ratio == 1.0:
                    assert_array_equal(known, valid[window.slices])
                    assert_array_equal(got[:, known], scene[:, *window.slices][:, known])
                assert not got[:, ~known].any()
    if len(groups) == 1:
        assert read.max(initial=0) <= 1


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.int32, np.float32])
def test_a_constant_stays_that_constant_in_every_type(dtype: type) -> None:
    value = np.iinfo(dtype).max if np.issubdtype(dtype, np.integer) else 0.1
    scene = np.full((1, 60, 60), value, dtype)
    valid = np.ones((60, 60), bool)
    valid[:, :20] = False
    window = Window(row=3, col=0, height=20, width=25)
    got, known = cutter((60, 60), 0.45).cut(scene, valid, (0, 0), window)
    assert got.dtype == dtype
    if np.issubdtype(dtype, np.floating):
        np.testing.assert_allclose(got[:, known], value, rtol=1e-6)
        assert np.isnan(got[:, ~known]).all()
    else:
        rounding = 64 if dtype is np.int32 else 0  # float32 in between
        assert abs(got[:, known].astype(np.int64) - int(value)).max() <= rounding * 2
    assert_array_equal(known[0], (np.arange(25) + 0.5) / 0.45 >= 20)


def test_labels_are_unknown_where_the_image_is_and_pixels_are_counted() -> None:
    labels = np.array([[0, 1, 2], [2, 255, 1]], np.uint8)
    valid = np.array([[True, True, False], [True, True, True]])
    masked, counts = masked_labels(labels, valid)
    assert_array_equal(masked, [[0, 1, 255], [2, 255, 1]])
    assert (counts.valid_px, counts.labelled_px) == (5, 4)
    assert counts.class_px == {1: 2, 2: 1}
    assert masked_labels(None, valid)[1].valid_px == 5
