"""A cluster writes what one machine writes, byte for byte, whoever dies on the way."""

from __future__ import annotations

import os
import pickle
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine

from geotiler import errors
from geotiler.core.sweep import Span
from geotiler.engines.cluster import opened_cluster
from geotiler.errors import DeviceError, GeotilerError, InputError, SpecError
from geotiler.models.bundle import Bundle
from geotiler.progress import StageAdvanced, StageStarted
from geotiler.specs import Backend, Engine, SegmentSpec
from geotiler.tasks.segment import segment
from geotiler.tasks.segment_cluster import _pieces
from geotiler.tasks.segment_plan import plan_segment

distributed = pytest.importorskip("distributed", reason="the extra dask is not installed")

SHAPE = (900, 170)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, memory_limit=0
    ) as started:
        yield started


@pytest.fixture
def spec(tiny_bundle: Bundle, tmp_path: Path) -> SegmentSpec:
    image = np.random.default_rng(3).integers(0, 256, (3, *SHAPE), dtype=np.uint8)
    path = tmp_path / "scene.tif"
    with rasterio.open(
        path, "w", driver="GTiff", count=3, height=SHAPE[0], width=SHAPE[1], dtype="uint8",
        crs="EPSG:32633", transform=Affine(0.5, 0, 5e5, 0, -0.5, 5e6), blockysize=16,
    ) as out:  # fmt: skip
        out.write(image)
    (tmp_path / "out").mkdir()
    return SegmentSpec(
        scene=str(path), output=tmp_path / "out" / "mask.tif", model=str(tiny_bundle.folder),
        tile_px=(64, 96), overlap_px=16, backend=Backend.ONNX, threads=1,
        probability=tmp_path / "out" / "p.tif",
    )  # fmt: skip


def _bytes(spec: SegmentSpec) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in spec.output.parent.iterdir()}


def _expected(spec: SegmentSpec) -> dict[str, bytes]:
    """What one machine writes; removed again."""
    segment(spec)
    found = _bytes(spec)
    for path in spec.output.parent.iterdir():
        path.unlink()
    return found


@pytest.mark.parametrize("gsd_m", [None, (0.4, 0.7)])
def test_it_is_what_one_machine_writes(
    spec: SegmentSpec, cluster: Any, gsd_m: tuple[float, float] | None
) -> None:
    spec = replace(spec, gsd_m=gsd_m)
    expected = _expected(spec)
    spread = replace(spec, engine=Engine.DASK, scheduler=cluster.scheduler_address)
    events: list[Any] = []
    report = segment(spread, report=events.append)
    assert _bytes(spec) == expected
    assert sum(report.class_px.values()) == SHAPE[0] * SHAPE[1]
    (total,) = (e.total for e in events if isinstance(e, StageStarted) and e.stage == "segment")
    done = sum(e.amount for e in events if isinstance(e, StageAdvanced) and e.stage == "segment")
    assert total == done


def test_a_worker_that_is_killed_is_replaced(spec: SegmentSpec, cluster: Any) -> None:
    expected = _expected(spec)
    with distributed.Client(cluster, set_as_default=False) as client:
        workers = sorted(client.run(os.getpid).values())
    killed: list[int] = []

    def kill(event: Any) -> None:
        if isinstance(event, StageAdvanced) and event.stage == "segment" and event.amount:
            while workers and len(killed) < 2:
                killed.append(workers.pop())
                os.kill(killed[-1], signal.SIGKILL)

    segment(replace(spec, engine=Engine.DASK, scheduler=cluster.scheduler_address), report=kill)
    assert len(killed) == 2
    assert _bytes(spec) == expected


def test_what_was_begun_here_is_ended_there(spec: SegmentSpec, cluster: Any) -> None:
    expected = _expected(spec)
    heard: list[float] = []

    def stop(event: Any) -> None:
        if isinstance(event, StageAdvanced) and event.stage == "segment":
            heard.append(event.amount)
            if len(heard) == 12:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        segment(spec, report=stop)
    spread = replace(spec, engine=Engine.DASK, scheduler=cluster.scheduler_address)
    assert segment(spread).resumed_px > 0
    assert _bytes(spec) == expected


def test_an_error_of_a_worker_is_the_runs(spec: SegmentSpec, cluster: Any) -> None:
    os.truncate(spec.scene, Path(spec.scene).stat().st_size * 2 // 3)
    with pytest.raises(InputError, match="truncated or damaged"):
        segment(replace(spec, engine=Engine.DASK, scheduler=cluster.scheduler_address))
    assert not spec.output.exists()


def test_no_scheduler_is_one_line(spec: SegmentSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("geotiler.engines.cluster._PATIENCE_S", 1)
    with pytest.raises(DeviceError, match="no scheduler answers"):
        segment(replace(spec, engine=Engine.DASK, scheduler="tcp://127.0.0.1:9"))


def test_workers_belong_to_dask(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="--engine dask"):
        SegmentSpec(scene="a", output=tmp_path, workers=2)


@pytest.mark.parametrize("threads", [1, 2, 7, 500])
@pytest.mark.parametrize("gsd_m", [None, (0.4, 0.7), (1.1, 1.3)])
def test_pieces_share_out_the_rows(
    spec: SegmentSpec, threads: int, gsd_m: tuple[float, float] | None
) -> None:
    plan = plan_segment(replace(spec, gsd_m=gsd_m))
    whole = [plan.stretch(panel, plan.rows) for panel in plan.panels]
    pieces = list(_pieces(plan, whole, threads))
    edges = [piece.rows.answered for piece in pieces]
    assert [first for first, _ in edges] == [0, *(last for _, last in edges[:-1])]
    assert edges[-1][1] == SHAPE[0]
    repeated = sum(piece.windows for piece in pieces) - plan.windows
    columns = len(whole[0].columns.starts)
    # One row of windows for each cut, and one more for the last, which snaps inward.
    assert repeated <= len(pieces) * columns
    # All threads have one, as far as there are rows, and none has more rounds than it must.
    rows = len(whole[0].rows.starts)
    assert len(pieces) >= min(threads, rows) / 2
    assert len(pieces) <= threads * (1 + rows // (16 * threads)) + 1


@pytest.mark.parametrize("kind", [errors.SpecError, errors.InputError, errors.MissingExtraError])
def test_errors_travel_whole(kind: type[GeotilerError]) -> None:
    error = kind("what", "hint")
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), again.hint) == (kind, str(error), error.hint)


def test_a_task_is_small_whatever_the_scene(spec: SegmentSpec) -> None:
    plan = plan_segment(spec)
    stretch = plan.stretch(plan.panels[0], (0, 100))
    assert isinstance(stretch.rows, Span)
    assert len(pickle.dumps((plan, stretch))) < 20_000


SLOW = """
def slow(item):
    import time
    time.sleep(2)
    return item
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("lost", "told"), [("scheduler", "was lost"), ("worker", "has had no worker for 2 s")]
)
def test_a_cluster_that_goes_away_is_one_line(
    lost: str, told: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Within bounded time, and without what dask says of it."""
    monkeypatch.setattr("geotiler.engines.cluster._NO_WORKERS_S", 2)
    monkeypatch.setattr("geotiler.engines.cluster._LOOK_EVERY_S", 0.2)
    namespace: dict[str, Any] = {}
    exec(SLOW, namespace)  # a function that workers need no module for
    port = socket.create_server(("127.0.0.1", 0)).getsockname()[1]
    address = f"tcp://127.0.0.1:{port}"
    words = {
        "scheduler": ["dask_scheduler", "--port", str(port), "--no-dashboard"],
        "worker": ["dask_worker", address, "--nthreads", "1", "--no-nanny", "--no-dashboard"],
    }
    started = {
        name: subprocess.Popen(
            [sys.executable, "-m", f"distributed.cli.{word}", *rest], stderr=subprocess.DEVNULL
        )
        for name, (word, *rest) in words.items()
    }
    killed: list[float] = []

    def run() -> None:
        with opened_cluster(address, 1) as cluster:
            for _ in cluster.spread(namespace["slow"], list(range(6))):
                if not killed:
                    started[lost].kill()
                    killed.append(time.monotonic())

    try:
        with pytest.raises(DeviceError, match=told) as raised:
            run()
        assert time.monotonic() - killed[0] < 60
        assert "the same command goes on" in str(raised.value)
    finally:
        for process in started.values():
            process.kill()
            process.wait()
    assert "Traceback" not in capfd.readouterr().err
