"""What lies under a prefix of a bucket is what lies in a folder, byte for byte, whoever dies."""

from __future__ import annotations

import json
import os
import pickle
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine

from geotiler.cli.main import main
from geotiler.errors import OutputError
from geotiler.io import object_lock, object_store
from geotiler.io.journal import OtherRunError
from geotiler.io.object_lock import ObjectHold
from geotiler.io.object_parts import parts_prefix
from geotiler.io.parts import Parts
from geotiler.models.bundle import Bundle
from geotiler.progress import Notice, StageAdvanced, StageFinished, StageStarted
from geotiler.specs import Backend, Engine, SegmentSpec
from geotiler.tasks.segment import segment

SHAPE = (900, 170)


@pytest.fixture
def spec(tiny_bundle: Bundle, tmp_path: Path) -> SegmentSpec:
    """A scene whose outputs go to a folder of this machine."""
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


@pytest.fixture
def expected(spec: SegmentSpec) -> dict[str, bytes]:
    """What one machine writes into a folder, by the names under the prefix."""
    segment(spec)
    return {f"a/b/{path.name}": path.read_bytes() for path in spec.output.parent.iterdir()}


@pytest.fixture
def remote(spec: SegmentSpec, bucket: Any) -> SegmentSpec:
    """The same with outputs in the bucket."""
    place = f"{bucket.address}/a/b"
    return replace(spec, output=Path(f"{place}/mask.tif"), probability=Path(f"{place}/p.tif"))


@pytest.fixture
def quick_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lock that is given up after two seconds."""
    monkeypatch.setattr(object_lock, "_RENEW_S", 0.3)
    monkeypatch.setattr(object_lock, "_LEASE_S", 2.0)
    monkeypatch.setattr(object_lock, "_LOOK_S", 0.1)
    prompt = {**object_store._PROMPT_CLIENT, "timeout": "1s"}
    monkeypatch.setattr(object_store, "_PROMPT_CLIENT", prompt)
    retries = {"max_retries": 4, "retry_timeout": timedelta(seconds=1)}
    monkeypatch.setattr(object_store, "_PROMPT_RETRIES", retries)


class Workers:
    """A scheduler and workers, each with a temporary folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.address = ""
        self.started: list[subprocess.Popen[bytes]] = []
        words = ["dask_scheduler", "--port", "0", "--no-dashboard", "--scheduler-file"]
        self._start([*words, str(folder / "scheduler.json")], "scheduler")
        for _ in range(300):
            if (folder / "scheduler.json").exists():
                break
            time.sleep(0.1)
        time.sleep(0.2)
        self.address = json.loads((folder / "scheduler.json").read_text())["address"]
        self.add()
        self.add()

    def add(self) -> None:
        """One more worker."""
        words = ["dask_worker", self.address, "--nthreads", "1", "--no-nanny", "--no-dashboard"]
        self._start(words, f"worker{len(self.started)}")

    def _start(self, words: list[str], name: str) -> None:
        (self.folder / name).mkdir()
        module, *rest = words
        self.started.append(
            subprocess.Popen(
                [sys.executable, "-m", f"distributed.cli.{module}", *rest],
                cwd=self.folder / name, stderr=subprocess.DEVNULL,
                env={**os.environ, "TMPDIR": str(self.folder / name)},
            )
        )  # fmt: skip


@pytest.fixture
def workers(bucket: Any, tmp_path: Path) -> Iterator[Workers]:
    """Two workers that share nothing with this process but the bucket and what is read."""
    pytest.importorskip("distributed", reason="the extra dask is not installed")
    (tmp_path / "cluster").mkdir()
    made = Workers(tmp_path / "cluster")
    yield made
    for process in made.started:
        process.kill()
        process.wait()


def _stopping(after: int) -> Callable[[Any], None]:
    heard: list[Any] = []

    def stop(event: Any) -> None:
        if isinstance(event, StageAdvanced) and event.stage == "segment" and event.amount:
            heard.append(event)
            if len(heard) == after:
                raise KeyboardInterrupt

    return stop


def test_one_machine_puts_what_it_writes_into_a_folder(
    remote: SegmentSpec, expected: dict[str, bytes], bucket: Any
) -> None:
    report = segment(remote)
    assert bucket.objects == expected
    assert report.output == f"{bucket.address}/a/b/mask.tif"
    with pytest.raises(OutputError, match="exists already"):
        segment(remote)
    assert segment(replace(remote, overwrite=True)).resumed_px == 0
    assert bucket.objects == expected


def test_workers_without_a_folder_in_common_put_the_same(
    remote: SegmentSpec, expected: dict[str, bytes], bucket: Any, workers: Workers
) -> None:
    segment(replace(remote, engine=Engine.DASK, scheduler=workers.address))
    assert bucket.objects == expected
    left = [p for p in workers.folder.rglob("*") if p.suffix in (".tif", ".parts")]
    assert left == []


def test_a_worker_that_is_killed_is_replaced(
    remote: SegmentSpec, expected: dict[str, bytes], bucket: Any, workers: Workers
) -> None:
    killed: list[int] = []

    def kill(event: Any) -> None:
        if isinstance(event, StageAdvanced) and event.stage == "segment" and event.amount:
            while not killed:
                killed.append(workers.started[-1].pid)
                os.kill(killed[0], signal.SIGKILL)
                workers.add()

    segment(replace(remote, engine=Engine.DASK, scheduler=workers.address), report=kill)
    assert killed
    assert bucket.objects == expected


CLIENT = """
import sys, os, signal, pickle
from geotiler.progress import StageAdvanced
from geotiler.tasks.segment import segment
heard = []
def kill(event):
    if isinstance(event, StageAdvanced) and event.stage == "segment" and event.amount:
        heard.append(event)
        if len(heard) == int(sys.argv[2]):
            os.kill(os.getpid(), signal.SIGKILL)
segment(pickle.load(open(sys.argv[1], "rb")), report=kill)
"""


@pytest.mark.parametrize("engine", list(Engine))
def test_a_killed_client_is_gone_on_from(
    engine: Engine, remote: SegmentSpec, expected: dict[str, bytes], bucket: Any,
    workers: Workers, quick_lock: None, tmp_path: Path,
) -> None:  # fmt: skip
    if engine is Engine.DASK:
        remote = replace(remote, engine=engine, scheduler=workers.address)
    (tmp_path / "spec").write_bytes(pickle.dumps(remote))
    advances = "1" if engine is Engine.DASK else "3"  # as many as leave something to do
    words = [sys.executable, "-c", CLIENT, str(tmp_path / "spec"), advances]
    assert subprocess.run(words, check=False).returncode == -signal.SIGKILL
    keys = bucket.keys
    assert "a/b/mask.tif" not in keys
    assert "a/b/mask.tif.parts/lock" in keys
    assert any(key.startswith("a/b/mask.tif.parts/r0") for key in keys)
    with pytest.raises(OtherRunError, match="threshold"):
        segment(replace(remote, threshold=0.3))
    began = time.monotonic()
    report = segment(remote)
    assert 0 < report.resumed_px < SHAPE[0] * SHAPE[1]
    assert time.monotonic() - began < 120
    assert bucket.objects == expected


def test_what_is_begun_in_a_bucket_is_dropped_with_restart(
    remote: SegmentSpec, expected: dict[str, bytes], bucket: Any
) -> None:
    with pytest.raises(KeyboardInterrupt):
        segment(remote, report=_stopping(5))
    assert "a/b/mask.tif.parts/lock" not in bucket.keys
    assert segment(replace(remote, restart=True)).resumed_px == 0
    assert bucket.objects == expected


def test_a_part_that_is_gone_or_changed_is_computed_again(
    remote: SegmentSpec, expected: dict[str, bytes], bucket: Any
) -> None:
    with pytest.raises(KeyboardInterrupt):
        segment(remote, report=_stopping(9))
    found = bucket.objects
    first, second, *_ = sorted(key for key in found if key.startswith("a/b/mask.tif.parts/r"))
    bucket.ask(f"{bucket.name}/{first}", "DELETE")
    damaged = bytearray(found[second])
    damaged[len(damaged) // 2] ^= 1
    bucket.ask(f"{bucket.name}/{second}", "PUT", bytes(damaged))
    assert 0 < segment(remote).resumed_px < 9 * 48 * SHAPE[1]
    assert bucket.objects == expected


def test_a_part_that_is_changed_at_the_end_is_told_and_computed_again(
    remote: SegmentSpec, expected: dict[str, bytes], bucket: Any
) -> None:
    def damage(event: Any) -> None:
        if isinstance(event, StageStarted) and event.stage == "write":
            key = next(key for key in bucket.keys if key.startswith("a/b/p.tif.parts/r"))
            bucket.ask(f"{bucket.name}/{key}", "PUT", b"nothing of the kind")

    with pytest.raises(OutputError, match="was changed since it was written"):
        segment(remote, report=damage)
    assert 0 < segment(remote).resumed_px < SHAPE[0] * SHAPE[1]
    assert bucket.objects == expected


def test_two_runs_on_one_output_are_one_too_many(
    remote: SegmentSpec, expected: dict[str, bytes], bucket: Any, quick_lock: None
) -> None:
    refused: list[str] = []

    def second(event: Any) -> None:
        if isinstance(event, StageAdvanced) and event.stage == "segment" and not refused:
            with pytest.raises(OutputError, match="another run") as caught:
                segment(remote)
            refused.append(str(caught.value))

    segment(remote, report=second)
    assert str(os.getpid()) in refused[0]
    assert bucket.objects == expected


def test_a_run_whose_place_was_taken_ends(
    remote: SegmentSpec, bucket: Any, quick_lock: None
) -> None:
    heard: list[str] = []

    def taken(event: Any) -> None:
        if isinstance(event, StageAdvanced) and event.stage == "segment":
            bucket.ask(f"{bucket.name}/a/b/mask.tif.parts/lock", "PUT", b"{}")
            time.sleep(1)
        if isinstance(event, Notice):
            heard.append(event.message)

    with pytest.raises(OutputError, match="was taken over by another run"):
        segment(remote, report=taken)
    assert "a/b/mask.tif" not in bucket.keys
    assert "a/b/mask.tif.parts/lock" in bucket.keys, "the lock of the other run was removed"
    assert not any("run the same command again" in message for message in heard)


LOCK = "a/b/mask.tif.parts/lock"
OTHER = b'{"process": 7, "host": "elsewhere", "run": "other"}'


def _take(bucket: Any, key: str = LOCK) -> None:
    """What another run does that has waited for long enough."""
    bucket.ask(f"{bucket.name}/{key}", "PUT", OTHER)


def test_a_place_that_is_taken_while_the_raster_is_made_stays_as_it_is(
    remote: SegmentSpec, bucket: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Parts.assemble

    def slow(parts: Parts, *words: Any, **more: Any) -> None:
        if parts.output.name == "mask.tif":
            _take(bucket)
        made(parts, *words, **more)

    monkeypatch.setattr(Parts, "assemble", slow)
    before: list[str] = []

    def look(event: Any) -> None:
        if isinstance(event, StageStarted) and event.stage == "write":
            before.extend(key for key in bucket.keys if key.startswith("a/b/mask.tif"))

    with pytest.raises(OutputError, match="was taken over by another run") as caught:
        segment(remote, report=look)
    assert caught.value.exit_code == 4
    assert [key for key in bucket.keys if key.startswith("a/b/mask")] == before
    assert bucket.objects[LOCK] == OTHER


def test_a_place_that_is_taken_when_all_is_put_stays_as_it_is(
    remote: SegmentSpec, bucket: Any
) -> None:
    remote = replace(remote, probability=None)

    def taken(event: Any) -> None:
        if isinstance(event, StageFinished) and event.stage == "write":
            _take(bucket)
            left.update(bucket.objects)

    left: dict[str, bytes] = {}
    with pytest.raises(OutputError, match="was taken over by another run"):
        segment(remote, report=taken)
    assert left[LOCK] == OTHER
    assert bucket.objects == left


def test_a_part_of_the_run_that_has_taken_the_place_is_not_removed(
    remote: SegmentSpec, bucket: Any
) -> None:
    keys: list[str] = []

    def taken(event: Any) -> None:
        if isinstance(event, StageStarted) and event.stage == "write":
            keys.append(next(key for key in bucket.keys if key.startswith("a/b/p.tif.parts/r")))
            bucket.ask(f"{bucket.name}/{keys[0]}", "PUT", b"of the other run")
            _take(bucket, "a/b/p.tif.parts/lock")

    with pytest.raises(OutputError, match="was taken over by another run"):
        segment(remote, report=taken)
    assert bucket.objects[keys[0]] == b"of the other run"
    assert "a/b/p.tif" not in bucket.keys


def _holds(bucket: Any) -> Callable[[], ObjectHold]:
    address = f"{bucket.address}/a/b/mask.tif"
    return lambda: ObjectHold(parts_prefix(address), address)


def _beating() -> list[str]:
    return [each.name for each in threading.enumerate() if each.name == "geotiler-lock"]


def test_while_a_sign_of_life_is_under_way_the_lease_runs_out(
    bucket: Any, quick_lock: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not bucket.can_refuse:
        pytest.skip("only our own server can be told to let a request wait")
    slow = {**object_store._PROMPT_CLIENT, "timeout": "5s"}  # longer than the lease of this test
    monkeypatch.setattr(object_store, "_PROMPT_CLIENT", slow)
    held = _holds(bucket)
    first = held()
    bucket.ask("-/stall?/lock")
    try:
        second = held()
        with pytest.raises(OutputError, match="was taken over by another run"):
            first.check()
        bucket.ask(f"{bucket.name}/a/b/mask.tif.parts/r0-c0.tif", "PUT", b"of the second")
        first.remove()
        assert bucket.keys == [LOCK, "a/b/mask.tif.parts/r0-c0.tif"]
        second.check()
    finally:
        bucket.ask("-/stall?")
    second.confirm()
    second.remove()
    assert bucket.keys == []
    assert _beating() == []


@pytest.mark.parametrize("end", ["leave", "remove"])
@pytest.mark.parametrize("is_over", [False, True])
def test_what_another_run_has_taken_just_now_is_not_removed(
    end: str, is_over: bool, bucket: Any
) -> None:
    held = _holds(bucket)
    first = held()
    bucket.ask(f"{bucket.name}/a/b/mask.tif.parts/r0-c0.tif", "PUT", b"a part")
    _take(bucket)
    if is_over:  # the other run has ended by now
        bucket.ask(f"{bucket.name}/{LOCK}", "DELETE")
    left = bucket.objects
    with pytest.raises(OutputError, match="was taken over by another run"):
        first.confirm()
    getattr(first, end)()
    assert bucket.objects == left
    first = held() if is_over else first
    getattr(first, end)()
    getattr(first, end)()
    assert _beating() == []


def test_a_sign_of_life_that_came_late_is_ones_own(bucket: Any, quick_lock: None) -> None:
    if not bucket.can_refuse:
        pytest.skip("only our own server can be told to let a request wait")
    held = _holds(bucket)
    hold = held()
    bucket.ask("-/stall?/lock")
    time.sleep(1.6)  # the put was given up, and comes about all the same
    bucket.ask("-/stall?")
    for _ in range(5):
        time.sleep(0.3)
        hold.check()
    hold.confirm()
    hold.leave()
    assert bucket.keys == []


def test_a_hold_that_fails_is_let_go_of(bucket: Any) -> None:
    if not bucket.can_refuse:
        pytest.skip("only our own server can be told to refuse")
    held = _holds(bucket)
    bucket.ask("-/deny?LIST")
    try:
        with pytest.raises(OutputError, match="refuses it"):
            held()
    finally:
        bucket.ask("-/deny?")
    assert _beating() == []
    assert bucket.keys == []


def test_no_place_stays_held_where_the_next_one_fails(
    remote: SegmentSpec, bucket: Any, quick_lock: None
) -> None:
    if not bucket.can_refuse:
        pytest.skip("only our own server can be told to refuse")
    _take(bucket)  # of a run that is gone

    def deny(event: Any) -> None:
        if isinstance(event, Notice) and "elsewhere" in event.message:
            assert "a/b/p.tif.parts/lock" in bucket.keys
            bucket.ask("-/deny?LIST")

    try:
        with pytest.raises(OutputError, match="refuses it"):
            segment(remote, report=deny)
    finally:
        bucket.ask("-/deny?")
    assert _beating() == []
    assert bucket.keys == []


def test_a_wait_for_a_run_that_may_be_gone_is_told_once(
    remote: SegmentSpec, bucket: Any, quick_lock: None
) -> None:
    _take(bucket)
    heard: list[str] = []

    def hear(event: Any) -> None:
        if isinstance(event, Notice):
            heard.append(event.message)

    segment(remote, report=hear)
    (told,) = [message for message in heard if "another run" in message]
    assert f"{bucket.address}/a/b/mask.tif" in told
    assert "process 7 on elsewhere" in told
    assert "2 s" in told


def test_restart_does_not_wait_for_its_own_lock(remote: SegmentSpec, bucket: Any) -> None:
    if not bucket.can_refuse:
        pytest.skip("only our own server tells what it was asked")

    def looks(spec: SegmentSpec) -> int:
        before = len(json.loads(bucket.ask("-/log")))
        segment(spec)
        asked = json.loads(bucket.ask("-/log"))[before:]
        return asked.count(f"GET /{bucket.name}/a/b/p.tif.parts/lock")

    once = looks(replace(remote, overwrite=True))
    with pytest.raises(KeyboardInterrupt):
        segment(replace(remote, overwrite=True), report=_stopping(5))
    assert looks(replace(remote, overwrite=True, restart=True)) == once


def test_a_style_of_a_person_stays(
    remote: SegmentSpec, expected: dict[str, bytes], bucket: Any
) -> None:
    style = b"<qgis styleCategories='Symbology'><own/></qgis>"
    bucket.ask(f"{bucket.name}/a/b/mask.qml", "PUT", style)
    segment(remote)
    assert bucket.objects == {**expected, "a/b/mask.qml": style}


def test_a_request_for_a_lock_ends_before_its_lease() -> None:
    timeout_s = float(object_store._PROMPT_CLIENT["timeout"].removesuffix("s"))
    retries_s = object_store._PROMPT_RETRIES["retry_timeout"].total_seconds()
    # What it puts, and what it looks for where that was refused.
    assert object_lock._RENEW_S + timeout_s + retries_s < object_lock._LEASE_S


def _run(spec: SegmentSpec, *words: str) -> int:
    return main(
        ["segment", "--model", spec.model, "--tile", "64,96", "--overlap", "16", "--backend",
         "onnx", "--threads", "1", "-q", *words]
    )  # fmt: skip


def test_many_scenes_go_under_one_prefix(
    spec: SegmentSpec, bucket: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    second = tmp_path / "second.tif"
    second.write_bytes(Path(spec.scene).read_bytes())
    scenes = [spec.scene, str(second)]
    (tmp_path / "masks").mkdir()
    assert _run(spec, *scenes, "-o", f"{tmp_path}/masks/") == 0
    wanted = {f"m/{path.name}": path.read_bytes() for path in (tmp_path / "masks").iterdir()}
    assert _run(spec, *scenes, "-o", f"{bucket.address}/m/") == 0
    assert bucket.objects == wanted
    capsys.readouterr()
    assert _run(spec, *scenes, "-o", f"{bucket.address}/m/", "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert said["done_before"] == 2
    assert said["scenes"][0]["output"] == f"{bucket.address}/m/scene_mask.tif"
    # A dry run says what a run would find.
    assert _run(spec, *scenes, "-o", f"{bucket.address}/m/", "--dry-run", "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["done_before"], said["to_do"]) == (2, 0)
    assert _run(spec, *scenes, "-o", f"{bucket.address}/n/", "--dry-run", "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert said["to_do"] == 2
    assert said["scenes"][0]["output"] == f"{bucket.address}/n/scene_mask.tif"
    assert bucket.objects == wanted


@pytest.mark.parametrize("more", [[], ["--dry-run"], ["--json"], ["--json", "--dry-run"]])
def test_an_address_of_many_outputs_is_told_without_what_is_secret(
    more: list[str], spec: SegmentSpec, bucket: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    for place in ("{}/masks?token=Tops3cret", "{}/masks?token=Tops3cret/", "s3://A:Tops3cret@b/m"):
        words = [spec.scene, spec.scene, "-o", place.format(bucket.address), *more]
        assert _run(spec, *words) == 4
        said = "".join(capsys.readouterr())
        assert "holds nothing else" in said
        assert "Tops3cret" not in said
    assert bucket.keys == []


@pytest.mark.parametrize(
    ("place", "told", "code"),
    [
        ("s3://no-such-bucket/a/mask.tif", "there is no bucket 'no-such-bucket'", 4),
        ("{address}/mask.jpg", "no raster format", 2),
        ("s3://AKIATEST:Tops3cret@bucket/mask.tif", "holds nothing else", 4),
        ("{address}/mask.tif?X-Amz-Signature=Tops3cret", "holds nothing else", 4),
        ("s3://bucket", "holds nothing else|no raster format", 2),
    ],
)
def test_a_place_that_is_none_is_one_line(
    place: str, told: str, code: int, spec: SegmentSpec, bucket: Any,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    assert _run(spec, spec.scene, "-o", place.format(address=bucket.address)) == code
    said = capsys.readouterr().err
    assert re.search(told, said), said
    assert len(said.strip().splitlines()) == 1
    assert "Tops3cret" not in said
    assert "AKIATEST" not in said


def test_without_the_right_to_write_it_ends_before_it_computes(
    spec: SegmentSpec, bucket: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    if not bucket.can_refuse:
        pytest.skip("only our own server can be told to refuse")
    bucket.ask("-/deny?PUT")
    try:
        assert _run(spec, spec.scene, "-o", f"{bucket.address}/mask.tif") == 4
    finally:
        bucket.ask("-/deny?")
    said = capsys.readouterr().err
    assert "refuses it" in said
    assert len(said.strip().splitlines()) == 1
    assert bucket.keys == []


def test_a_store_without_conditions_is_refused(remote: SegmentSpec, bucket: Any) -> None:
    if not bucket.can_refuse:
        pytest.skip("only our own server can be told to ignore conditions")
    bucket.ask("-/naive?1")
    try:
        with pytest.raises(OutputError, match="ignores conditional writes"):
            segment(remote)
    finally:
        bucket.ask("-/naive?0")
    assert bucket.keys == []


def test_a_store_that_does_not_answer_is_one_line_soon(
    spec: SegmentSpec, bucket: Any, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    began = time.monotonic()
    assert _run(spec, spec.scene, "-o", "s3://nobody-answers/mask.tif") == 4
    assert time.monotonic() - began < 90
    said = capsys.readouterr().err
    assert "no store answers" in said
    assert len(said.strip().splitlines()) == 1


def test_a_busy_store_is_asked_again(
    remote: SegmentSpec, expected: dict[str, bytes], bucket: Any
) -> None:
    if not bucket.can_refuse:
        pytest.skip("only our own server can be told to refuse")

    def busy(event: Any) -> None:
        if isinstance(event, StageAdvanced) and event.amount:
            bucket.ask("-/refuse?2")

    segment(remote, report=busy)
    bucket.ask("-/refuse?0")
    assert bucket.objects == expected


def test_without_the_extra_it_is_one_line(
    spec: SegmentSpec, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "obstore", None)
    monkeypatch.setitem(sys.modules, "obstore.store", None)
    assert _run(spec, spec.scene, "-o", "s3://bucket-without/mask.tif") == 7
    said = capsys.readouterr().err
    assert 'pip install "geotiler[remote]"' in said
    assert len(said.strip().splitlines()) == 1


def test_mask_and_probability_stay_together(spec: SegmentSpec, bucket: Any) -> None:
    assert _run(spec, spec.scene, "-o", f"{bucket.address}/m.tif", "--probability", "p.tif") == 2


def test_no_key_lies_in_the_bucket(remote: SegmentSpec, bucket: Any) -> None:
    with pytest.raises(KeyboardInterrupt):
        segment(remote, report=_stopping(5))
    texts = bucket.objects
    assert any(b"made_from" in text for text in texts.values())
    segment(remote)
    for text in [*texts.values(), *bucket.objects.values()]:
        assert b"Tops3cret" not in text
        assert b"AKIATEST" not in text
