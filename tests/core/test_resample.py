"""Resampling keeps constants and ramps, and does not notice how the work is cut."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from geotiler.core.resample import Axis, resampled

RATIOS = st.floats(0.04, 12.0)
LENGTHS = st.integers(1, 90)


def _whole(
    values: NDArray[np.float32], valid: NDArray[np.bool_], rows: Axis, cols: Axis
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    by_row, by_col = rows.matrix(0, rows.target_px)[1], cols.matrix(0, cols.target_px)[1]
    (low, high), (left, right) = rows.needed(0, rows.target_px), cols.needed(0, cols.target_px)
    return resampled(values[:, low:high, left:right], valid[low:high, left:right], by_row, by_col)


@given(source=st.integers(1, 100_000), ratio=st.floats(0.001, 100))
def test_the_target_covers_the_source_and_no_more(source: int, ratio: float) -> None:
    axis = Axis.scaled(source, ratio)
    assert axis.target_px >= source * ratio - 1e-5
    assert axis.target_px == 1 or axis.target_px - 1 < source * ratio
    there_and_back = axis.reversed.reversed
    assert (there_and_back.source_px, there_and_back.target_px) == (source, axis.target_px)


@given(source=LENGTHS, ratio=RATIOS, data=st.data())
def test_weights_sum_to_one_and_use_only_what_is_needed(
    source: int, ratio: float, data: st.DataObject
) -> None:
    axis = Axis.scaled(source, ratio)
    start = data.draw(st.integers(0, axis.target_px - 1))
    stop = data.draw(st.integers(start + 1, axis.target_px))
    first, matrix = axis.matrix(start, stop)
    assert matrix.shape == (stop - start, matrix.shape[1])
    assert 0 <= first < first + matrix.shape[1] <= source
    assert matrix.data.min() >= 0
    np.testing.assert_allclose(matrix.sum(axis=1), 1, atol=1e-5)
    # The same rows as in the matrix of the whole axis, bit for bit.
    whole_first, whole = axis.matrix(0, axis.target_px)
    dense = np.zeros((stop - start, source), np.float32)
    dense[:, first : first + matrix.shape[1]] = matrix.toarray()
    expected = np.zeros_like(dense)
    expected[:, whole_first : whole_first + whole.shape[1]] = whole[start:stop].toarray()
    np.testing.assert_array_equal(dense, expected)


@given(source=st.integers(1, 400), ratio=RATIOS)
def test_ready_never_promises_more_than_has_arrived(source: int, ratio: float) -> None:
    axis = Axis.scaled(source, ratio)
    before = 0
    for stop in range(source + 1):
        ready = axis.ready(stop)
        assert before <= ready <= axis.target_px
        if ready:
            assert axis.needed(0, ready)[1] <= stop
        # Nor does it hold much back, or rows would pile up.
        assert ready >= (stop - 2 * axis.reach_px - 3) * ratio - 2
        before = ready
    assert before == axis.target_px


@given(shape=st.tuples(LENGTHS, LENGTHS), ratios=st.tuples(RATIOS, RATIOS), value=st.floats(0, 255))
def test_a_constant_stays_constant(
    shape: tuple[int, int], ratios: tuple[float, float], value: float
) -> None:
    rows, cols = (Axis.scaled(n, r) for n, r in zip(shape, ratios, strict=True))
    values = np.full((2, *shape), value, np.float32)
    out, reached = _whole(values, np.ones(shape, bool), rows, cols)
    assert out.shape == (2, rows.target_px, cols.target_px)
    assert reached.all()
    np.testing.assert_allclose(out, np.float32(value), rtol=1e-6)


@given(ratio=st.one_of(st.floats(1.0, 9.0), st.sampled_from([1 / 2, 1 / 3, 1 / 4, 1 / 7])))
def test_a_ramp_stays_the_ramp(ratio: float) -> None:
    axis = Axis.scaled(120, ratio)
    ramp = np.broadcast_to(np.arange(120, dtype=np.float32), (1, 3, 120))
    out, _ = _whole(ramp, np.ones((3, 120), bool), Axis.scaled(3, 1.0), axis)
    place = (np.arange(axis.target_px) + 0.5) / ratio - 0.5
    inner = (place > 2 * axis.reach_px) & (place < 119 - 2 * axis.reach_px)
    np.testing.assert_allclose(out[0, 1, inner], place[inner], atol=1e-4)


@given(ratio=st.floats(0.05, 1.0))
def test_a_shrunk_ramp_is_off_by_less_than_a_tenth_of_a_target_pixel(ratio: float) -> None:
    axis = Axis.scaled(240, ratio)
    ramp = np.broadcast_to(np.arange(240, dtype=np.float32), (1, 1, 240))
    out, _ = _whole(ramp, np.ones((1, 240), bool), Axis.scaled(1, 1.0), axis)
    place = (np.arange(axis.target_px) + 0.5) / ratio - 0.5
    inner = (place > 2 * axis.reach_px) & (place < 239 - 2 * axis.reach_px)
    assert (np.abs(out[0, 0, inner] - place[inner]) < 0.1 / ratio).all()


@given(
    shape=st.tuples(LENGTHS, LENGTHS),
    ratios=st.tuples(RATIOS, RATIOS),
    share=st.sampled_from([0.0, 0.3, 0.9]),
    seed=st.integers(0, 99),
    data=st.data(),
)
def test_a_cut_out_is_the_whole_bit_for_bit(
    shape: tuple[int, int],
    ratios: tuple[float, float],
    share: float,
    seed: int,
    data: st.DataObject,
) -> None:
    rng = np.random.default_rng(seed)
    rows, cols = (Axis.scaled(n, r) for n, r in zip(shape, ratios, strict=True))
    values = rng.random((1, *shape), dtype=np.float32)
    valid = np.ones(shape, bool)
    valid[: shape[0] // 2] = rng.random((shape[0] // 2, shape[1])) >= share
    out, reached = _whole(values, valid, rows, cols)
    top = data.draw(st.integers(0, rows.target_px - 1))
    left = data.draw(st.integers(0, cols.target_px - 1))
    bottom = data.draw(st.integers(top + 1, rows.target_px))
    right = data.draw(st.integers(left + 1, cols.target_px))
    (row, by_row), (col, by_col) = rows.matrix(top, bottom), cols.matrix(left, right)
    area = slice(row, row + by_row.shape[1]), slice(col, col + by_col.shape[1])
    part, part_reached = resampled(values[:, *area], valid[area], by_row, by_col)
    np.testing.assert_array_equal(part, out[:, top:bottom, left:right])
    np.testing.assert_array_equal(part_reached, reached[top:bottom, left:right])


@given(
    shape=st.tuples(LENGTHS, LENGTHS),
    ratios=st.tuples(st.floats(0.002, 12.0), st.floats(0.002, 12.0)),
    seed=st.integers(0, 99),
)
def test_every_valid_pixel_is_reached_there_and_back(
    shape: tuple[int, int], ratios: tuple[float, float], seed: int
) -> None:
    valid = np.random.default_rng(seed).random(shape) < 0.05
    rows, cols = (Axis.scaled(n, r) for n, r in zip(shape, ratios, strict=True))
    values = np.where(valid, np.float32(7), np.float32(np.nan))[None]
    there, known = _whole(values, valid, rows, cols)
    assert np.isfinite(there).all()  # what is invalid has no say, even NaN
    back, reached = _whole(there, known, rows.reversed, cols.reversed)
    assert reached[valid].all()
    np.testing.assert_allclose(back[0][valid], 7, rtol=1e-5)
