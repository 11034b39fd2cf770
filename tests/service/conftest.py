"""A service with one small network, asked in this process over HTTP's own messages."""

from __future__ import annotations

import json
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from starlette.testclient import TestClient

    from geotiler.models.bundle import Bundle

MakeService = Callable[..., "TestClient"]

KEY = "a-key-of-tests-that-is-long-enough"


@pytest.fixture
def make_service(tiny_bundle: Bundle, tmp_path: Path) -> Iterator[MakeService]:
    """Starts a service with the given settings; stopped at the end of the test."""
    from starlette.testclient import TestClient

    from geotiler.service.app import create_app
    from geotiler.service.settings import Settings

    with ExitStack() as stack:

        def make(**changes: Any) -> TestClient:
            values = {
                "weights": tiny_bundle.folder.parent,
                "model": "tiny",
                "folder": tmp_path / "serve",
                **changes,
            }
            app = create_app(Settings(**values))
            client = TestClient(app, base_url="http://localhost", raise_server_exceptions=False)
            return stack.enter_context(client)

        yield make


@pytest.fixture
def service(make_service: MakeService) -> TestClient:
    """A service with default limits."""
    return make_service()


@pytest.fixture
def both(
    make_service: Callable[..., TestClient],
    tiny_bundle: Bundle,
    tiny_landuse: Bundle,
    tmp_path: Path,
) -> TestClient:
    """A service with a model of each kind, four tiles to a forward pass."""
    for bundle in (tiny_bundle, tiny_landuse):
        shutil.copytree(bundle.folder, tmp_path / "weights" / bundle.folder.name)
    return make_service(
        weights=tmp_path / "weights", classifier="tiny-landuse", batch=4, batch_wait_ms=20
    )


@pytest.fixture(scope="session")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A rendered scene with a CRS, 150×170 px at 0.5 m."""
    from geotiler.specs import RenderSpec
    from geotiler.tasks.render import render

    path = tmp_path_factory.mktemp("scene") / "town.tif"
    render(RenderSpec(output=path, height=150, width=170, seed=3))
    return path


def left_behind(folder: Path) -> list[Path]:
    """What lies in a service's folder besides its own table and lock."""
    own = ("jobs.sqlite", ".lock")
    return [path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(own)]


def wait(service: TestClient, href: str) -> dict[str, Any]:
    """The job when it has ended."""
    pause = threading.Event()
    for _ in range(600):
        job: dict[str, Any] = service.get(href).json()
        if job["state"] not in ("queued", "running"):
            return job
        pause.wait(0.1)
    raise AssertionError(f"the job does not end: {json.dumps(job)}")


@dataclass(frozen=True)
class Live:
    """A service on a port of this machine."""

    url: str
    port: int
    app: Any


@contextmanager
def live(settings: Any) -> Iterator[Live]:
    """Serves on a free port until the block ends."""
    import uvicorn

    from geotiler.service.app import create_app

    app = create_app(settings)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = uvicorn.Server(
        uvicorn.Config(app, host="127.0.0.1", port=port, log_config=None, access_log=False)
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    pause = threading.Event()
    while not server.started:
        assert thread.is_alive()
        pause.wait(0.05)
    try:
        yield Live(f"http://127.0.0.1:{port}", port, app)
    finally:
        server.should_exit = True
        thread.join()
