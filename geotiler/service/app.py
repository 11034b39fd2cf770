"""The application: parts, routes, and what happens when it starts and stops."""

from __future__ import annotations

import asyncio
import logging
import shutil
import signal
import socket
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

import uvicorn
from anyio import CapacityLimiter
from fastapi import FastAPI
from filelock import FileLock, Timeout

from geotiler import __version__
from geotiler.errors import GeotilerError, OutputError, SpecError
from geotiler.service import jobs_routes, operation_routes, predict_routes, problems
from geotiler.service.addresses import bound, listen
from geotiler.service.gate import Gate
from geotiler.service.jobs import Jobs
from geotiler.service.logs import LOGGER, start_logging
from geotiler.service.metrics import Metrics
from geotiler.service.settings import Settings
from geotiler.service.shelf import Shelf
from geotiler.service.slots import Slots
from geotiler.service.state import State
from geotiler.service.work import Workbench

_log = logging.getLogger(LOGGER)

_SCRATCH_PREFIX = "geotiler-serve-"

_DESCRIPTION = """Segments scenes into masks and footprints, with the models of this service.

Small scenes are answered at once (`/predict`), large ones and many become jobs (`/batch`).
"""


def create_app(settings: Settings) -> FastAPI:
    """The application of one service, its models read.

    Raises:
        SpecError: no API key, and an address that others can reach; no such default model.
        ModelError: no model can be offered.
    """
    if not settings.api_keys and not settings.is_loopback:
        raise SpecError(
            f"{settings.host} can be reached by others, and there is no API key",
            hint="set GEOTILER_SERVE_API_KEYS, or --host 127.0.0.1",
        )
    metrics = Metrics()
    shelf = _filled_shelf(settings, metrics)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        with _own_folder(settings.folder) as folder, _requests_in(settings, folder) as requests:
            state = _started(settings, metrics, shelf, folder, requests)
            app.state.geotiler = state
            _listen_for_hangup(state.shelf)
            try:
                yield
            finally:
                await asyncio.to_thread(state.jobs.stop)
                await asyncio.to_thread(state.shelf.close)

    app = FastAPI(
        title="geotiler",
        version=__version__,
        description=_DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,  # the defaults load scripts from elsewhere
        redoc_url=None,
    )
    problems.install(app)
    for module in (predict_routes, jobs_routes, operation_routes):
        app.include_router(module.router)
    app.add_middleware(Gate, settings=settings, metrics=metrics)
    return app


def serve(settings: Settings) -> None:
    """Serve until interrupted.

    Raises:
        GeotilerError: the settings, the port, the models or the folder are not usable.
    """
    start_logging(settings.log_level)
    with bound(settings.host, settings.port) as sockets:
        app = create_app(settings)
        with _own_folder(settings.folder):
            pass
        config = uvicorn.Config(
            app, host=settings.host, port=settings.port, log_config=None, access_log=False,
            timeout_graceful_shutdown=30, server_header=False,
            h11_max_incomplete_event_size=65_536,
        )  # fmt: skip
        listen(sockets, config.backlog)
        try:
            # Once everything has ended in order, it raises the signal that asked for that again.
            with suppress(KeyboardInterrupt):
                _Server(config).run(sockets)
        except SystemExit as error:  # how uvicorn says that the app did not start
            if error.code:
                raise OutputError("the service did not start", hint="its log says why") from None


class _Server(uvicorn.Server):
    """Says where it runs: of sockets that it did not bind itself uvicorn says nothing."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """See `uvicorn.Server.startup`."""
        await super().startup(sockets)
        for one in sockets or ():
            host, port = one.getsockname()[:2]
            shown = f"[{host}]" if ":" in host else host
            _log.info(f"geotiler is running on http://{shown}:{port}")


def _filled_shelf(settings: Settings, metrics: Metrics) -> Shelf:
    shelf = Shelf(settings, metrics)
    found = shelf.reload()
    for name, why in found.refused.items():
        _log.warning("model refused", extra={"model": name, "why": why})
    if settings.model not in found.models:
        raise SpecError(
            f"no model {settings.model!r} to answer with by default",
            hint=f"--model is one of: {', '.join(found.models)}",
        )
    if settings.classifier not in found.models:  # others may be asked for, and come with a reload
        why = "/classify has no model to answer with by default"
        _log.warning(why, extra={"model": settings.classifier})
    return shelf


def _started(
    settings: Settings, metrics: Metrics, shelf: Shelf, folder: Path, requests: Path
) -> State:
    bench = Workbench(settings, shelf, metrics)
    jobs = Jobs(bench, folder)
    slots = Slots(settings.running, settings.queue)
    metrics.watch(
        "geotiler_queue_depth", "What waits: requests, jobs, and batches for a network.", "queue",
        lambda: {
            "requests": float(slots.waiting),
            "jobs": jobs.store.counts()["queued"],
            "network": float(shelf.waiting),
        },
    )  # fmt: skip
    metrics.watch("geotiler_jobs", "Jobs by state.", "state", jobs.store.counts)
    metrics.watch(
        "geotiler_requests_running", "Requests that are computed.", "route",
        lambda: {"/predict": float(slots.computing)},
    )  # fmt: skip
    jobs.start()
    return State(
        settings=settings, metrics=metrics, shelf=shelf, bench=bench, jobs=jobs, slots=slots,
        threads=CapacityLimiter(settings.running), readers=CapacityLimiter(2), requests=requests,
    )  # fmt: skip


class _own_folder:  # noqa: N801 - reads as a statement
    """The service's folder, its own alone, without what an earlier process left half-done."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.absolute()
        self._lock = FileLock(self._folder / ".lock", timeout=0)

    def __enter__(self) -> Path:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._lock.acquire()
        except Timeout:
            raise OutputError(
                f"{self._folder} is in use by another service", hint="choose another --folder"
            ) from None
        except OSError as error:
            raise OutputError(
                f"{self._folder} cannot be written: {error.strerror}",
                hint="choose another --folder",
            ) from error
        return self._folder

    def __exit__(self, *_: object) -> None:
        self._lock.release()


@contextmanager
def _requests_in(settings: Settings, folder: Path) -> Iterator[Path]:
    """Where requests under way have their folders, without what an earlier process left.

    Raises:
        OutputError: the place that the settings name cannot be written.
    """
    if settings.scratch is None:
        shutil.rmtree(folder / "requests", ignore_errors=True)
        yield folder / "requests"
        return
    try:
        place = _place_in(settings.scratch.absolute())
    except OSError as error:
        raise OutputError(
            f"{settings.scratch} cannot be written: {error.strerror}",
            hint="choose another GEOTILER_SERVE_SCRATCH",
        ) from error
    try:
        with FileLock(place / ".lock", timeout=0):
            yield place / "requests"
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _place_in(scratch: Path) -> Path:
    """A new folder for one process, in a place that others may use as well.

    The folders of processes that ended without clearing up, which nobody locks, are removed.
    """
    scratch.mkdir(parents=True, exist_ok=True)
    for left in scratch.glob(f"{_SCRATCH_PREFIX}*"):
        if left.is_symlink() or not (left / ".lock").is_file():
            continue
        with suppress(Timeout, OSError):
            FileLock(left / ".lock", timeout=0).acquire().lock.release()
            shutil.rmtree(left, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=_SCRATCH_PREFIX, dir=scratch))


def _listen_for_hangup(shelf: Shelf) -> None:
    """SIGHUP reads the models again, where there are signals and this is the main thread."""
    hangup = getattr(signal, "SIGHUP", None)
    if hangup is None:
        return
    loop = asyncio.get_running_loop()
    tasks: set[asyncio.Task[None]] = set()

    async def reload() -> None:
        try:
            done = await asyncio.to_thread(shelf.reload)
            _log.info("models reloaded", extra={"changed": done.changed, "refused": done.refused})
        except GeotilerError as error:
            _log.error("models not reloaded", extra={"why": str(error)})

    def begin() -> None:
        task = loop.create_task(reload())
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    with suppress(RuntimeError, ValueError, NotImplementedError):
        loop.add_signal_handler(hangup, begin)
