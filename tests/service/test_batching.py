"""Tiles of many threads share batches, and no answer depends on that."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from geotiler.errors import DeviceError
from geotiler.models.bundle import Bundle
from geotiler.models.predictor import Predictor, open_predictor
from geotiler.service.batching import Pass, SharedPredictor, mean_confidence

SHAPE = (32, 32)


class Doubling:
    """2x, refusing negative tiles; records what it is given, and can be held back."""

    name, classes, batch, tile_shape = "doubling", 1, 4, SHAPE

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.may_go = threading.Event()
        self.may_go.set()
        self.is_busy = threading.Event()

    def __call__(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        self.sizes.append(len(batch))
        self.is_busy.set()
        self.may_go.wait(30)
        if (batch < 0).any():
            raise DeviceError("a negative tile")
        return 2 * batch


def _tile(value: float, count: int = 1) -> NDArray[np.float32]:
    return np.full((count, 1, *SHAPE), value, np.float32)


@pytest.fixture
def inner() -> Doubling:
    return Doubling()


@pytest.fixture
def shared(inner: Doubling) -> Iterator[SharedPredictor]:
    predictor = SharedPredictor(inner, wait_s=0.2)
    yield predictor
    inner.may_go.set()
    predictor.close()


@settings(max_examples=20)
@given(counts=st.lists(st.integers(1, 4), min_size=1, max_size=24))
def test_every_caller_gets_its_own_answer(counts: list[int]) -> None:
    inner = Doubling()
    shared = SharedPredictor(inner, wait_s=0.001)
    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(shared, _tile(i, count)) for i, count in enumerate(counts)]
        for i, (count, answer) in enumerate(zip(counts, asked, strict=True)):
            np.testing.assert_array_equal(answer.result(), 2 * _tile(i, count))
    shared.close()
    assert sum(inner.sizes) == sum(counts)
    assert max(inner.sizes) <= inner.batch


def test_what_waits_together_is_computed_together(inner: Doubling, shared: SharedPredictor) -> None:
    inner.may_go.clear()
    with ThreadPoolExecutor(9) as pool:
        first = pool.submit(shared, _tile(0, 4))  # fills a batch by itself
        inner.is_busy.wait(10)
        rest = [pool.submit(shared, _tile(i)) for i in range(1, 9)]
        while shared.waiting < 8:
            threading.Event().wait(0.01)
        inner.may_go.set()
        for i, answer in enumerate([first, *rest]):
            assert float(answer.result()[0, 0, 0, 0]) == 2.0 * i
    assert inner.sizes == [4, 4, 4]


def test_an_error_reaches_only_the_call_that_made_it(
    inner: Doubling, shared: SharedPredictor
) -> None:
    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(shared, _tile(value)) for value in (1.0, -1.0, 3.0)]
        assert float(asked[0].result().max()) == 2.0
        with pytest.raises(DeviceError):
            asked[1].result()
        assert float(asked[2].result().max()) == 6.0


def test_closing_answers_what_was_asked_and_refuses_the_rest(inner: Doubling) -> None:
    shared = SharedPredictor(inner, wait_s=0.0)
    inner.may_go.clear()
    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(shared, _tile(0))]
        assert inner.is_busy.wait(30)  # or one batch would take all three
        asked += [pool.submit(shared, _tile(i)) for i in (1, 2)]
        while shared.waiting < 2:
            threading.Event().wait(0.01)
        inner.may_go.set()
        shared.close()
        assert sorted(float(one.result().max()) for one in asked) == [0.0, 2.0, 4.0]
    with pytest.raises(DeviceError):
        shared(_tile(1))


def test_passes_are_observed(inner: Doubling) -> None:
    seen: list[Pass] = []
    shared = SharedPredictor(inner, wait_s=0.0, observe=seen.append)
    shared(_tile(0.1, 3))
    shared.close()
    assert [(one.tiles, one.requests) for one in seen] == [(3, 1)]
    assert seen[0].confidence == pytest.approx(0.8)  # 0.2 is 0.8 sure of "none"


def test_confidence_is_that_of_the_likeliest_class() -> None:
    random = np.random.default_rng(0)
    one = random.random((2, 1, 5, 5), dtype=np.float32)
    assert mean_confidence(one) == pytest.approx(float(np.maximum(one, 1 - one).mean()))
    several = random.dirichlet((1, 1, 1), (2, 5, 5)).transpose(0, 3, 1, 2).astype(np.float32)
    assert mean_confidence(several) == pytest.approx(float(several.max(axis=1).mean()))


def test_a_real_network_answers_the_same_whoever_shares_its_batch(tiny_bundle: Bundle) -> None:
    inner = open_predictor(tiny_bundle, device="cpu", batch=4, tile_shape=(64, 64))
    tiles = np.random.default_rng(2).standard_normal((12, 1, 3, 64, 64), dtype=np.float32)
    alone = [inner(tile) for tile in tiles]
    shared = SharedPredictor(inner, wait_s=0.05)
    with ThreadPoolExecutor(12) as pool:
        together = list(pool.map(shared, tiles))
    shared.close()
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one, other)


class Single(Doubling):
    """2x, or another factor, of one tile at a time."""

    batch = 1

    def __init__(self, factor: float = 2.0) -> None:
        super().__init__()
        self._factor = np.float32(factor)
        self.at_once: list[int] = []
        """Calls under way, of all in the list that is shared, when each began."""
        self.under_way: list[Single] = []

    def __call__(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        assert self not in self.under_way  # one call at a time: see `Predictor`
        self.under_way.append(self)
        self.at_once.append(len(self.under_way))
        time.sleep(0.02)
        self.sizes.append(len(batch))
        self.is_busy.set()
        self.may_go.wait(30)
        self.under_way.remove(self)
        return batch * self._factor


def _until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_single_tiles_that_wait_are_computed_side_by_side() -> None:
    inner, lanes = Single(), [Single(), Single()]
    for lane in lanes:
        lane.under_way = inner.under_way
    asked_for: list[int] = []

    def side_by_side() -> list[Single]:
        asked_for.append(1)
        return lanes

    shared = SharedPredictor(inner, side_by_side=side_by_side)
    with ThreadPoolExecutor(8) as pool:
        assert float(shared(_tile(4)).max()) == 8.0
        assert not asked_for  # nothing ever waited
        list(pool.map(shared, [_tile(0)] * 3))
        _until(lambda: len(shared._threads) == 2)
        alone = len(inner.at_once)
        answers = list(pool.map(shared, map(_tile, range(40))))
        assert [float(answer.max()) for answer in answers] == [2.0 * i for i in range(40)]
        assert len(inner.at_once) - alone <= 4  # of the first ones and the last
        before = len(inner.at_once)
        shared(_tile(1))  # nothing else is asked: the whole machine is its own
        assert len(inner.at_once) == before + 1
    shared.close()
    assert asked_for == [1]
    assert max(inner.at_once + lanes[0].at_once + lanes[1].at_once) == 2
    assert min(len(lane.sizes) for lane in lanes) > 10


@pytest.mark.parametrize("lanes", [[], [2.0, 2.5], "memory"])
def test_networks_that_answer_otherwise_are_not_used(lanes: list[float] | str) -> None:
    inner = Single()
    made: list[Single] = []

    def side_by_side() -> list[Single]:
        if lanes == "memory":
            raise DeviceError("no memory")
        made.extend(Single(float(factor)) for factor in lanes)
        return made

    shared = SharedPredictor(inner, side_by_side=side_by_side)
    with ThreadPoolExecutor(8) as pool:
        inner.may_go.clear()
        asked = [pool.submit(shared, _tile(i)) for i in range(1, 5)]
        _until(lambda: shared.waiting == 3)
        inner.may_go.set()
        assert sorted(float(one.result().max()) for one in asked) == [2.0, 4.0, 6.0, 8.0]
        _until(lambda: shared._widening is not None and not shared._widening.is_alive())
        assert [float(shared(_tile(i)).max()) for i in range(6)] == [2.0 * i for i in range(6)]
    shared.close()
    assert all(len(one.sizes) <= 1 for one in made)
    assert len(shared._threads) == 1


def test_a_real_network_answers_the_same_side_by_side(tiny_bundle: Bundle) -> None:
    def opened(threads: int) -> Predictor:
        return open_predictor(tiny_bundle, device="cpu", tile_shape=(64, 64), threads=threads)

    inner = opened(2)
    tiles = np.random.default_rng(2).standard_normal((40, 1, 3, 64, 64), dtype=np.float32)
    alone = [inner(tile) for tile in tiles]
    shared = SharedPredictor(inner, side_by_side=lambda: [opened(1), opened(1)])
    with ThreadPoolExecutor(12) as pool:
        for _ in range(3):
            for one, other in zip(alone, pool.map(shared, tiles), strict=True):
                np.testing.assert_array_equal(one, other)
    _until(lambda: shared._widening is None or not shared._widening.is_alive())
    assert len(shared._threads) == 2
    shared.close()
