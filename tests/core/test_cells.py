"""Answers of tiles become cells: constants stay constants, a lone tile is its cell."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from geotiler.core.blend import window_weights
from geotiler.core.cells import CellAxis, CellBlender, CellsSeen
from geotiler.errors import SpecError

Axes = tuple[CellAxis, CellAxis]


@st.composite
def axes(draw: st.DrawFn) -> Axes:
    tile = draw(st.integers(1, 12))
    stride = draw(st.integers(1, tile))
    rows, cols = (
        CellAxis(length_px=draw(st.integers(1, 40)), tile_px=tile, stride_px=stride)
        for _ in range(2)
    )
    return rows, cols


def _blended(
    rows: CellAxis, cols: CellAxis, answers: NDArray[np.float32], answering: NDArray[np.bool_]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """All cells, from answers (class, tile row, tile col) of the tiles that answer."""
    blender = CellBlender(classes=len(answers), rows=rows, cols=cols)
    probabilities, known = [], []
    expected_row = 0
    for row in range(len(rows.starts)):
        for col in range(len(cols.starts)):
            if answering[row, col]:
                blender.add(row, col, answers[:, row, col])
        done = blender.finish_row(row)
        assert done.row == expected_row
        expected_row += len(done.known)
        probabilities.append(done.probabilities)
        known.append(done.known)
    return np.concatenate(probabilities, axis=1), np.concatenate(known)


@given(axes(), st.data())
def test_a_constant_stays_that_constant_whatever_answers(both: Axes, data: st.DataObject) -> None:
    rows, cols = both
    shape = len(rows.starts), len(cols.starts)
    seed = data.draw(st.integers(0, 99))
    random = np.random.default_rng(seed)
    answering = random.random(shape) < data.draw(st.sampled_from([0.3, 0.8, 1.0]))
    constant = np.float32(data.draw(st.sampled_from([1.0, 0.1, 1 / 3, 0.7])))
    found, known = _blended(rows, cols, np.full((2, *shape), constant), answering)
    assert found.shape == (2, rows.cells, cols.cells)
    for plane in found:
        np.testing.assert_array_equal(plane, np.where(known, constant, np.float32(0)))


@given(axes(), st.integers(0, 99))
def test_cells_are_the_mean_of_tiles_weighted_where_they_cover_them(both: Axes, seed: int) -> None:
    """Against a plain sum over pixels of all tiles: no cells, no running mean, no axes."""
    rows, cols = both
    random = np.random.default_rng(seed)
    shape = len(rows.starts), len(cols.starts)
    answers = random.random((1, *shape), np.float32)
    answering = random.random(shape) < 0.7
    found, known = _blended(rows, cols, answers, answering)
    side = rows.stride_px
    weighted = np.zeros((rows.cells * side, cols.cells * side))
    sums = np.zeros_like(weighted)
    window = np.multiply.outer(window_weights(rows.tile_px), window_weights(cols.tile_px))
    for row, top in enumerate(rows.starts):
        for col, left in enumerate(cols.starts):
            part = window[: rows.length_px - top, : cols.length_px - left].astype(float)
            if side == rows.tile_px:  # each cell has a tile of its own
                top, left = row * side, col * side
                part = np.ones((side, side))
            if answering[row, col]:
                place = slice(top, top + len(part)), slice(left, left + part.shape[1])
                weighted[place] += part * answers[0, row, col]
                sums[place] += part
    weighted, sums = (
        a.reshape(rows.cells, side, cols.cells, side).sum(axis=(1, 3)) for a in (weighted, sums)
    )
    np.testing.assert_array_equal(known, sums > 0)
    np.testing.assert_allclose(found[0][known], (weighted / np.where(sums, sums, 1))[known], 1e-4)


@given(axes(), st.integers(0, 99))
def test_without_overlap_a_cell_is_its_tile(both: Axes, seed: int) -> None:
    tile = both[0].tile_px
    rows, cols = (CellAxis(length_px=axis.length_px, tile_px=tile, stride_px=tile) for axis in both)
    answers = np.random.default_rng(seed).random((3, rows.cells, cols.cells), np.float32)
    assert (len(rows.starts), len(cols.starts)) == (rows.cells, cols.cells)
    found, known = _blended(rows, cols, answers, np.ones(answers.shape[1:], bool))
    np.testing.assert_array_equal(found, answers)
    assert known.all()


@given(axes(), st.integers(0, 99), st.integers(1, 9))
def test_a_cell_is_seen_when_one_of_its_pixels_is(both: Axes, seed: int, step: int) -> None:
    rows, cols = both
    random = np.random.default_rng(seed)
    valid = random.random((rows.length_px, cols.length_px)) < 0.15
    seen = CellsSeen(rows, cols)
    for top in range(0, len(valid), step):
        seen.add(valid[top : top + step])
    padded = np.zeros((rows.cells * rows.stride_px, cols.cells * cols.stride_px), bool)
    padded[: rows.length_px, : cols.length_px] = valid
    blocks = padded.reshape(rows.cells, rows.stride_px, cols.cells, cols.stride_px)
    np.testing.assert_array_equal(seen.take(0, rows.cells), blocks.any(axis=(1, 3)))


@given(axes())
def test_edges_cover_the_scene_without_gaps(both: Axes) -> None:
    for axis in both:
        edges = axis.edges
        assert (edges[0], edges[-1]) == (0, axis.length_px)
        assert (np.diff(edges) > 0).all()
        assert (np.diff(edges)[:-1] == axis.stride_px).all()


@pytest.mark.parametrize("stride", [0, -1, 65])
def test_a_stride_that_leaves_gaps_is_refused(stride: int) -> None:
    with pytest.raises(SpecError, match="--stride 64"):
        CellAxis(length_px=100, tile_px=64, stride_px=stride)
