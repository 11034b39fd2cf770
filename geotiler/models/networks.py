"""Where a task gets models from, and the networks that run them.

The command line reads a model from disk for the one scene it was called for. A service keeps
models loaded and shares them among requests; it gives the tasks a source of its own.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from geotiler.core.grid import TileLimits, fitted_tile
from geotiler.models.bundle import Bundle
from geotiler.models.predictor import Predictor, open_predictor
from geotiler.models.registry import find_model
from geotiler.specs import Backend, Precision


class Networks(Protocol):
    """A source of models and predictors."""

    def bundle(self, model: str | Path) -> Bundle:
        """The model of that name. Raises: ModelError: there is none, or it is damaged."""
        ...

    def tile_shape(
        self, shape: tuple[int, int], overlap_px: int, multiple_px: int, limits: TileLimits
    ) -> tuple[int, int]:
        """(height, width) of the tiles for a scene of that shape, multiples of `multiple_px`."""
        ...

    def predictor(
        self,
        bundle: Bundle,
        *,
        backend: Backend,
        device: str,
        precision: Precision,
        batch: int | None,
        tile_shape: tuple[int, int],
        threads: int | None,
    ) -> Predictor:
        """A predictor for tiles of that shape. Raises: as `open_predictor`."""
        ...


class _FromDisk:
    """Reads a model, and compiles a network, each time it is asked."""

    bundle = staticmethod(find_model)
    tile_shape = staticmethod(fitted_tile)
    predictor = staticmethod(open_predictor)


FROM_DISK: Networks = _FromDisk()


class KeptNetworks:
    """Reads each model, and compiles each network, once.

    Models and networks may be asked for by two threads, each of them by one at a time.
    """

    tile_shape = staticmethod(FROM_DISK.tile_shape)

    def __init__(self, most: int | None = None) -> None:
        """Args: most: networks that are kept, those used last; None: all."""
        self._most = most
        self._bundles: dict[str, Bundle] = {}
        self._predictors: dict[tuple[object, ...], Predictor] = {}

    def bundle(self, model: str | Path) -> Bundle:
        """See `Networks.bundle`."""
        if str(model) not in self._bundles:
            self._bundles[str(model)] = FROM_DISK.bundle(model)
        return self._bundles[str(model)]

    def predictor(
        self,
        bundle: Bundle,
        *,
        backend: Backend,
        device: str,
        precision: Precision,
        batch: int | None,
        tile_shape: tuple[int, int],
        threads: int | None,
    ) -> Predictor:
        """See `Networks.predictor`."""
        key = (bundle.folder, bundle.digest, backend, device, precision, batch, tile_shape, threads)
        if key in self._predictors:
            self._predictors[key] = self._predictors.pop(key)  # used last
        else:
            while self._most is not None and len(self._predictors) >= self._most:
                del self._predictors[next(iter(self._predictors))]  # before the next takes memory
            self._predictors[key] = FROM_DISK.predictor(
                bundle,
                backend=backend,
                device=device,
                precision=precision,
                batch=batch,
                tile_shape=tile_shape,
                threads=threads,
            )
        return self._predictors[key]
