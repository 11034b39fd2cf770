"""How much a service takes on: so many at once, so many waiting, and "come back later"."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from geotiler.service.problems import Problem


class Slots:
    """Admission of requests. Belongs to one event loop."""

    def __init__(self, running: int, queue: int) -> None:
        """Args: running: computed at once. queue: that may wait besides."""
        self._capacity = running + queue
        self._running = running
        self._slot = asyncio.Semaphore(running)
        self._seconds = 1.0
        self.admitted = 0
        """Requests inside: uploading, waiting or computed."""
        self.computing = 0

    @property
    def waiting(self) -> int:
        """Requests inside that are not computed yet."""
        return self.admitted - self.computing

    @asynccontextmanager
    async def admission(self) -> AsyncIterator[None]:
        """A place in the service, from the first byte of the upload on.

        Raises:
            Problem: 429, with the seconds after which a place should be free.
        """
        if self.admitted >= self._capacity:
            wait_s = max(1, math.ceil(self._seconds * self.admitted / self._running))
            raise Problem(
                429,
                f"{self.admitted} requests are waiting already: come back in {wait_s} s",
                headers={"Retry-After": str(wait_s)},
            )
        self.admitted += 1
        try:
            yield
        finally:
            self.admitted -= 1

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """A slot to compute in, first come, first served."""
        async with self._slot:
            self.computing += 1
            started = time.monotonic()
            try:
                yield
            finally:
                self.computing -= 1
                self._seconds += 0.1 * (time.monotonic() - started - self._seconds)
