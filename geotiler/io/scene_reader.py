"""Windows of one scene for many threads."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geotiler.io.raster import Scene, open_scene
from geotiler.specs import Window


class SceneReader:
    """Reads windows of one scene from any thread; each thread holds its own handle."""

    def __init__(
        self,
        path: str,
        bands: Sequence[int],
        *,
        name: str | None = None,
        overview: int | None = None,
        drivers: Sequence[str] | None = None,
        allow_remote: bool = False,
    ) -> None:
        """Args: bands: what to read, counted from 1. The others: as `open_scene`."""
        self._path = path
        self._name = name
        self._overview = overview
        self._drivers = drivers
        self._allow_remote = allow_remote
        self._bands = tuple(bands)
        self._local = threading.local()
        self._opened: list[Scene] = []

    def __call__(self, window: Window) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Values (band, row, col) and valid mask (row, col); see `Scene.read_with_valid`."""
        scene: Scene | None = getattr(self._local, "scene", None)
        if scene is None:
            scene = open_scene(
                self._path,
                name=self._name,
                overview=self._overview,
                drivers=self._drivers,
                allow_remote=self._allow_remote,
            )
            self._local.scene = scene
            self._opened.append(scene)
        return scene.read_with_valid(window, self._bands)

    def close(self) -> None:
        """Close every handle; the threads that read must have ended."""
        while self._opened:
            self._opened.pop().close()
