"""Jobs are done once, in order, can be cancelled, and survive the process."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from geotiler.models.bundle import Bundle
from geotiler.service.job_store import (
    CANCELLED,
    DONE,
    FAILED,
    QUEUED,
    RUNNING,
    JobStore,
)
from geotiler.service.jobs import MOST_ATTEMPTS, Jobs
from geotiler.service.jobs_routes import job_document
from geotiler.service.options import Options
from geotiler.service.work import Watch, Workbench

from .conftest import left_behind, wait

MakeService = Callable[..., TestClient]


@pytest.fixture
def store(tmp_path: Path) -> JobStore:
    return JobStore(tmp_path / "jobs.sqlite")


def _add(store: JobStore, job_id: str = "a" * 32, owner: str = "") -> None:
    store.add(job_id, owner, {"options": {}, "pictures": False}, [{"name": "s", "state": QUEUED}])


def test_each_job_is_taken_once_and_in_order(store: JobStore) -> None:
    ids = [f"{index:032x}" for index in range(20)]
    for job_id in ids:
        _add(store, job_id)
    taken: list[str] = []
    lock = threading.Lock()

    def take() -> None:
        while store.counts()[QUEUED]:
            job = store.take_next()
            if job is not None:
                with lock:
                    taken.append(job["id"])

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == ids
    assert store.counts()[RUNNING] == 20


def test_what_was_running_is_queued_again_but_not_for_ever(store: JobStore) -> None:
    _add(store)
    for _ in range(MOST_ATTEMPTS):
        assert store.take_next() is not None
        store.requeue_interrupted(MOST_ATTEMPTS)
    assert store.take_next() is None
    job = store.get("a" * 32)
    assert job is not None
    assert job["state"] == FAILED
    assert job["error"]


def test_only_its_owner_sees_a_job(store: JobStore) -> None:
    _add(store, owner="one")
    assert store.get("a" * 32, "one") is not None
    assert store.get("a" * 32, "other") is None
    assert store.of_owner("other") == []


def test_finished_jobs_are_forgotten_after_a_while(store: JobStore) -> None:
    _add(store, "a" * 32)
    _add(store, "b" * 32)
    store.change("a" * 32, state=DONE, finished_s=100.0)
    assert store.remove_finished(99.0) == []
    assert store.remove_finished(101.0) == ["a" * 32]
    assert store.ids() == {"b" * 32}


def test_a_list_of_scenes_is_a_job_with_links(
    make_service: MakeService, scene: Path, tmp_path: Path
) -> None:
    service = make_service(allow=(str(scene.parent),))
    answer = service.post("/batch?pictures=true", json={"scenes": [str(scene)] * 2})
    assert answer.status_code == 202
    job = wait(service, answer.headers["Location"])
    assert job["state"] == "done"
    assert job["progress"] == 1.0
    assert str(scene.parent) not in json.dumps(job)
    for one in job["scenes"]:
        names = {item["name"] for item in one["results"]}
        assert names == {"mask.tif", "features.geojson", "scene-map.png", "mask-map.png"}
        for item in one["results"]:
            got = service.get(item["href"])
            assert got.status_code == 200
            assert got.headers["content-type"].startswith(item["media_type"])
        west, south, east, north = one["map"]["bounds_deg"]
        assert -180 < west < east < 180
        assert -90 < south < north < 90
    assert service.get("/jobs").json()["jobs"][0]["id"] == job["id"]
    assert service.delete(job["href"]).json()["state"] == "removed"
    assert service.get(job["href"]).status_code == 404
    assert left_behind(tmp_path / "serve") == []
    assert scene.is_file()  # a scene that was only named is not ours to remove


def test_results_are_files_of_the_job_and_no_others(service: TestClient, scene: Path) -> None:
    made = service.post("/batch", files={"file": scene.read_bytes()})
    job = wait(service, made.headers["Location"])
    for wrong in (
        "scenes/0/jobs.sqlite",
        "scenes/1/mask.tif",
        "scenes/0/..%2f..%2f..%2fjobs.sqlite",
        "scenes/-1/mask.tif",
        "scenes/0/mask-map.png",
    ):
        assert service.get(f"{job['href']}/{wrong}").status_code in (404, 422)
    assert service.get("/jobs/" + "0" * 32).status_code == 404
    assert service.get("/jobs/" + "g" * 32).status_code == 422


def test_a_job_can_be_cancelled_before_and_while_it_runs(
    make_service: MakeService, tmp_path: Path
) -> None:
    from geotiler.specs import RenderSpec
    from geotiler.tasks.render import render

    large = tmp_path / "large.tif"
    render(RenderSpec(output=large, height=1500, width=1500, seed=1))
    service = make_service(allow=(str(tmp_path),))
    first, second = (
        service.post("/batch", json={"scenes": [str(large)] * 20}).headers["Location"]
        for _ in range(2)
    )
    while service.get(first).json()["state"] == "queued":
        time.sleep(0.02)
    assert service.get(second).json()["state"] == "queued"
    assert service.delete(second).json()["state"] == "cancelled"
    service.delete(first)
    assert wait(service, first)["state"] == "cancelled"
    assert wait(service, second)["state"] == "cancelled"
    assert left_behind(tmp_path / "serve") == []


def test_a_scene_that_is_worked_on_says_so(
    make_service: MakeService, scene: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the job runs, and no longer once it was cancelled."""
    entered, go_on = threading.Event(), threading.Event()
    real = Workbench.segmented

    def held(self: Workbench, scene: str, output: Path, options: Options, watch: Watch) -> Any:
        entered.set()
        assert go_on.wait(60)
        return real(self, scene, output, options, watch)

    monkeypatch.setattr(Workbench, "segmented", held)
    service = make_service(allow=(str(scene.parent),))
    href = service.post("/batch", json={"scenes": [str(scene)] * 2}).headers["Location"]
    assert entered.wait(60)
    job = service.get(href).json()
    assert job["state"] == "running"
    assert [one["state"] for one in job["scenes"]] == ["running", "queued"]
    service.delete(href)
    go_on.set()
    job = wait(service, href)
    assert job["state"] == "cancelled"
    assert [one["state"] for one in job["scenes"]] == ["cancelled", "cancelled"]


def test_scenes_of_a_job_that_waits_again_wait_too(store: JobStore) -> None:
    scenes = [{"name": name, "state": state} for name, state in (("a", DONE), ("b", RUNNING))]
    store.add("a" * 32, "", {"options": {}, "pictures": False}, scenes)
    store.take_next()
    store.requeue_interrupted(MOST_ATTEMPTS)
    job = store.get("a" * 32)
    assert job is not None
    assert [one["state"] for one in job_document(job)["scenes"]] == [DONE, QUEUED]


def test_more_jobs_than_may_wait_are_told_to_come_back(
    make_service: MakeService, scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever way they come, with nothing left of what they brought; one less makes room."""
    monkeypatch.setattr(Jobs, "start", lambda self: None)  # nobody takes what waits
    service = make_service(jobs_queued=2)
    files = {"file": scene.read_bytes()}
    hrefs = [service.post("/batch", files=files).headers["Location"] for _ in range(2)]
    kept = left_behind(tmp_path / "serve")
    assert len(kept) == 2
    for route, headers in (("/batch", {}), ("/predict", {"Prefer": "respond-async"})):
        answer = service.post(route, files=files, headers=headers)
        assert answer.status_code == 429
        assert int(answer.headers["Retry-After"]) > 0
        assert answer.json()["detail"].startswith("2 jobs are queued already")
    assert left_behind(tmp_path / "serve") == kept
    assert len(service.get("/jobs").json()["jobs"]) == 2
    assert service.delete(hrefs[0]).json()["state"] == "cancelled"
    assert service.post("/batch", files=files).status_code == 202


def test_an_orderly_stop_costs_no_attempt(
    make_service: MakeService, tiny_bundle: Bundle, scene: Path, tmp_path: Path
) -> None:
    """The second service does what the first one left queued."""
    from geotiler.service.app import create_app
    from geotiler.service.settings import Settings

    settings = Settings(
        weights=tiny_bundle.folder.parent, model="tiny", folder=tmp_path / "serve",
        allow=(str(scene.parent),),
    )  # fmt: skip
    with TestClient(create_app(settings), base_url="http://localhost") as service:
        href = service.post("/batch", json={"scenes": [str(scene)] * 30}).headers["Location"]
        while service.get(href).json()["progress"] == 0:
            time.sleep(0.02)
    store = JobStore(tmp_path / "serve" / "jobs.sqlite")
    left = store.get(href.rpartition("/")[2])
    store.close()
    assert left is not None
    assert (left["state"], left["attempts"]) == (QUEUED, 0)
    done = [one["state"] for one in left["scenes"]].count(DONE)
    service = make_service(allow=(str(scene.parent),))
    job = wait(service, href)
    assert job["state"] == "done"
    assert all(one["state"] == "done" for one in job["scenes"])
    assert done < 30


def _start(tmp_path: Path, weights: Path, port: int, **environment: str) -> subprocess.Popen[bytes]:
    code = "from geotiler.cli.main import run; run()"
    words = ["serve", "--port", str(port), "--folder", str(tmp_path / "serve"), "--model", "tiny"]
    words += ["--weights", str(weights), "--allow", str(tmp_path)]
    with (tmp_path / "log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-c", code, *words], env={**os.environ, **environment}, stderr=log
        )


def _ask(port: int, path: str, content: bytes | None = None, method: str = "GET") -> dict[str, Any]:
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}{path}", content, headers, method=method
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        found: dict[str, Any] = json.load(answer)
        return found


def _until_ready(port: int, process: subprocess.Popen[bytes]) -> None:
    for _ in range(600):
        assert process.poll() is None
        try:
            if _ask(port, "/readyz")["status"] == "ready":
                return
        except OSError:
            time.sleep(0.2)
    raise AssertionError("the service does not become ready")


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_jobs_survive_a_kill(tiny_bundle: Bundle, scene: Path, tmp_path: Path) -> None:
    """kill -9 in the middle of a job; the next process ends it, with the same bytes."""
    (tmp_path / "town.tif").write_bytes(scene.read_bytes())
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    body = json.dumps({"scenes": [str(tmp_path / "town.tif")] * 60}).encode()
    process = _start(tmp_path, tiny_bundle.folder.parent, port)
    try:
        _until_ready(port, process)
        job = _ask(port, "/batch", body, "POST")
        while not 0 < (seen := _ask(port, job["href"]))["progress"] < 1:
            assert seen["state"] in ("queued", "running")
            time.sleep(0.05)
        process.kill()
        process.wait()
        process = _start(tmp_path, tiny_bundle.folder.parent, port)
        _until_ready(port, process)
        while (seen := _ask(port, job["href"]))["state"] in ("queued", "running"):
            time.sleep(0.1)
        assert seen["state"] == "done"
        masks = {
            path.read_bytes() for path in (tmp_path / "serve" / "jobs").rglob("out/*/mask.tif")
        }
        assert len(masks) == 1
        process.send_signal(signal.SIGHUP)  # reads the models again, and goes on serving
        time.sleep(0.5)
        assert _ask(port, "/readyz")["status"] == "ready"
        process.terminate()
        assert process.wait(60) in (0, -signal.SIGTERM)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def test_two_services_do_not_share_a_folder(make_service: MakeService, service: TestClient) -> None:
    from geotiler.errors import OutputError

    with pytest.raises(OutputError, match="in use"):
        make_service()


def test_states_are_all_known(store: JobStore) -> None:
    assert set(store.counts()) == {QUEUED, RUNNING, DONE, FAILED, CANCELLED}
