"""How much of the bare network's throughput a service keeps, and how long its callers wait.

    python tests/benchmarks/serve_load.py --seconds 60 --side 512
    python tests/benchmarks/serve_load.py --requests 10000 --side 128      # memory

A service is started on this machine, asked for the masks of rendered tiles by 1, 8 and 32 callers
at once, and then by more than it admits. Wall time depends on whoever else uses the machine; CPU
seconds per tile, of the service and of the bare network, do not.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil

TILES = 16


def rendered(folder: Path, side: int) -> list[Path]:
    """Different scenes of one tile each, as PNG."""
    import cv2

    from geotiler.io.raster import open_scene
    from geotiler.specs import RenderSpec, Window
    from geotiler.tasks.render import render

    town = folder / "town.tif"
    render(RenderSpec(output=town, height=4 * side, width=4 * side, seed=5))
    paths = []
    with open_scene(str(town)) as scene:
        for index in range(TILES):
            row, col = divmod(index, 4)
            window = Window(row=row * side, col=col * side, height=side, width=side)
            pixels = scene.read(window)[:3]
            paths.append(folder / f"{index}.png")
            cv2.imwrite(str(paths[-1]), np.ascontiguousarray(pixels[::-1].transpose(1, 2, 0)))
    return paths


def bare(side: int, batch: int, seconds: float) -> dict[str, float]:
    """The network alone, in this process, on tiles of that side."""
    from geotiler.models.predictor import open_predictor
    from geotiler.models.registry import find_model

    predictor = open_predictor(find_model("buildings"), batch=batch, tile_shape=(side, side))
    tiles = np.random.default_rng(0).standard_normal((batch, 3, side, side), dtype=np.float32)
    predictor(tiles)
    started, cpu, count = time.perf_counter(), time.process_time(), 0
    while time.perf_counter() - started < seconds:
        predictor(tiles)
        count += batch
    wall = time.perf_counter() - started
    return {
        "tiles_per_s": count / wall,
        "cpu_s_per_tile": (time.process_time() - cpu) / count,
        "backend": predictor.name,  # type: ignore[dict-item]
    }


@contextmanager
def service(folder: Path, **settings: Any) -> Iterator[tuple[int, psutil.Process]]:
    """A service in a process of its own: (port, process)."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    names = {f"GEOTILER_SERVE_{name.upper()}": str(value) for name, value in settings.items()}
    words = ["-c", "from geotiler.cli.main import run; run()", "serve", "--port", str(port)]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, *words, "--folder", str(folder / "serve")],
            env={**os.environ, **names, "GEOTILER_SERVE_LOG_LEVEL": "WARNING"}, stderr=log,
        )  # fmt: skip
    try:
        while not _is_ready(port):
            if process.poll() is not None:
                sys.exit((folder / "log").read_text())
            time.sleep(0.2)
        yield port, psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait()


def _is_ready(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


class Load:
    """Callers that ask as fast as they are answered."""

    def __init__(self, port: int, bodies: list[bytes]) -> None:
        self._port, self._bodies = port, bodies
        self._lock = threading.Lock()
        self.seconds: list[float] = []
        self.codes: Counter[int] = Counter()
        self._left = 0
        self._deadline = 0.0

    def run(self, callers: int, seconds: float, requests: int | None = None) -> None:
        """Ask until the time is over or the requests are done."""
        self.seconds, self.codes = [], Counter()
        self._left = requests if requests is not None else sys.maxsize
        self._deadline = time.perf_counter() + seconds
        threads = [threading.Thread(target=self._ask, args=(i,)) for i in range(callers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _ask(self, index: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=600)
        headers = {"Content-Type": "image/png", "Accept": "image/png"}
        while time.perf_counter() < self._deadline:
            with self._lock:
                if self._left <= 0:
                    break
                self._left -= 1
            body = self._bodies[index % len(self._bodies)]
            index += 1
            started = time.perf_counter()
            connection.request("POST", "/predict?gsd=0.5", body, headers)
            answer = connection.getresponse()
            answer.read()
            with self._lock:
                self.seconds.append(time.perf_counter() - started)
                self.codes[answer.status] += 1
        connection.close()


def measured(load: Load, process: psutil.Process, callers: int, **limits: Any) -> dict[str, Any]:
    """One run of the load, and what it cost the service."""
    before, started = process.cpu_times(), time.perf_counter()
    load.run(callers, **limits)
    wall = time.perf_counter() - started
    after = process.cpu_times()
    cpu = after.user + after.system - before.user - before.system
    if not load.codes[200]:
        sys.exit(f"nothing but {dict(load.codes)} was answered")
    done = load.codes[200]
    p50, p95, p99 = np.percentile(load.seconds, (50, 95, 99))
    return {
        "callers": callers,
        "codes": dict(load.codes),
        "tiles_per_s": round(done / wall, 2),
        "p50_s": round(float(p50), 3),
        "p95_s": round(float(p95), 3),
        "p99_s": round(float(p99), 3),
        "cpu_s_per_tile": round(cpu / done, 4),
        "memory_mb": round(process.memory_info().rss / 1e6, 1),
    }


def main() -> None:
    """Run and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="of each step")
    parser.add_argument("--side", type=int, default=512, help="of a tile in pixels")
    parser.add_argument("--batch", type=int, default=1, help="tiles of one forward pass")
    parser.add_argument("--requests", type=int, help="ask so often with 8 callers, for memory")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bodies = [path.read_bytes() for path in rendered(folder, given.side)]
        found: dict[str, Any] = {"side_px": given.side, "batch": given.batch}
        with service(folder, batch=given.batch) as (port, process):
            load = Load(port, bodies)
            measured(load, process, 2, seconds=60, requests=8)  # everything is loaded now
            if given.requests:
                found["memory"] = [
                    measured(load, process, 8, seconds=1e9, requests=given.requests // 10)
                    for _ in range(10)
                ]
            else:
                found["service"] = [
                    measured(load, process, callers, seconds=given.seconds)
                    for callers in (1, 8, 32)
                ]
        if not given.requests:
            with service(folder, batch=given.batch, running=2, queue=4) as (port, process):
                load = Load(port, bodies)
                found["beyond_the_limit"] = measured(load, process, 32, seconds=given.seconds / 4)
            alone = bare(given.side, given.batch, given.seconds)
            found["bare"] = alone
            for one in found["service"]:
                one["share_of_bare"] = round(one["tiles_per_s"] / alone["tiles_per_s"], 3)
                one["cpu_share"] = round(alone["cpu_s_per_tile"] / one["cpu_s_per_tile"], 3)
        print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
