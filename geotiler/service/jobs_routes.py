"""`POST /batch` and `/jobs`: work that outlives a request."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import anyio.to_thread
from fastapi import APIRouter, Query, Request, Response
from fastapi import Path as InPath
from fastapi.responses import FileResponse, JSONResponse

from geotiler.service.gate import owner_of
from geotiler.service.job_store import DONE, FAILED, FINISHED, RUNNING, Job
from geotiler.service.openapi import BODY_OF_BATCH, NOT_FOUND, PROBLEMS
from geotiler.service.options import BatchQuery, Options, plain_options
from geotiler.service.problems import Problem
from geotiler.service.sources import allowed_source
from geotiler.service.state import State, state_of
from geotiler.service.uploads import harmless_name, received
from geotiler.service.work import MEDIA_TYPES

_LARGEST_LIST_BYTES = 1_000_000

router = APIRouter(tags=["jobs"])

JobId = Annotated[str, InPath(pattern=r"^[0-9a-f]{32}$", description="As /batch answered.")]


@router.post(
    "/batch",
    status_code=202,
    summary="Segment many scenes, or a large one, as a job",
    responses={202: {"description": "The job; ask for it at its Location."}, **PROBLEMS},
    openapi_extra={"requestBody": BODY_OF_BATCH},
)
async def batch(
    request: Request,
    query: Annotated[BatchQuery, Query()],
) -> Response:
    """Queue a job: files in a form, one file as the body, or a JSON list of scenes.

    Scenes in a list are paths or URLs, and must lie below a place that the operator allowed.
    """
    state, options = state_of(request), plain_options(query)
    model = options.model or state.settings.model
    state.bench.check_model(model)
    request.scope["state"]["model"] = model
    await anyio.to_thread.run_sync(state.jobs.check_room)
    job_id = state.jobs.store.new_id()
    folder = state.jobs.folder_of(job_id)
    async with state.slots.admission():
        try:
            scenes = await _scenes(request, state, folder, query, options)
            folder.mkdir(exist_ok=True)
            job = await anyio.to_thread.run_sync(
                state.jobs.submit,
                job_id,
                owner_of(request),
                options,
                scenes,
                query.pictures,
            )
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
    return JSONResponse(job_document(job), 202, headers={"Location": f"/jobs/{job_id}"})


async def _scenes(
    request: Request, state: State, folder: Path, query: BatchQuery, options: Options
) -> list[tuple[str, str]]:
    """(name, what to open) of each scene.

    Uploads are looked at while their caller listens; a scene that is named may be far away.

    Raises:
        Problem: as `received`, as `Workbench.looked_at`, as `allowed_source`.
    """
    most = state.settings.batch_files
    if not request.headers.get("content-type", "").lower().startswith("application/json"):
        folder.mkdir()
        uploads = await received(request, folder, most_files=most, name=query.name)
        for upload in uploads:
            await anyio.to_thread.run_sync(
                state.bench.looked_at, upload, options, limiter=state.readers
            )
        return [(upload.name, str(upload.path)) for upload in uploads]
    names = await _listed(request)
    if len(names) > most:
        raise Problem(422, f"{len(names)} scenes, more than the {most} of one job")
    allow = state.settings.allow
    sources = [await anyio.to_thread.run_sync(allowed_source, item, allow) for item in names]
    return [(harmless_name(source), source) for source in sources]


async def _listed(request: Request) -> list[str]:
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > _LARGEST_LIST_BYTES:
            raise Problem(413, "the list of scenes is larger than 1 MB")
    try:
        content = json.loads(body)
        names = content["scenes"]
        fits = isinstance(names, list) and names and all(isinstance(item, str) for item in names)
        if not fits or content.keys() != {"scenes"}:
            raise ValueError
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise Problem(422, 'expected {"scenes": ["path or URL", ...]}') from None
    return [str(item) for item in names]


@router.get("/jobs", summary="Your newest jobs", responses={401: PROBLEMS[401]})
def jobs(request: Request) -> dict[str, Any]:
    """The newest 100 jobs of the caller's key."""
    found = state_of(request).jobs.store.of_owner(owner_of(request))
    return {"jobs": [job_document(job) for job in found]}


@router.get("/jobs/{job_id}", summary="A job and its progress", responses=NOT_FOUND)
def job(request: Request, job_id: JobId) -> dict[str, Any]:
    """State, progress from 0 to 1, and links to the results that are there."""
    return job_document(_own(request, job_id))


@router.delete("/jobs/{job_id}", summary="Cancel or remove a job", responses=NOT_FOUND)
def cancel(request: Request, job_id: JobId) -> dict[str, Any]:
    """A queued or running job is cancelled; a finished one is removed with its results."""
    found = _own(request, job_id)
    running = state_of(request).jobs
    if found["state"] in FINISHED:
        running.forget(job_id)
        return {"id": job_id, "state": "removed"}
    running.cancel(job_id)
    return job_document(running.store.get(job_id) or found)


@router.get(
    "/jobs/{job_id}/scenes/{scene}/{file}",
    summary="A result",
    response_class=FileResponse,
    responses={
        **NOT_FOUND,
        200: {"description": "The file.", "content": {kind: {} for kind in MEDIA_TYPES.values()}},
    },
)
def result(
    request: Request,
    job_id: JobId,
    scene: Annotated[int, InPath(ge=0, le=1_000_000)],
    file: Annotated[str, InPath(max_length=40)],
) -> FileResponse:
    """One file of one scene, as the job's document links to it."""
    found = _own(request, job_id)
    path = state_of(request).jobs.folder_of(job_id) / "out" / str(scene) / file
    known = scene < len(found["scenes"]) and file in MEDIA_TYPES
    if not known or found["scenes"][scene]["state"] != "done" or not path.is_file():
        raise Problem(404, "there is no such file")
    stem = Path(found["scenes"][scene]["name"]).stem
    return FileResponse(path, media_type=MEDIA_TYPES[file], filename=f"{stem}-{file}")


def _own(request: Request, job_id: str) -> Job:
    """A job of the caller's. Raises: Problem: 404, also where it is another's."""
    found = state_of(request).jobs.store.get(job_id, owner_of(request))
    if found is None:
        raise Problem(404, f"there is no job {job_id}")
    return found


def job_document(job: Job) -> dict[str, Any]:
    """A job as its caller sees it: no paths of this machine, links instead."""
    scenes = []
    for index, scene in enumerate(job["scenes"]):
        shown = {key: value for key, value in scene.items() if key != "source"}
        if scene["state"] not in (DONE, FAILED) and job["state"] != RUNNING:
            shown["state"] = job["state"]  # it ended, or waits again, without a word of its scenes
        if scene["state"] == "done":
            has_map = "map" in scene
            shown["results"] = [
                {"name": name, "href": f"/jobs/{job['id']}/scenes/{index}/{name}",
                 "media_type": media_type}
                for name, media_type in MEDIA_TYPES.items()
                if name != "mask.png" and (has_map or not name.endswith("-map.png"))
            ]  # fmt: skip
        scenes.append(shown)
    times = {key: _iso(job[f"{key}_s"]) for key in ("created", "started", "finished")}
    return {
        "id": job["id"],
        "state": job["state"],
        "progress": round(job["progress"], 4),
        "stage": job["stage"],
        **times,
        "options": job["request"]["options"],
        "scenes": scenes,
        "error": job["error"],
        "href": f"/jobs/{job['id']}",
    }


def _iso(seconds: float | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat()
