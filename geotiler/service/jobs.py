"""Jobs: scenes that take longer than anybody waits for an answer."""

from __future__ import annotations

import logging
import shutil
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from geotiler.errors import GeotilerError
from geotiler.service.job_store import (
    CANCELLED,
    DONE,
    FAILED,
    FINISHED,
    QUEUED,
    RUNNING,
    Job,
    JobStore,
)
from geotiler.service.logs import LOGGER
from geotiler.service.options import Options
from geotiler.service.problems import Problem, problem_of
from geotiler.service.work import FEATURES, MASK, Stopped, Watch, Workbench, public_report

MOST_ATTEMPTS = 3
_TELL_EVERY_S = 0.5
_LOOK_EVERY_S = 60.0

_log = logging.getLogger(f"{LOGGER}.jobs")


class Jobs:
    """Runs jobs in threads, in the order in which they came, and keeps their results."""

    def __init__(self, bench: Workbench, folder: Path) -> None:
        """Args: folder: for the table and the jobs' files; nobody else may use it meanwhile."""
        self.store = JobStore(folder / "jobs.sqlite")
        self._bench = bench
        self._folder = folder / "jobs"
        self._folder.mkdir(parents=True, exist_ok=True)
        self._stops: dict[str, threading.Event] = {}
        self._lock = threading.Lock()
        self._wake = threading.Condition()
        self._is_ending = False
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Go on with what an earlier process left, and begin to work."""
        for job_id in self.store.requeue_interrupted(MOST_ATTEMPTS):
            _log.info("job goes on", extra={"job": job_id})
        known = self.store.ids()
        for orphan in self._folder.iterdir():
            if orphan.name not in known:
                shutil.rmtree(orphan, ignore_errors=True)
        for index in range(self._bench.settings.jobs_at_once):
            thread = threading.Thread(target=self._work, name=f"geotiler-job-{index}", daemon=True)
            thread.start()
            self._threads.append(thread)

    def stop(self) -> None:
        """Interrupt what runs; the next process goes on with it."""
        with self._wake:
            self._is_ending = True
            self._wake.notify_all()
        with self._lock:
            for stop in self._stops.values():
                stop.set()
        for thread in self._threads:
            thread.join()
        self.store.close()

    def folder_of(self, job_id: str) -> Path:
        """Where a job's uploads and results lie."""
        return self._folder / job_id

    def check_room(self) -> None:
        """Raises: Problem: 429, as many jobs are queued as the service takes."""
        queued = int(self.store.counts()[QUEUED])
        if queued >= self._bench.settings.jobs_queued:
            raise Problem(
                429, f"{queued} jobs are queued already: come back later",
                headers={"Retry-After": "60"},
            )  # fmt: skip

    def submit(
        self,
        job_id: str,
        owner: str,
        options: Options,
        scenes: Sequence[tuple[str, str]],
        pictures: bool,
    ) -> Job:
        """Queue a job. Args: scenes: (name, what to open) of each."""
        request = {"options": options.model_dump(exclude_none=True), "pictures": pictures}
        rows = [{"name": name, "source": source, "state": QUEUED} for name, source in scenes]
        job = self.store.add(job_id, owner, request, rows)
        with self._wake:
            self._wake.notify()
        return job

    def cancel(self, job_id: str) -> None:
        """End a job that is queued or running."""
        if self.store.change(job_id, only_if=(QUEUED,), state=CANCELLED):
            shutil.rmtree(self.folder_of(job_id), ignore_errors=True)
            return
        with self._lock:
            stop = self._stops.get(job_id)
        if stop is not None:
            stop.set()

    def forget(self, job_id: str) -> None:
        """Remove a finished job and its files."""
        self.store.remove(job_id)
        shutil.rmtree(self.folder_of(job_id), ignore_errors=True)

    def _work(self) -> None:
        last_look = 0.0
        while True:
            with self._wake:
                if self._is_ending:
                    return
            if time.monotonic() - last_look > _LOOK_EVERY_S:
                last_look = time.monotonic()
                self._remove_old()
            job = self.store.take_next()
            if job is not None:
                self._run(job)
                continue
            with self._wake:
                if not self._is_ending:
                    self._wake.wait(timeout=1.0)

    def _remove_old(self) -> None:
        keep_s = self._bench.settings.keep_results_s
        for job_id in self.store.remove_finished(time.time() - keep_s):
            shutil.rmtree(self.folder_of(job_id), ignore_errors=True)

    def _run(self, job: Job) -> None:
        """One job from the first scene that is not done to its last."""
        job_id = job["id"]
        stop = threading.Event()
        with self._lock:
            self._stops[job_id] = stop
            if self._is_ending:
                stop.set()
        try:
            self._run_scenes(job, stop)
        except Stopped:
            with self._wake:
                ending = self._is_ending
            if ending:  # not the job's fault: this attempt does not count
                self.store.change(job_id, state=QUEUED, attempts=job["attempts"] - 1)
                return
            shutil.rmtree(self.folder_of(job_id), ignore_errors=True)
            self.store.change(job_id, state=CANCELLED, stage="")
        except Exception:
            _log.exception("a defect of geotiler", extra={"job": job_id})
            error = {"detail": "a defect of geotiler; its operator finds more in the log"}
            self.store.change(job_id, state=FAILED, error=error)
        finally:
            with self._lock:
                del self._stops[job_id]
        ended = self.store.get(job_id)
        if ended is not None and ended["state"] in FINISHED:
            self._bench.metrics.jobs_finished.labels(ended["state"]).inc()
            _log.info("job ended", extra={"job": job_id, "state": ended["state"]})

    def _run_scenes(self, job: Job, stop: threading.Event) -> None:
        scenes: list[dict[str, Any]] = job["scenes"]
        options = Options(**job["request"]["options"])
        deadline = time.monotonic() + self._bench.settings.job_time_s
        for index, scene in enumerate(scenes):
            if scene["state"] in (DONE, FAILED):  # by an earlier process
                continue
            scene["state"] = RUNNING
            self.store.change(job["id"], scenes=scenes)
            watch = Watch(
                max(0.0, deadline - time.monotonic()),
                stop=stop,
                hear=self._teller(job["id"], index, len(scenes)),
                hidden=self._hidden(job["id"], scene),
            )
            try:
                found = self._one(job, index, options, watch)
                scene.update(state=DONE, **found)
            except GeotilerError as error:
                problem = problem_of(error, self._hidden(job["id"], scene))
                scene.update(state=FAILED, error=_told(problem))
            except Problem as problem:
                scene.update(state=FAILED, error=_told(problem))
            self.store.change(job["id"], scenes=scenes, progress=(index + 1) / len(scenes))
            self._drop_upload(job["id"], index)
        failed = [scene for scene in scenes if scene["state"] == FAILED]
        self.store.change(
            job["id"],
            state=FAILED if failed else DONE,
            stage="",
            error=failed[0]["error"] if failed else None,
        )

    def _one(self, job: Job, index: int, options: Options, watch: Watch) -> dict[str, Any]:
        source = job["scenes"][index]["source"]
        folder = self.folder_of(job["id"]) / "out" / str(index)
        folder.mkdir(parents=True, exist_ok=True)
        self._bench.facts(source)
        segmented = self._bench.segmented(source, folder / MASK, options, watch)
        vectorized = self._bench.vectorized(folder / MASK, folder / FEATURES, options, watch)
        found = {
            "segment": public_report(segmented),
            "vectorize": public_report(vectorized),
            "notices": watch.notices,
        }
        if job["request"]["pictures"]:
            found["map"] = self._bench.pictures(source, folder)
        return found

    def _hidden(self, job_id: str, scene: dict[str, Any]) -> dict[str, str]:
        """Paths of this machine → what stands in for them in messages."""
        return {scene["source"]: scene["name"], f"{self.folder_of(job_id)}": "the job's folder"}

    def _drop_upload(self, job_id: str, index: int) -> None:
        """An upload is not needed any more once its scene is done or has failed."""
        shutil.rmtree(self.folder_of(job_id) / "in" / str(index), ignore_errors=True)

    def _teller(self, job_id: str, index: int, count: int) -> Any:
        last = 0.0

        def hear(stage: str, share: float) -> None:
            nonlocal last
            now = time.monotonic()
            if now - last >= _TELL_EVERY_S:
                last = now
                self.store.change(job_id, progress=(index + share) / count, stage=stage)

        return hear


def _told(problem: Problem) -> dict[str, Any]:
    return {"detail": problem.detail, **problem.more}
