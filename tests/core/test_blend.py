"""The blend is the weighted mean of all windows over a pixel, and exact where they agree."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from geotiler.core.blend import RunningMean, StripBlender, window_weights
from geotiler.core.grid import Grid


@given(length=st.integers(1, 4096))
def test_weights_are_symmetric_and_never_zero(length: int) -> None:
    weights = window_weights(length)
    assert weights.dtype == np.float32
    assert weights.min() > 0
    assert weights.max() <= 1
    np.testing.assert_allclose(weights, weights[::-1], rtol=1e-3)


def _blended(
    grid: Grid, answers: dict[tuple[int, int], NDArray[np.float32]]
) -> NDArray[np.float32]:
    classes = next(iter(answers.values())).shape[0]
    blender = StripBlender(
        classes=classes, shape=grid.shape, tile_shape=grid.tile_shape, rows=grid.rows
    )
    out = np.full((classes, *grid.shape), np.nan, np.float32)
    expected_row = 0
    for row in grid.rows:
        for col in grid.cols:
            if (row, col) in answers:
                blender.add(col, answers[row, col])
        first, finished = blender.finish_row()
        assert first == expected_row  # each row comes out once, in order
        expected_row += finished.shape[1]
        out[:, first:expected_row] = finished
    assert expected_row == grid.shape[0]
    return out


@st.composite
def grids(draw: st.DrawFn) -> Grid:
    tile = draw(st.integers(1, 24)), draw(st.integers(1, 24))
    overlap = draw(st.integers(0, min(tile) - 1))
    shape = draw(st.integers(1, 70)), draw(st.integers(1, 70))
    multiple = draw(st.integers(1, 24))
    return Grid(shape=shape, tile_shape=tile, overlap_px=overlap, multiple_px=multiple)


@given(grid=grids(), seed=st.integers(0, 99))
def test_the_blend_is_the_weighted_mean_of_all_windows(grid: Grid, seed: int) -> None:
    rng = np.random.default_rng(seed)
    answers = {(w.row, w.col): rng.random((2, *grid.tile_shape), dtype=np.float32) for w in grid}
    # The straightforward way: sum, then divide, in double precision over the whole scene.
    weight = np.outer(*(window_weights(side).astype(float) for side in grid.tile_shape))
    rows, cols = (n + t for n, t in zip(grid.shape, grid.tile_shape, strict=True))
    sums, weights = np.zeros((2, rows, cols)), np.zeros((rows, cols))
    for (row, col), answer in answers.items():
        area = slice(row, row + grid.tile_shape[0]), slice(col, col + grid.tile_shape[1])
        sums[:, *area] += answer * weight
        weights[area] += weight
    height, width = grid.shape
    expected = sums[:, :height, :width] / weights[:height, :width]
    np.testing.assert_allclose(_blended(grid, answers), expected, atol=2e-6)


@given(
    grid=grids(),
    values=st.lists(st.floats(0, 1, width=32), min_size=1, max_size=3),
)
def test_where_all_windows_agree_the_blend_is_exact(grid: Grid, values: list[float]) -> None:
    constants = np.asarray(values, np.float32)[:, None, None]
    answer = np.broadcast_to(constants, (len(values), *grid.tile_shape))
    out = _blended(grid, {(w.row, w.col): answer for w in grid})
    np.testing.assert_array_equal(out, np.broadcast_to(constants, out.shape))


@given(grid=grids(), seed=st.integers(0, 99))
def test_a_missing_window_changes_nothing_outside_of_it(grid: Grid, seed: int) -> None:
    rng = np.random.default_rng(seed)
    answers = {(w.row, w.col): rng.random((1, *grid.tile_shape), dtype=np.float32) for w in grid}
    some = {place: answers[place] for place in answers if rng.random() < 0.6}
    if not some:
        return
    touched = np.zeros(grid.shape, bool)
    for window in grid:
        if (window.row, window.col) not in some:
            touched[window.slices] = True
    out = _blended(grid, some)
    np.testing.assert_array_equal(out[:, ~touched], _blended(grid, answers)[:, ~touched])
    never = np.ones(grid.shape, bool)
    for row, col in some:
        never[row : row + grid.tile_shape[0], col : col + grid.tile_shape[1]] = False
    assert (out[:, never] == 0).all()


@pytest.mark.parametrize("axis", [1, 2])
def test_shifting_keeps_what_is_left_and_empties_the_rest(axis: int) -> None:
    mean = RunningMean((1, 6, 6), axis)
    mean.mean[:] = np.arange(36).reshape(1, 6, 6)
    assert mean.share(np.ones(6, np.float32)).front == 0
    before = mean.mean.copy()
    mean.shift(2)
    kept = np.take(mean.mean, range(4), axis)
    np.testing.assert_array_equal(kept, np.take(before, range(2, 6), axis))
    assert (np.take(mean.mean, [4, 5], axis) == 0).all()
    share = mean.share(np.ones(6, np.float32))
    assert share.front == 4
    np.testing.assert_array_equal(share.values.ravel(), np.float32([0.5] * 4))
    mean.shift(100)
    assert (mean.mean == 0).all()
