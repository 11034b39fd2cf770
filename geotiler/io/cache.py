"""GDAL's block cache: one for the whole process, and bounded while geotiler reads and writes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from rasterio.env import get_gdal_config, set_gdal_config

CACHE_BYTES = 16 * 2**20
"""GDAL's block cache; its own default is a share of the machine's memory."""


class _CacheBound:
    """GDAL's block cache kept within CACHE_BYTES while it is asked for, and no longer.

    The cache is one for the whole process, which other code shares: its own bound comes back with
    the last who asked.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._asked = 0
        self._before: int | None = None

    def enter(self) -> None:
        """Ask for the bound."""
        with self._lock:
            self._asked += 1
            if self._asked == 1:
                self._before = get_gdal_config("GDAL_CACHEMAX")
                if self._before is None or int(self._before) > CACHE_BYTES:
                    set_gdal_config("GDAL_CACHEMAX", CACHE_BYTES)  # in bytes

    def leave(self) -> None:
        """Ask for it no longer."""
        with self._lock:
            self._asked -= 1
            if self._asked == 0 and self._before is not None:
                set_gdal_config("GDAL_CACHEMAX", int(self._before))


_CACHE_BOUND = _CacheBound()


@contextmanager
def bounded_cache() -> Iterator[None]:
    """GDAL's block cache kept within CACHE_BYTES, as it is while a scene is open."""
    _CACHE_BOUND.enter()
    try:
        yield
    finally:
        _CACHE_BOUND.leave()
