"""Processes of this machine that each prepare themselves once and then answer calls."""

from __future__ import annotations

import multiprocessing
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.connection import wait
from typing import Any, TypeVar

from geotiler.errors import DeviceError

Result = TypeVar("Result")

_MOST_ON_WINDOWS = 61
"""Windows waits for 63 things at once, and two of them are the pool's own."""


@contextmanager
def processes(
    count: int, begin: Callable[..., None], *arguments: Any
) -> Iterator[Callable[..., Any]]:
    """Something that has a function called in one of some processes, and waits for its answer.

    It may be called by several threads. Processes start with the first call, fresh on every
    platform, leave Ctrl-C to this one, and end with it, however it ends.

    A Python script that comes here needs its work below `if __name__ == "__main__":`, since each
    process begins by importing it.

    Args:
        count: of processes; Windows gets 61 at most.
        begin: called first in each. It must not fail: what it raises is lost.
        arguments: of `begin`.
    """
    pool = ProcessPoolExecutor(
        min(count, _MOST_ON_WINDOWS) if sys.platform == "win32" else count,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_begin,
        initargs=(begin, arguments),
    )

    def call(function: Callable[..., Result], *values: Any) -> Result:
        try:
            return pool.submit(function, *values).result()
        except BrokenProcessPool:
            raise DeviceError(
                "a worker process ended unexpectedly, for want of memory perhaps",
                hint="try --workers 1; a Python script needs its work below "
                'if __name__ == "__main__":',
            ) from None

    try:
        yield call
    finally:
        pool.shutdown(cancel_futures=True)


def _begin(begin: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()
    begin(*arguments)


def _end_with(sentinel: int) -> None:
    """Ends this process when another one has ended, which could not ask for it any more."""
    wait([sentinel])
    signal.raise_signal(signal.SIGTERM)
