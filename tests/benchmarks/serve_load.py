"""How much of the bare network's throughput a service keeps, and how long its callers wait.

    python tests/benchmarks/serve_load.py --seconds 60 --requests 10000     # make bench-serve

A service is started on this machine, asked for the masks of rendered tiles by 1, 8 and 32 callers
at once, and then by more than it admits; the bare network answers the same tiles before and after.
Last, many requests for small tiles tell whether its memory grows. Wall time depends on whoever
else uses the machine; CPU seconds per tile, of the service and of the bare network, do not.

A table is printed; `--json` prints every number, and leaves the table to standard error.
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

MEMORY_SIDE = 128
"""Pixels of the tiles of the run that watches memory: what is kept per request shows, the network's
own work does not."""


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


def throughput(folder: Path, given: argparse.Namespace) -> dict[str, Any]:
    """What callers in rising numbers get, and more of them than are admitted."""
    bodies = [path.read_bytes() for path in rendered(folder, given.side)]
    before = bare(given.side, given.batch, given.seconds / 2)
    scratch = {"scratch": given.scratch} if given.scratch else {}
    with service(folder, batch=given.batch, **scratch) as (port, process):
        load = Load(port, bodies)
        measured(load, process, 2, seconds=60, requests=8)  # everything is loaded now
        steps = []
        for callers in (1, 8, 32):
            steps.append(measured(load, process, callers, seconds=given.seconds))
            told(steps[-1])
    with service(folder, batch=given.batch, running=2, queue=4, **scratch) as (port, process):
        beyond = measured(Load(port, bodies), process, 32, seconds=given.seconds / 4)
        told(beyond, "beyond the limit")
    after = bare(given.side, given.batch, given.seconds / 2)
    # A machine that was slower for a while makes both figures of the network differ.
    rate = (before["tiles_per_s"] + after["tiles_per_s"]) / 2
    cpu = (before["cpu_s_per_tile"] + after["cpu_s_per_tile"]) / 2
    for one in steps:
        one["share_of_bare"] = round(one["tiles_per_s"] / rate, 3)
        one["cpu_share"] = round(cpu / one["cpu_s_per_tile"], 3)
    return {
        "side_px": given.side, "batch": given.batch, "service": steps, "beyond_the_limit": beyond,
        "bare": [before, after],
    }  # fmt: skip


def flatness(folder: Path, given: argparse.Namespace) -> dict[str, Any]:
    """Memory along many requests for small tiles by 8 callers, each tenth of them."""
    bodies = [path.read_bytes() for path in rendered(folder, MEMORY_SIDE)]
    with service(folder, batch=given.batch) as (port, process):
        load = Load(port, bodies)
        measured(load, process, 8, seconds=1e9, requests=max(32, given.requests // 100))
        memory = [process.memory_info().rss / 1e6]
        codes: Counter[int] = Counter()
        for tenth in range(10):
            stop, start = given.requests * (tenth + 1) // 10, given.requests * tenth // 10
            found = measured(load, process, 8, seconds=1e9, requests=stop - start)
            codes.update(found["codes"])
            memory.append(found["memory_mb"])
            told(found, f"memory, {stop} requests")
    return {
        "side_px": MEMORY_SIDE, "requests": given.requests, "codes": dict(codes),
        "start_mb": round(memory[0], 1), "middle_mb": memory[5], "end_mb": memory[-1],
        "all_mb": memory,
    }  # fmt: skip


def told(one: dict[str, Any], what: str = "") -> None:
    """One line on standard error, so that somebody who waits sees something."""
    what = what or f"{one['callers']} callers"
    print(f"{what}: {one['tiles_per_s']} tiles/s, {one['memory_mb']} MB", file=sys.stderr)


def table(found: dict[str, Any]) -> Iterator[str]:
    """The lines of the report."""
    if "service" not in found:
        yield memory_line(found["memory"])
        return
    yield "| callers | tiles/s | of the bare one | CPU share | p50 s | p95 s | p99 s | answers |"
    yield "|---|---|---|---|---|---|---|---|"
    runs = [(str(one["callers"]), one) for one in found["service"]]
    runs.append(("32, room for 6", found["beyond_the_limit"]))
    for name, one in runs:
        shares = [f"{one[key]:.0%}" if key in one else "" for key in ("share_of_bare", "cpu_share")]
        waits = [f"{one[key]:.3f}" for key in ("p50_s", "p95_s", "p99_s")]
        cells = [name, str(one["tiles_per_s"]), *shares, *waits, answers(one["codes"])]
        yield f"| {' | '.join(cells)} |"
    for one in found["bare"]:
        yield f"| bare network ({one['backend']}) | {one['tiles_per_s']:.2f} | | | | | | |"
    if "memory" in found:
        yield from ("", memory_line(found["memory"]))


def memory_line(one: dict[str, Any]) -> str:
    """What `flatness` found, in a sentence."""
    return (
        f"Memory over {one['requests']} requests ({answers(one['codes'])}): "
        f"{one['start_mb']:.0f} MB at the start, {one['middle_mb']:.0f} in the middle, "
        f"{one['end_mb']:.0f} at the end"
    )


def answers(codes: dict[int, int]) -> str:
    """How many of each status."""
    return ", ".join(f"{count}× {code}" for code, count in sorted(codes.items()))


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="of each step; 0: none")
    parser.add_argument("--side", type=int, default=512, help="of a tile in pixels")
    parser.add_argument("--batch", type=int, default=1, help="tiles of one forward pass")
    parser.add_argument("--requests", type=int, default=10_000, help="for memory; 0: none")
    parser.add_argument("--scratch", help="folder of uploads under way, as one in memory")
    parser.add_argument("--json", action="store_true", help="print every number")
    given = parser.parse_args()
    found: dict[str, Any] = {}
    if given.seconds > 0:
        with tempfile.TemporaryDirectory() as name:
            found |= throughput(Path(name), given)
    if given.requests > 0:
        with tempfile.TemporaryDirectory() as name:
            found["memory"] = flatness(Path(name), given)
    if not found:
        sys.exit("neither --seconds nor --requests: nothing to do")
    print("\n".join(table(found)), file=sys.stderr if given.json else sys.stdout)
    if given.json:
        print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
