"""Work spread over processes and machines by dask.distributed, which tries again what dies."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any, TypeVar

from geotiler.errors import DeviceError, MissingExtraError

Work = TypeVar("Work")
Result = TypeVar("Result")

_AHEAD = 2
"""Items that each thread has waiting: enough to keep it busy, and few for the scheduler to hold."""

_RETRIES = 3
_PATIENCE_S = 30


class Cluster:
    """Workers that take items; made by `opened_cluster`."""

    def __init__(self, client: Any) -> None:
        """Args: client: of dask.distributed, connected."""
        self._client = client

    @property
    def threads(self) -> int:
        """Threads of all workers that are there now; at least 1."""
        return max(1, sum(self._client.nthreads().values()))

    def spread(
        self, function: Callable[[Work], Result], items: Sequence[Work]
    ) -> Iterator[tuple[Work, Result]]:
        """Each item with its result, in the order in which they are finished.

        Function, items and results travel, and should be small. What a worker had begun when it
        died is done again elsewhere.

        Raises:
            DeviceError: workers die of an item again and again, or none is left.
            Exception: what the function raises.
        """
        from distributed import as_completed
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
            for future in waiting:
                item = held.pop(future)
                try:
                    result = future.result()
                except (KilledWorker, NoValidWorkerError) as error:
                    raise DeviceError(
                        f"workers of the cluster died of the same piece of work: {error}",
                        hint="they may need more memory, or a smaller --tile",
                    ) from error
                future.release()
                submit(max(1, _AHEAD * self.threads - len(held)))
                yield item, result
        finally:
            self._client.cancel(list(held), force=True)


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
    try:
        client = Client(scheduler, timeout=_PATIENCE_S, set_as_default=False)
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
        yield Cluster(client)
