"""The models that a service offers, loaded once and shared by its requests.

A request takes a lease: it sees the models as they were when it began, however often they are
reloaded meanwhile, and no network is closed under its feet.
"""

from __future__ import annotations

import dataclasses
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from geotiler.core.grid import TileLimits, fitted_tile
from geotiler.errors import ModelError
from geotiler.models.bundle import Bundle, open_bundle
from geotiler.models.card import CARD_FILE
from geotiler.models.predictor import Predictor, open_predictor
from geotiler.resources import weights_dir
from geotiler.service.batching import Pass, SharedPredictor
from geotiler.service.metrics import Metrics
from geotiler.service.settings import Settings
from geotiler.specs import Backend, Precision
from geotiler.spelling import did_you_mean

TILE_SIDES_PX = (128, 256, 384, 512, 768)
"""Sides of the square tiles for scenes that fit into one: few, so that requests share networks."""

LARGE_TILE_PX = 512
"""Side of the tiles of scenes that do not, up to `OWN_NETWORK_PX`."""

OWN_NETWORK_PX = 25_000_000
"""Scenes from here on get tiles fitted to them: compiling a network of their own is little work."""

_LANES = 2
"""Networks that compute small tiles at the same time, where such wait."""


def _usable_cores() -> int:
    """Those that this process may use, where the system tells."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@dataclass(frozen=True, kw_only=True)
class HeldBundle(Bundle):
    """A bundle that keeps its files: what is in use may be replaced on disk."""

    contents: Mapping[str, bytes] = field(default_factory=dict, repr=False)

    def read(self, name: str) -> bytes:
        """See `Bundle.read`."""
        return self.contents[name] if name in self.contents else super().read(name)


@dataclass(frozen=True, kw_only=True)
class Reloaded:
    """What a reload found."""

    models: dict[str, str]
    """Name → digest of every model that is offered now."""
    changed: tuple[str, ...]
    """New or replaced."""
    removed: tuple[str, ...]
    refused: dict[str, str]
    """Folder → why it is not offered; a model of that name that was loaded before stays."""


_Key = tuple[str, tuple[int, int]]


class _Entry:
    """A compiled network, and how many leases hold it."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.predictor: SharedPredictor | None = None
        self.leases = 0


class Shelf:
    """Models by name, and the networks compiled of them."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        """Loads nothing yet; see `reload`."""
        self._settings = settings
        self._metrics = metrics
        self._bundles: dict[str, HeldBundle] = {}
        self._entries: OrderedDict[_Key, _Entry] = OrderedDict()
        self._lock = threading.Lock()
        self._reloading = threading.Lock()

    @property
    def folder(self) -> Path:
        """The folder of the model folders."""
        return self._settings.weights or weights_dir()

    @property
    def bundles(self) -> dict[str, HeldBundle]:
        """The models that are offered, by name."""
        return self._bundles

    @property
    def waiting(self) -> int:
        """Batches that wait for a network."""
        with self._lock:
            entries = list(self._entries.values())
        return sum(entry.predictor.waiting for entry in entries if entry.predictor is not None)

    def reload(self) -> Reloaded:
        """Read the folder again and offer what is in it, all at once.

        Raises:
            ModelError: no model at all can be offered.
        """
        with self._reloading:
            old, new = self._bundles, {}
            refused: dict[str, str] = {}
            for card in sorted(self.folder.glob(f"*/{CARD_FILE}")):
                name = card.parent.name
                if name.startswith("."):  # a folder that is being written
                    continue
                try:
                    new[name] = self._loaded(card.parent)
                except ModelError as error:
                    refused[name] = str(error)
                    if name in old:
                        new[name] = old[name]
            if not new:
                hint = "--weights names a folder of model folders"
                if next(self.folder.glob(f"*/*/{CARD_FILE}"), None) is not None:
                    hint += ", geotiler models promote puts those of runs there"
                why = "; ".join(refused.values()) or f"none of its folders holds a {CARD_FILE}"
                raise ModelError(f"no model in {self.folder}: {why}", hint=hint)
            self._bundles = new
            before = {name: bundle.digest for name, bundle in old.items()}
            changed = {name for name in new if new[name].digest != before.get(name)}
            self._drop_unused()
        return Reloaded(
            models={name: bundle.digest for name, bundle in new.items()},
            changed=tuple(sorted(changed)),
            removed=tuple(sorted(old.keys() - new.keys())),
            refused=refused,
        )

    def _loaded(self, folder: Path) -> HeldBundle:
        started = time.perf_counter()
        bundle = open_bundle(folder)
        contents = {name: bundle.read(name) for name in bundle.card.files}
        plain = {item.name: getattr(bundle, item.name) for item in dataclasses.fields(bundle)}
        held = HeldBundle(**plain, contents=contents)
        self._metrics.load.labels(folder.name).set(time.perf_counter() - started)
        return held

    @contextmanager
    def lease(self) -> Iterator[Lease]:
        """The models as they are now, for one scene; a source of networks for the tasks."""
        lease = Lease(self, self._bundles)
        try:
            yield lease
        finally:
            with self._lock:
                for entry in lease.held:
                    entry.leases -= 1
            self._drop_unused()

    def predictor_for(
        self, lease: Lease, name: str, bundle: Bundle, tile_shape: tuple[int, int]
    ) -> SharedPredictor:
        """The network for a model at a tile size, compiled by the first who asks for it."""
        key = (bundle.digest, tile_shape)
        with self._lock:
            entry = self._entries.setdefault(key, _Entry())
            self._entries.move_to_end(key)
            entry.leases += 1
            lease.held.append(entry)
        with entry.lock:
            if entry.predictor is None:
                entry.predictor = self._compiled(name, bundle, tile_shape)
        return entry.predictor

    def _compiled(self, name: str, bundle: Bundle, tile_shape: tuple[int, int]) -> SharedPredictor:
        settings = self._settings

        def opened(threads: int | None) -> Predictor:
            return open_predictor(
                bundle,
                backend=settings.backend,
                device=settings.device,
                precision=settings.precision,
                batch=settings.batch,
                tile_shape=tile_shape,
                threads=threads,
            )

        with self._metrics.compile.labels(name).time():
            inner = opened(settings.threads)

        def side_by_side() -> list[Predictor]:
            # Threads of torch are those of the process, not of a network.
            is_own = inner.name.startswith(("openvino", "onnx"))
            cores = settings.threads or _usable_cores()
            if not is_own or cores < _LANES or max(tile_shape) > TILE_SIDES_PX[-1]:
                return []
            return [opened(cores // _LANES) for _ in range(_LANES)]

        def observe(done: Pass) -> None:
            self._metrics.inference.labels(name).observe(done.seconds)
            self._metrics.batch_tiles.labels(name).observe(done.tiles)
            self._metrics.batch_requests.labels(name).observe(done.requests)
            self._metrics.confidence.labels(name).observe(done.confidence)

        return SharedPredictor(
            inner, wait_s=settings.batch_wait_ms / 1000, observe=observe, side_by_side=side_by_side
        )

    def _drop_unused(self) -> None:
        """Close networks beyond the limit, and of models that are no longer offered."""
        offered = {bundle.digest for bundle in self._bundles.values()}
        dropped: list[_Entry] = []
        with self._lock:
            for key, entry in list(self._entries.items()):
                too_many = len(self._entries) > self._settings.networks
                if not entry.leases and (too_many or key[0] not in offered):
                    dropped.append(self._entries.pop(key))
        for entry in dropped:
            if entry.predictor is not None:
                entry.predictor.close()

    def close(self) -> None:
        """Close every network."""
        with self._lock:
            entries, self._entries = list(self._entries.values()), OrderedDict()
        for entry in entries:
            if entry.predictor is not None:
                entry.predictor.close()


class Lease:
    """The `Networks` of one scene."""

    def __init__(self, shelf: Shelf, bundles: Mapping[str, HeldBundle]) -> None:
        """Use `Shelf.lease`."""
        self._shelf = shelf
        self._bundles = bundles
        self.held: list[_Entry] = []

    def bundle(self, model: str | Path) -> Bundle:
        """A model by name only: callers name no folders. Raises: ModelError: there is none."""
        try:
            return self._bundles[str(model)]
        except KeyError:
            name = str(model)[:80]
            raise ModelError(
                f"no model {name!r}{did_you_mean(name, self._bundles)}",
                hint=f"one of: {', '.join(self._bundles)}",
            ) from None

    @staticmethod
    def tile_shape(
        shape: tuple[int, int], overlap_px: int, multiple_px: int, limits: TileLimits
    ) -> tuple[int, int]:
        """A tile of few sizes, the same for many scenes; a fitted one for large scenes."""
        if shape[0] * shape[1] >= OWN_NETWORK_PX:
            return fitted_tile(shape, overlap_px, multiple_px, limits)
        longest = max(shape)
        fitting = [side for side in TILE_SIDES_PX if side >= longest and side > overlap_px]
        side = fitting[0] if fitting else max(LARGE_TILE_PX, 2 * overlap_px)
        side = -(-side // multiple_px) * multiple_px
        return side, side

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
        """The shared network; how it runs is the service's choice, not the request's."""
        name = next((n for n, b in self._bundles.items() if b.digest == bundle.digest), "unknown")
        return self._shelf.predictor_for(self, name, bundle, tile_shape)
