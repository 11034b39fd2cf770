"""One pass over a scene: exact, seamless, nothing computed twice, cut as you like."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from geotiler.core.grid import Grid
from geotiler.core.resample import Axis
from geotiler.core.sweep import Mapped, SweepCounts, SweepPlan, spanned, sweep, swept_columns
from geotiler.engines.ordered import ordered_map
from geotiler.specs import Scale

TILE = (64, 96)


@dataclass
class Counted:
    """A network that is a formula, and remembers what it was given."""

    formula: Any
    classes: int = 1
    tiles: list[bytes] = field(default_factory=list)

    def __call__(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        assert batch.dtype == np.float32
        assert np.isfinite(batch).all()
        assert batch.shape[2:] == TILE
        self.tiles += [tile.tobytes() for tile in batch]
        answer: NDArray[np.float32] = np.asarray(self.formula(batch), np.float32)
        assert answer.shape == (len(batch), self.classes, *TILE)
        return answer


def _pointwise(batch: NDArray[np.float32]) -> NDArray[np.float32]:
    return batch[:, :1] * np.float32(0.25) + np.float32(0.5)


def _context(batch: NDArray[np.float32]) -> NDArray[np.float32]:
    """Depends on the whole tile, as networks do."""
    return _pointwise(batch) * 0.5 + np.cos(batch).mean(axis=(1, 2, 3), keepdims=True) * 0.25


@dataclass(kw_only=True)
class Run:
    """One scene and how to sweep it."""

    image: NDArray[Any]
    valid: NDArray[np.bool_]
    overlap: int = 16
    ratios: tuple[float, float] = (1.0, 1.0)
    multiple: int = 1
    panel: int = 10**9
    rows: int = 37
    batch: int = 1
    answered: tuple[int, int] | None = None
    counts: SweepCounts = field(default_factory=SweepCounts)
    advanced: int = 0
    mapped: Mapped = map

    def __call__(self, network: Counted) -> NDArray[np.float32]:
        shape = self.valid.shape
        axes = (Axis.scaled(shape[0], self.ratios[0]), Axis.scaled(shape[1], self.ratios[1]))
        self.grid = Grid(
            shape=(axes[0].target_px, axes[1].target_px),
            tile_shape=TILE,
            overlap_px=self.overlap,
            multiple_px=self.multiple,
        )
        out = np.full((network.classes, *shape), np.nan, np.float32)
        top, bottom = self.answered or (0, shape[0])
        rows = spanned(self.grid.rows, TILE[0], axes[0], (top, bottom))
        self.panels = swept_columns(self.grid, axes[1], self.panel)
        for columns in self.panels:
            plan = SweepPlan(
                axes=axes,
                rows=rows,
                columns=columns,
                tile_shape=TILE,
                classes=network.classes,
                scale=Scale(minimum=0, maximum=255),
                mean=(0.5,) * len(self.image),
                std=(0.5,) * len(self.image),
                batch=self.batch,
            )
            first, last = columns.answered
            expected_row = top
            chunks = self._chunks(rows.read, columns.read)
            for done in sweep(chunks, network, plan, self.counts, self._hear, self.mapped):
                stop = done.row + done.probabilities.shape[1]
                assert done.row == expected_row
                expected_row = stop
                np.testing.assert_array_equal(done.valid, self.valid[done.row : stop, first:last])
                out[:, done.row : stop, first:last] = done.probabilities
            assert expected_row == bottom
        return out

    def _chunks(self, rows: tuple[int, int], columns: tuple[int, int]) -> Iterator[Any]:
        for row in range(*rows, self.rows):
            part = slice(row, min(row + self.rows, rows[1])), slice(*columns)
            yield self.image[:, *part], self.valid[part]

    def _hear(self, windows: int) -> None:
        self.advanced += windows


def _scene(shape: tuple[int, int], seed: int = 0, invalid: float = 0.2) -> dict[str, NDArray[Any]]:
    rng = np.random.default_rng(seed)
    valid = np.repeat(np.repeat(rng.random((-(-shape[0] // 9), -(-shape[1] // 9))), 9, 0), 9, 1)
    return {
        "image": rng.integers(0, 256, (3, *shape), dtype=np.uint8),
        "valid": (valid >= invalid)[: shape[0], : shape[1]],
    }


SHAPES = st.tuples(st.integers(1, 260), st.integers(1, 320))
OVERLAPS = st.sampled_from([0, 1, 16, 40, 63])
RATIOS = st.sampled_from([(0.5, 0.5), (0.31, 0.77), (1.7, 1.3), (1.0, 0.6), (2.0, 1.0)])


@given(
    shape=SHAPES,
    overlap=OVERLAPS,
    values=st.lists(st.floats(0, 1, width=32), min_size=1, max_size=3),
    invalid=st.sampled_from([0.0, 0.5]),
)
def test_constant_in_constant_out_exactly(
    shape: tuple[int, int], overlap: int, values: list[float], invalid: float
) -> None:
    constants = np.asarray(values, np.float32)[:, None, None]
    network = Counted(
        lambda batch: np.broadcast_to(constants, (len(batch), len(values), *TILE)), len(values)
    )
    run = Run(**_scene(shape, invalid=invalid), overlap=overlap)
    out = run(network)
    np.testing.assert_array_equal(
        out[:, run.valid], np.broadcast_to(constants[:, 0], out[:, run.valid].shape)
    )


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (200, 1), (64, 96), (65, 97), (150, 300)])
@pytest.mark.parametrize("overlap", [0, 31, 63])
def test_constant_in_constant_out_at_the_corners(shape: tuple[int, int], overlap: int) -> None:
    network = Counted(lambda batch: np.full((len(batch), 1, *TILE), np.float32(0.7)))
    out = Run(**_scene(shape, invalid=0.0), overlap=overlap)(network)
    assert (out == np.float32(0.7)).all()


@given(shape=SHAPES, overlap=OVERLAPS)
def test_a_pointwise_network_tiled_equals_untiled(shape: tuple[int, int], overlap: int) -> None:
    run = Run(**_scene(shape), overlap=overlap)
    out = run(Counted(_pointwise))
    untiled = _pointwise(((run.image[None] / np.float32(255)) - np.float32(0.5)) / np.float32(0.5))
    np.testing.assert_allclose(out[0][run.valid], untiled[0, 0][run.valid], atol=1e-6)


def _pooled(batch: NDArray[np.float32]) -> NDArray[np.float32]:
    """The mean of each cell of 32 px, as networks pool, spread over the cell."""
    count, _, height, width = batch.shape
    cells = batch[:, :1].reshape(count, 1, height // 32, 32, width // 32, 32).mean(axis=(3, 5))
    return cells.repeat(32, axis=2).repeat(32, axis=3)


@given(shape=SHAPES, overlap=st.sampled_from([0, 32]), seed=st.integers(0, 9))
def test_a_pooling_network_tiled_equals_untiled_where_windows_are_in_phase(
    shape: tuple[int, int], overlap: int, seed: int
) -> None:
    scene = _scene(shape, seed, invalid=0.0)
    out = Run(**scene, overlap=overlap, multiple=32)(Counted(_pooled))
    whole = ((scene["image"][None] / np.float32(255)) - np.float32(0.5)) / np.float32(0.5)
    beyond = [(0, 0), (0, 0), *((0, -side % 32) for side in shape)]
    untiled = _pooled(np.pad(whole, beyond, mode="symmetric"))[0, :, : shape[0], : shape[1]]
    np.testing.assert_allclose(out, untiled, atol=1e-6)


@given(shape=SHAPES, overlap=OVERLAPS, seed=st.integers(0, 9), invalid=st.floats(0.3, 1.0))
def test_each_window_is_computed_once_and_only_if_it_holds_something(
    shape: tuple[int, int], overlap: int, seed: int, invalid: float
) -> None:
    run = Run(**_scene(shape, seed, invalid), overlap=overlap)
    network = Counted(_pointwise)
    run(network)
    holding = [window for window in run.grid if run.valid[window.slices].any()]
    assert len(network.tiles) == run.counts.computed == len(holding)
    assert run.counts.skipped == len(run.grid) - len(holding)
    assert run.advanced == len(run.grid)
    if overlap < 32 and invalid < 0.6:  # then no two windows look alike by chance
        assert len(set(network.tiles)) == len(network.tiles)


def test_nothing_valid_is_nothing_computed() -> None:
    run = Run(image=np.full((3, 99, 120), np.nan, np.float32), valid=np.zeros((99, 120), bool))
    network = Counted(_pointwise)
    assert (run(network) == 0).all()
    assert network.tiles == []
    assert run.counts.seam_index is None


@pytest.mark.parametrize("ahead", [1, 2, 3, 9])
@pytest.mark.parametrize("ratios", [(1.0, 1.0), (0.5, 0.7)])
def test_working_ahead_does_not_change_a_bit(ahead: int, ratios: tuple[float, float]) -> None:
    scene = _scene((250, 300), invalid=0.6)
    plain = Run(**scene, ratios=ratios)
    busy = Run(**scene, ratios=ratios, mapped=partial(ordered_map, threads=1, ahead=ahead))
    np.testing.assert_array_equal(plain(Counted(_context)), busy(Counted(_context)))
    assert (plain.counts.computed, plain.counts.skipped) == (
        busy.counts.computed, busy.counts.skipped,
    )  # fmt: skip
    assert plain.advanced == busy.advanced


@given(
    shape=SHAPES,
    ratios=st.one_of(st.just((1.0, 1.0)), RATIOS),
    rows=st.integers(1, 90),
    batch=st.integers(1, 5),
    invalid=st.sampled_from([0.0, 0.1, 0.9]),
)
def test_chunks_and_batches_do_not_change_a_bit(
    shape: tuple[int, int], ratios: tuple[float, float], rows: int, batch: int, invalid: float
) -> None:
    scene = _scene(shape, invalid=invalid)
    expected = Run(**scene, ratios=ratios)(Counted(_context))
    network = Counted(_context)
    found = Run(**scene, ratios=ratios, rows=rows, batch=batch)(network)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("ratios", [(1.0, 1.0), (0.8, 0.6), (1.5, 1.9), (1.0, 0.4), (0.5, 1.0)])
@pytest.mark.parametrize("invalid", [0.0, 0.1, 0.8])
def test_panels_do_not_change_a_bit(ratios: tuple[float, float], invalid: float) -> None:
    scene = _scene((90, 1700), invalid=invalid)
    whole = Run(**scene, ratios=ratios)
    expected = whole(Counted(_context))
    run = Run(**scene, ratios=ratios, panel=500)
    np.testing.assert_array_equal(run(Counted(_context)), expected)
    assert len(whole.panels) == 1 < len(run.panels)


@given(
    shape=SHAPES,
    overlap=OVERLAPS,
    ratios=st.one_of(st.just((1.0, 1.0)), RATIOS),
    cuts=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    invalid=st.sampled_from([0.0, 0.3]),
)
def test_some_rows_alone_are_those_of_the_whole_to_the_bit(
    shape: tuple[int, int],
    overlap: int,
    ratios: tuple[float, float],
    cuts: tuple[float, float],
    invalid: float,
) -> None:
    scene = _scene(shape, invalid=invalid)
    whole = Counted(_context)
    expected = Run(**scene, overlap=overlap, ratios=ratios)(whole)
    top, bottom = sorted(int(cut * (shape[0] - 1)) for cut in cuts)
    part = Run(**scene, overlap=overlap, ratios=ratios, answered=(top, bottom + 1))
    network = Counted(_context)
    found = part(network)
    np.testing.assert_array_equal(found[:, top : bottom + 1], expected[:, top : bottom + 1])
    assert np.isnan(found[:, :top]).all()
    assert np.isnan(found[:, bottom + 1 :]).all()
    assert set(network.tiles) <= set(whole.tiles)


def test_going_on_recomputes_only_the_row_of_windows_above() -> None:
    scene = _scene((1000, 100), invalid=0.0)
    whole = Run(**scene, overlap=16)
    whole(Counted(_context))
    starts = whole.grid.rows
    rest = Run(**scene, overlap=16, answered=(starts[9], 1000))
    rest(Counted(_context))
    columns = len(whole.grid.cols)
    assert rest.counts.computed == (len(starts) - 9 + 1) * columns


@given(
    width=st.integers(1, 60_000),
    ratio=st.one_of(st.just(1.0), st.floats(0.01, 50)),
    panel=st.integers(500, 20_000),
)
def test_panels_share_out_the_columns_and_bound_them(width: int, ratio: float, panel: int) -> None:
    axis = Axis.scaled(width, ratio)
    grid = Grid(shape=(5, axis.target_px), tile_shape=(64, 256), overlap_px=32)
    panels = swept_columns(grid, axis, panel)
    edges = [0, *(columns.answered[1] for columns in panels)]
    assert edges[-1] == width
    assert [columns.answered[0] for columns in panels] == edges[:-1]
    for columns in panels:
        assert columns.starts == tuple(c for c in grid.cols if c in columns.starts)
        low, high = columns.network
        assert high - low <= 2 * panel + 2 * 256 + 4 * max(1, ratio)
        assert columns.read[1] - columns.read[0] <= 2 * panel + 512 + (2 * 256 + 4) / ratio + 8
        assert axis.reversed.needed(*columns.answered)[0] >= low
        assert axis.reversed.needed(*columns.answered)[1] <= high


@given(shape=SHAPES, ratios=RATIOS, overlap=OVERLAPS, invalid=st.sampled_from([0.0, 0.3, 0.95]))
def test_every_valid_pixel_gets_a_probability_when_resampled(
    shape: tuple[int, int], ratios: tuple[float, float], overlap: int, invalid: float
) -> None:
    network = Counted(lambda batch: np.full((len(batch), 1, *TILE), np.float32(0.7)))
    run = Run(**_scene(shape, invalid=invalid), overlap=overlap, ratios=ratios)
    out = run(network)
    np.testing.assert_allclose(out[0][run.valid], np.float32(0.7), rtol=1e-6)
    assert run.advanced == len(run.grid)


@pytest.mark.parametrize("ratio", [0.5, 2.0, 1.3])
def test_a_resampled_ramp_comes_back_in_place(ratio: float) -> None:
    ramp = np.broadcast_to(np.linspace(20, 230, 300, dtype=np.float32), (3, 200, 300))
    run = Run(image=ramp, valid=np.ones((200, 300), bool), ratios=(ratio, ratio))
    out = run(Counted(_pointwise))
    expected = (ramp[0] / 255 - 0.5) / 0.5 * 0.25 + 0.5
    np.testing.assert_allclose(out[0, 8:-8, 8:-8], expected[8:-8, 8:-8], atol=2e-4)


def test_values_beyond_float32_do_not_spoil_their_neighbours() -> None:
    image = np.full((3, 70, 100), 100.0)
    image[0, 30, 50] = 1e300
    run = Run(image=image, valid=np.ones((70, 100), bool), ratios=(0.5, 0.5))
    assert np.isfinite(run(Counted(_pointwise))).all()


def test_seams_of_a_pointwise_network_do_not_show_and_steps_do() -> None:
    scene = _scene((300, 400), invalid=0.05)
    smooth = Run(**scene)
    smooth(Counted(_pointwise))
    assert smooth.counts.seam_index == pytest.approx(1.0, abs=0.1)
    stepped = Run(**scene, overlap=0)
    stepped(Counted(lambda batch: np.full((len(batch), 1, *TILE), batch.std()) * [[[[3.0]]]]))
    flat = stepped.counts.seam_index
    assert flat is None or flat > 10


def test_the_seam_index_is_pooled_over_panels() -> None:
    scene = _scene((90, 1700), invalid=0.1)
    one, several = Run(**scene), Run(**scene, panel=500)
    one(Counted(_context))
    several(Counted(_context))
    assert several.counts.seam_sums.sum() > one.counts.seam_sums.sum()
    assert several.counts.seam_index == pytest.approx(one.counts.seam_index, rel=0.1)
