"""Work spread over processes and machines by dask.distributed, which tries again what dies."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import islice
from typing import Any, TypeVar

from geotiler.errors import DeviceError, MissingExtraError

Work = TypeVar("Work")
Result = TypeVar("Result")

_AHEAD = 2
"""Items that each thread has waiting: enough to keep it busy, and few for the scheduler to hold."""

_RETRIES = 3
_PATIENCE_S = 30

_NO_WORKERS_S = 120
"""How long a cluster may be without any worker before a run gives up."""

_LOOK_EVERY_S = 5.0
_TICK_S = 0.02
_HERE = "this machine"


class Cluster:
    """Workers that take items; made by `opened_cluster`."""

    def __init__(self, client: Any, address: str = _HERE) -> None:
        """Args: client: of dask.distributed, connected. address: of its scheduler, for messages."""
        self._client = client
        self._address = address

    @property
    def threads(self) -> int:
        """Threads of all workers that are there now; at least 1.

        Raises:
            DeviceError: the scheduler does not answer.
        """
        return max(1, self._threads())

    def _threads(self) -> int:
        try:
            return sum(self._client.nthreads().values())
        except (OSError, TimeoutError, ValueError, RuntimeError) as error:
            raise self._lost() from error

    def _lost(self) -> DeviceError:
        return DeviceError(
            f"the scheduler at {self._address} was lost during the run",
            hint="when there is one again, the same command goes on; or --restart begins anew",
        )

    def _wait(self, waiting: Any) -> None:
        """Returns when a future is done. Raises: DeviceError: none will be, as it seems."""
        alone_since: float | None = None
        look = time.monotonic() + _LOOK_EVERY_S
        while not waiting.has_ready():
            if self._client.status != "running":
                raise self._lost()
            time.sleep(_TICK_S)
            now = time.monotonic()
            if now < look:
                continue
            look = now + _LOOK_EVERY_S
            alone_since = None if self._threads() else alone_since or now
            if alone_since is not None and now - alone_since >= _NO_WORKERS_S:
                raise DeviceError(
                    f"the cluster at {self._address} has had no worker for {_NO_WORKERS_S:g} s",
                    hint=f"dask worker {self._address}, and the same command goes on",
                )

    def spread(
        self, function: Callable[[Work], Result], items: Sequence[Work]
    ) -> Iterator[tuple[Work, Result]]:
        """Each item with its result, in the order in which they are finished.

        Function, items and results travel, and should be small. What a worker had begun when it
        died is done again elsewhere.

        Raises:
            DeviceError: workers die of an item again and again, none is left, or the scheduler is
                lost.
            Exception: what the function raises.
        """
        from distributed import CancelledError, as_completed
        from distributed.scheduler import KilledWorker, NoValidWorkerError

        source = iter(items)
        held: dict[Any, Work] = {}
        waiting = as_completed([], loop=self._client.loop, raise_errors=False)

        def submit(count: int) -> None:
            for item in islice(source, count):
                future = self._client.submit(function, item, pure=False, retries=_RETRIES)
                held[future] = item
                waiting.add(future)

        try:
            submit(_AHEAD * self.threads)
            while held:
                self._wait(waiting)
                future = next(waiting)
                item = held.pop(future)
                try:
                    result = future.result()
                except CancelledError as error:  # by nobody here
                    raise self._lost() from error
                except (KilledWorker, NoValidWorkerError) as error:
                    raise DeviceError(
                        f"workers of the cluster died of the same piece of work: {error}",
                        hint="they may need more memory, or a smaller --tile",
                    ) from error
                future.release()
                submit(max(1, _AHEAD * self.threads - len(held)))
                yield item, result
        finally:
            if self._client.status == "running":
                with suppress(OSError, TimeoutError, RuntimeError):
                    self._client.cancel(list(held), force=True)


@contextmanager
def _quiet() -> Iterator[None]:
    """What dask logs of a scheduler that is lost, tracebacks too, is left to errors of our own."""
    loggers = [logging.getLogger(f"distributed.{name}") for name in ("client", "core", "comm")]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)


@contextmanager
def opened_cluster(scheduler: str | None, workers: int) -> Iterator[Cluster]:
    """A cluster to give work to.

    Args:
        scheduler: address of a running one, as tcp://host:8786; None starts processes here, and
            ends them with the block.
        workers: processes to start, of one thread each.

    Raises:
        MissingExtraError: dask.distributed is not installed.
        DeviceError: the scheduler does not answer, or has no workers.
    """
    try:
        from distributed import Client, LocalCluster
    except ImportError as error:
        raise MissingExtraError("distributed", "--engine dask", "dask") from error
    if scheduler is None:
        with (
            LocalCluster(  # type: ignore[no-untyped-call]
                n_workers=workers, threads_per_worker=1, processes=True, dashboard_address=None,
                memory_limit=0, silence_logs=logging.ERROR,
            ) as local,
            Client(local, set_as_default=False) as client,
        ):  # fmt: skip
            yield Cluster(client)
        return
    with _quiet():
        yield from _joined(Client, scheduler)


def _joined(client_type: Any, scheduler: str) -> Iterator[Cluster]:
    """The cluster of a running scheduler. Raises: DeviceError: as `opened_cluster`."""
    try:
        client = client_type(scheduler, timeout=_PATIENCE_S, set_as_default=False)
    except (OSError, ValueError) as error:
        raise DeviceError(
            f"no scheduler answers at {scheduler}: {error}",
            hint="start one with dask scheduler, or leave --scheduler out",
        ) from error
    with client:
        try:
            client.wait_for_workers(1, timeout=_PATIENCE_S)
        except TimeoutError as error:
            raise DeviceError(
                f"the scheduler at {scheduler} has no workers", hint=f"dask worker {scheduler}"
            ) from error
        yield Cluster(client, scheduler)
