"""Work spread over threads, with results in the order of the work and a bound on what waits."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Work = TypeVar("Work")
Result = TypeVar("Result")


def ordered_map(
    function: Callable[[Work], Result], items: Iterable[Work], *, threads: int = 1, ahead: int = 2
) -> Generator[Result, None, None]:
    """Results of `function` in the order of `items`, computed up to `ahead` items early.

    At most `ahead` results wait to be taken. An error surfaces at the item it belongs to, and
    leaving the iterator cancels what has not begun.
    """
    with ThreadPoolExecutor(threads, thread_name_prefix="geotiler") as pool:
        waiting: deque[Future[Result]] = deque()
        source = iter(items)
        try:
            for item in source:
                waiting.append(pool.submit(function, item))
                if len(waiting) >= ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def map_here(
    function: Callable[[Work], Result], items: Iterable[Work]
) -> Generator[Result, None, None]:
    """As the built-in `map`, but an iterator that can be closed as that of `ordered_map` can."""
    for item in items:
        yield function(item)
