"""One network for many requests: tiles that wait together are computed together."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import numpy as np

from geotiler.errors import DeviceError, GeotilerError
from geotiler.models.predictor import Batch, Predictor


@dataclass(frozen=True, kw_only=True)
class Pass:
    """One forward pass, for whoever counts them."""

    seconds: float
    tiles: int
    requests: int
    confidence: float
    """Mean probability of the likeliest class over all pixels of the tiles."""


@dataclass(frozen=True)
class _Item:
    tiles: Batch
    answer: Future[Batch]


class SharedPredictor:
    """A `Predictor` that any number of threads may call at once.

    Their tiles are gathered, in the order of the calls, into batches of the inner predictor's
    size. That size is fixed, and a tile's answer does not depend on what else is in its batch: the
    numbers are those of the inner predictor, however busy the service is.

    A batch of one tile leaves cores waiting for each other at every layer. Where calls wait, such
    tiles are computed side by side instead, each on a part of the cores.
    """

    def __init__(
        self,
        inner: Predictor,
        *,
        wait_s: float = 0.005,
        observe: Callable[[Pass], None] = lambda done: None,
        side_by_side: Callable[[], Sequence[Predictor]] = tuple,
    ) -> None:
        """Args: wait_s: how long an incomplete batch waits for more. observe: hears each pass.

        side_by_side: makes predictors of the same network that compute at the same time; asked
            once, when calls first wait for each other, and used if the answers are the same.
        """
        self.name = inner.name
        self.classes = inner.classes
        self.batch = inner.batch
        self.tile_shape = inner.tile_shape
        self._inner = inner
        self._wait_s = wait_s
        self._observe = observe
        self._items: queue.SimpleQueue[_Item | None] = queue.SimpleQueue()
        self._left_over: _Item | None = None
        self._closing = threading.Lock()
        self._is_closed = False
        self._side_by_side = side_by_side
        self._counting = threading.Lock()
        self._computing = 0
        """Passes that are on their way."""
        self._is_considered = False
        self._widening: threading.Thread | None = None
        self._threads: list[threading.Thread] = []
        self._lanes: Sequence[Predictor] = ()
        """One for each of the threads, once there are several."""
        self._start(0)

    def __call__(self, batch: Batch) -> Batch:
        """See `Predictor.__call__`; returns when the tiles' turn has come."""
        item = _Item(batch, Future())
        with self._closing:
            if self._is_closed:
                raise DeviceError(f"{self.name} was closed", hint="ask again")
            self._items.put(item)
        return item.answer.result()

    @property
    def waiting(self) -> int:
        """Calls that wait for their turn."""
        return self._items.qsize()

    def close(self) -> None:
        """Answer what was asked, then end the threads."""
        with self._closing:
            if self._is_closed:
                return
            self._is_closed = True
        if self._widening is not None:
            self._widening.join()
        for _ in self._threads:
            self._items.put(None)
        for thread in self._threads:
            thread.join()

    def _start(self, lane: int) -> None:
        thread = threading.Thread(
            target=self._serve, args=(lane,), name="geotiler-network", daemon=True
        )
        thread.start()
        self._threads.append(thread)

    def _serve(self, lane: int) -> None:
        ended = False
        while not ended:
            items, ended = self._gathered()
            if items:
                self._answer(items, lane)

    @contextmanager
    def _chosen(self, lane: int) -> Iterator[Predictor]:
        """What a pass is computed by: the whole machine, if nothing else is to be computed."""
        with self._counting:
            self._computing += 1
            is_alone = self._computing == 1 and self._items.empty()
        try:
            yield self._inner if is_alone or not self._lanes else self._lanes[lane]
        finally:
            with self._counting:
                self._computing -= 1

    def _widen(self, tiles: Batch, answers: Batch) -> None:
        """Have more threads, if the networks for them answer some tiles in the same way."""
        with suppress(GeotilerError, RuntimeError):  # for want of memory, or of threads
            lanes = self._side_by_side()
            same = all(np.array_equal(lane(tiles), answers) for lane in lanes)
            if same and len(lanes) > 1:
                self._lanes = lanes
                for lane in range(1, len(lanes)):
                    self._start(lane)

    def _gathered(self) -> tuple[list[_Item], bool]:
        """Calls that fit into one batch, and whether nothing comes after them."""
        first = self._left_over or self._items.get()
        self._left_over = None
        if first is None:
            return [], True
        items, tiles = [first], len(first.tiles)
        deadline = time.monotonic() + self._wait_s
        while tiles < self.batch:
            try:
                item = self._items.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                break
            if item is None:
                return items, True
            if tiles + len(item.tiles) > self.batch:
                self._left_over = item
                break
            items.append(item)
            tiles += len(item.tiles)
        return items, False

    def _answer(self, items: list[_Item], lane: int) -> None:
        try:
            tiles = items[0].tiles
            if len(items) > 1:
                tiles = np.concatenate([item.tiles for item in items])
            started = time.perf_counter()
            with self._chosen(lane) as network:
                answers = network(tiles)
            seconds = time.perf_counter() - started
        except Exception as error:
            self._refuse(items, error, lane)
            return
        first = 0
        for item in items:
            item.answer.set_result(answers[first : first + len(item.tiles)])
            first += len(item.tiles)
        self._consider(tiles.shape)
        self._observe(
            Pass(
                seconds=seconds,
                tiles=first,
                requests=len(items),
                confidence=mean_confidence(answers),
            )
        )

    def _consider(self, shape: tuple[int, ...]) -> None:
        """Begin to widen, once, where a call waits that is not gathered into a batch."""
        if self._is_considered or self.batch > 1 or self._items.empty():
            return
        self._is_considered = True
        # What callers ask may be blank, which every network answers alike.
        tiles = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
        with suppress(GeotilerError, RuntimeError):
            thread = threading.Thread(
                target=self._widen, args=(tiles, self._inner(tiles)), name="geotiler-widening",
                daemon=True,
            )  # fmt: skip
            with self._closing:
                if not self._is_closed:
                    thread.start()
                    self._widening = thread

    def _refuse(self, items: list[_Item], error: Exception, lane: int) -> None:
        """Hand an error to the call it belongs to: one bad array must not spoil its neighbours."""
        if len(items) == 1:
            items[0].answer.set_exception(error)
            return
        for item in items:
            self._answer([item], lane)


def mean_confidence(probabilities: Batch) -> float:
    """Mean probability of the likeliest class, in 0.5 to 1 for one class, over all pixels.

    Args:
        probabilities: (N, K, ...); with one class its absence is the other answer.
    """
    if probabilities.shape[1] == 1:
        return float(0.5 + np.abs(probabilities - np.float32(0.5)).mean(dtype=np.float64))
    return float(probabilities.max(axis=1).mean(dtype=np.float64))
