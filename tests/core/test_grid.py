"""Windows cover a scene, none of them twice, none of them beyond it."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geotiler.core.grid import Grid, TileLimits, fitted_overlap, fitted_tile, starts
from geotiler.errors import SpecError

LIMITS = TileLimits(largest_px=1_500_000, row_px=18_000_000)


LENGTHS = st.integers(1, 700)


@st.composite
def grids(draw: st.DrawFn) -> Grid:
    tile = draw(st.integers(1, 90)), draw(st.integers(1, 90))
    overlap = draw(st.integers(0, min(tile) - 1))
    shape = draw(st.integers(1, 90)), draw(st.integers(1, 200))
    multiple = draw(st.integers(1, 40))
    return Grid(shape=shape, tile_shape=tile, overlap_px=overlap, multiple_px=multiple)


@given(length=LENGTHS, tile=st.integers(1, 200), data=st.data())
def test_tiles_cover_an_axis_without_repeating_or_leaving_it(
    length: int, tile: int, data: st.DataObject
) -> None:
    stride = data.draw(st.integers(1, tile))
    found = starts(length, tile, stride)
    assert found == sorted(set(found))
    assert found[0] == 0
    assert found[-1] == max(0, length - tile)
    assert all(later - earlier <= stride for earlier, later in pairwise(found))
    # In one phase as many tiles do, and overlap as much.
    multiple = data.draw(st.integers(1, 64))
    in_phase = starts(length, tile, stride, multiple)
    assert in_phase[:-1] == found[:-1]
    assert found[-1] <= in_phase[-1] < found[-1] + multiple
    assert in_phase[-1] - max(in_phase[-2:-1], default=0) <= stride
    if stride % multiple == 0:
        assert all(start % multiple == 0 for start in in_phase)
    # One tile less cannot cover the axis at this overlap.
    assert len(found) == 1 or tile + (len(found) - 2) * stride < length


@given(grid=grids())
def test_every_pixel_lies_in_a_window_and_no_window_is_there_twice(grid: Grid) -> None:
    windows = list(grid)
    assert len(windows) == len(set(windows)) == len(grid)
    assert len(windows) == len(grid.rows) * len(grid.cols)
    assert windows == sorted(windows, key=lambda window: (window.row, window.col))
    covered = np.zeros(grid.shape, int)
    for window in windows:
        assert window.shape == grid.tile_shape
        beyond = grid.multiple_px - 1
        assert window.row == 0 or window.row_stop <= grid.shape[0] + beyond
        assert window.col == 0 or window.col_stop <= grid.shape[1] + beyond
        covered[window.slices] += 1
    assert covered.min() >= 1
    assert grid.computed_share >= 1.0


@pytest.mark.parametrize("overlap", [-1, 64, 100])
def test_an_overlap_that_leaves_no_stride_is_refused(overlap: int) -> None:
    with pytest.raises(SpecError, match="--overlap"):
        Grid(shape=(100, 100), tile_shape=(64, 96), overlap_px=overlap)


def test_an_empty_scene_is_refused() -> None:
    with pytest.raises(SpecError, match="at least one pixel"):
        Grid(shape=(0, 5), tile_shape=(64, 64), overlap_px=0)


@given(
    shape=st.tuples(st.integers(1, 30_000), st.integers(1, 30_000)),
    overlap=st.integers(0, 400),
    multiple=st.sampled_from([32, 64, 96]),
)
def test_a_fitted_tile_is_one_that_the_network_and_the_memory_can_take(
    shape: tuple[int, int], overlap: int, multiple: int
) -> None:
    tile = fitted_tile(shape, overlap, multiple, LIMITS)
    assert all(side % multiple == 0 and side > overlap for side in tile)
    assert tile[0] * tile[1] <= 1_500_000
    grid = Grid(shape=shape, tile_shape=tile, overlap_px=overlap)
    if min(shape) > 4 * max(512, overlap):
        fixed = Grid(shape=shape, tile_shape=(1152, 1152), overlap_px=overlap)
        assert grid.computed_share <= fixed.computed_share * 1.03


@pytest.mark.parametrize(("shape", "at_most"), [((4573, 4418), 1.13), ((3072, 4096), 1.11)])
def test_snapping_inward_wastes_little(shape: tuple[int, int], at_most: float) -> None:
    grid = Grid(shape=shape, tile_shape=fitted_tile(shape, 64, 32, LIMITS), overlap_px=64)
    assert grid.computed_share < at_most


def test_the_wider_a_scene_the_less_tall_are_its_tiles_for_their_rows_are_held() -> None:
    limits = TileLimits(largest_px=2_600_000, row_px=18_000_000)
    for width in (4_000, 8_000, 12_000, 20_000, 300_000):
        height, _ = fitted_tile((30_000, width), 128, 32, limits)
        assert height * width <= 18_000_000 or height <= 1152
    # A thousand rows need no more of them than they are.
    assert fitted_tile((1_000, 300_000), 128, 32, limits)[0] == 1024


def test_fitting_is_quick_for_the_largest_scenes() -> None:
    assert fitted_tile((2_000_000, 2_000_000), 480, 32, LIMITS)[0] > 480


@given(overlap=st.integers(0, 512), steps=st.integers(1, 64), multiple=st.sampled_from([1, 32, 64]))
def test_an_overlap_is_fitted_to_a_tile_that_was_chosen(
    overlap: int, steps: int, multiple: int
) -> None:
    side = steps * multiple
    found = fitted_overlap(overlap, side, multiple)
    assert 0 <= found <= overlap
    if found < overlap:
        assert found <= max(multiple, side / 4)
        assert found >= min(multiple, side // 4)
        assert found % multiple == 0 or side == multiple
    grid = Grid(shape=(9, 9), tile_shape=(side, side), overlap_px=found)  # never all of the tile
    assert grid.overlapped_share < 2 or side < 4 * multiple


@pytest.mark.parametrize(
    ("side", "expected"), [(1024, 128), (512, 128), (480, 96), (256, 64), (64, 32), (32, 8)]
)
def test_the_overlap_of_a_card_is_that_of_large_tiles(side: int, expected: int) -> None:
    assert fitted_overlap(128, side, 32) == expected


def test_what_an_overlap_costs_is_told_apart_from_a_scene_hardly_larger_than_a_tile() -> None:
    large = Grid(shape=(10_000, 10_000), tile_shape=(256, 256), overlap_px=128)
    assert large.computed_share == pytest.approx(large.overlapped_share, rel=0.05)
    small = Grid(shape=(260, 260), tile_shape=(256, 256), overlap_px=0)
    assert small.computed_share > 3
    assert small.overlapped_share == 1
