"""One network for many requests: tiles that wait together are computed together."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass

import numpy as np

from geotiler.errors import DeviceError
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
    """

    def __init__(
        self,
        inner: Predictor,
        *,
        wait_s: float = 0.005,
        observe: Callable[[Pass], None] = lambda done: None,
    ) -> None:
        """Args: wait_s: how long an incomplete batch waits for more. observe: hears each pass."""
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
        self._thread = threading.Thread(target=self._serve, name="geotiler-network", daemon=True)
        self._thread.start()

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
        """Answer what was asked, then end the thread."""
        with self._closing:
            if self._is_closed:
                return
            self._is_closed = True
            self._items.put(None)
        self._thread.join()

    def _serve(self) -> None:
        ended = False
        while not ended:
            items, ended = self._gathered()
            if items:
                self._answer(items)

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

    def _answer(self, items: list[_Item]) -> None:
        try:
            tiles = items[0].tiles
            if len(items) > 1:
                tiles = np.concatenate([item.tiles for item in items])
            started = time.perf_counter()
            answers = self._inner(tiles)
            seconds = time.perf_counter() - started
        except Exception as error:
            self._refuse(items, error)
            return
        first = 0
        for item in items:
            item.answer.set_result(answers[first : first + len(item.tiles)])
            first += len(item.tiles)
        self._observe(
            Pass(
                seconds=seconds,
                tiles=first,
                requests=len(items),
                confidence=mean_confidence(answers),
            )
        )

    def _refuse(self, items: list[_Item], error: Exception) -> None:
        """Hand an error to the call it belongs to: one bad array must not spoil its neighbours."""
        if len(items) == 1:
            items[0].answer.set_exception(error)
            return
        for item in items:
            self._answer([item])


def mean_confidence(probabilities: Batch) -> float:
    """Mean probability of the likeliest class, in 0.5 to 1 for one class, over all pixels.

    Args:
        probabilities: (N, K, ...); with one class its absence is the other answer.
    """
    if probabilities.shape[1] == 1:
        return float(0.5 + np.abs(probabilities - np.float32(0.5)).mean(dtype=np.float64))
    return float(probabilities.max(axis=1).mean(dtype=np.float64))
