"""Splits: blocks partition a scene, chips stay inside, units are shared out fairly."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geotiler.core.grid import Grid
from geotiler.core.splits import (
    ChipAxis,
    Unit,
    assigned,
    chip_grid,
    fitted_block,
    joined,
    kept_empty,
)

SHARES = (0.7, 0.15, 0.15)


@st.composite
def axes(draw: st.DrawFn) -> ChipAxis:
    tile = draw(st.integers(16, 64))
    block = draw(st.one_of(st.none(), st.integers(tile, 4 * tile)))
    return ChipAxis(
        length_px=draw(st.integers(1, 600)),
        tile_px=tile,
        overlap_px=draw(st.integers(0, tile - 1)),
        block_px=block,
    )


@given(axes())
def test_blocks_lie_side_by_side_and_cover_the_axis(axis: ChipAxis) -> None:
    blocks = axis.blocks
    assert blocks[0][0] == 0
    assert blocks[-1][1] == axis.length_px
    assert all(one[1] == other[0] for one, other in itertools.pairwise(blocks))
    assert all(stop - start >= min(axis.tile_px, axis.length_px) for start, stop in blocks)


@given(axes())
def test_chips_cover_every_pixel_and_never_leave_their_block(axis: ChipAxis) -> None:
    length = min(axis.tile_px, axis.length_px)
    covered = np.zeros(axis.length_px, bool)
    for start, block in axis.chips:
        first, stop = axis.blocks[block]
        assert first <= start
        assert start + length <= stop
        covered[start : start + length] = True
    assert covered.all()
    starts = [start for start, _ in axis.chips]
    assert starts == sorted(set(starts))


@settings(max_examples=60)
@given(
    shape=st.tuples(st.integers(1, 260), st.integers(1, 260)),
    tile=st.integers(16, 40),
    overlap=st.integers(0, 15),
    seed=st.integers(0, 5),
    data=st.data(),
)
def test_no_pixel_is_in_two_splits(
    shape: tuple[int, int], tile: int, overlap: int, seed: int, data: st.DataObject
) -> None:
    block = data.draw(st.one_of(st.just(None), st.integers(tile, 120)))
    block_px = fitted_block([shape], (tile, tile), overlap, SHARES) if block is None else None
    grid = chip_grid(shape, (tile, tile), overlap, block_px or (block, block))
    names = list(grid.blocks)
    units = [Unit(name=str(name), chips=1, objects=0.0) for name in names]
    split_of = dict(zip(names, assigned(units, SHARES, seed), strict=True))
    owner = np.full(shape, -1)
    for window, name in grid:
        part = owner[window.slices]
        assert np.isin(part, [-1, split_of[name]]).all()
        part[...] = split_of[name]
    assert (owner >= 0).all()


def test_without_blocks_the_chips_are_those_of_the_grid() -> None:
    grid = chip_grid((700, 500), (128, 96), 32, None)
    plain = Grid(shape=(700, 500), tile_shape=(128, 96), overlap_px=32)
    assert [window for window, _ in grid] == list(plain)
    assert len(grid) == len(plain)


@pytest.mark.parametrize("side", [1024, 4096, 40_000])
def test_fitted_blocks_hold_whole_chips_and_are_enough(side: int) -> None:
    height, width = fitted_block([(side, side)], (512, 512), 64, SHARES)
    assert (height - 512) % 448 == (width - 512) % 448 == 0
    grid = chip_grid((side, side), (512, 512), 64, (height, width))
    assert len(grid.blocks) >= 10 or height == 512


@given(
    chips=st.lists(st.integers(1, 9), min_size=3, max_size=60),
    seed=st.integers(0, 99),
    shares=st.sampled_from([SHARES, (0.5, 0.5), (0.8, 0.2, 0.0), (0.34, 0.33, 0.33)]),
)
def test_every_split_gets_its_share(chips: list[int], seed: int, shares: tuple[float, ...]) -> None:
    units = [Unit(name=f"u{i}", chips=n, objects=n / 10) for i, n in enumerate(chips)]
    splits = assigned(units, shares, seed)
    for index, share in enumerate(shares):
        got = sum(n for n, split in zip(chips, splits, strict=True) if split == index)
        assert (got > 0) == (share > 0)
        assert abs(got - share * sum(chips)) <= len(shares) * max(chips)
    shuffled = assigned(units[::-1], shares, seed)
    assert shuffled[::-1] == splits  # units decide, not their order


def test_another_seed_is_another_split_and_dense_places_are_in_every_split() -> None:
    units = [Unit(name=f"u{i}", chips=4, objects=i / 100) for i in range(100)]
    found = [tuple(assigned(units, SHARES, seed)) for seed in range(5)]
    assert len(set(found)) == 5
    for splits in found:
        means = [
            np.mean([u.objects for u, s in zip(units, splits, strict=True) if s == split])
            for split in range(3)
        ]
        assert max(means) - min(means) < 0.1


@given(st.integers(1, 30), st.data())
def test_joined_is_the_partition_into_connected_parts(count: int, data: st.DataObject) -> None:
    import scipy.sparse.csgraph as graph

    number = st.integers(0, count - 1)
    pairs = data.draw(st.lists(st.tuples(number, number), max_size=40))
    links = np.zeros((count, count))
    for one, other in pairs:
        links[one, other] = 1
    _, expected = graph.connected_components(links, directed=False)
    roots = joined(count, pairs)
    for i in range(count):
        for j in range(count):
            assert (roots[i] == roots[j]) == (expected[i] == expected[j])


def test_kept_empty_depends_on_names_and_seed_only() -> None:
    names = [f"n{i}" for i in range(50)]
    assert kept_empty(names, 7, 1) == kept_empty(names[::-1], 7, 1)
    assert len(kept_empty(names, 7, 1)) == 7
    assert kept_empty(names, 3, 1) < kept_empty(names, 7, 1)
    assert kept_empty(names, 7, 1) != kept_empty(names, 7, 2)
