"""`POST /predict`: one scene in the body, its mask or its footprints in the answer."""

from __future__ import annotations

import asyncio
import base64
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

import anyio.to_thread
from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import JSONResponse, Response

from geotiler.models.bundle import Bundle
from geotiler.service.gate import owner_of
from geotiler.service.job_store import Job
from geotiler.service.jobs_routes import job_document
from geotiler.service.negotiation import preferred
from geotiler.service.openapi import BODY_OF_PREDICT, PROBLEMS
from geotiler.service.options import ClassifyQuery, Options, PredictQuery, plain_options
from geotiler.service.problems import Problem
from geotiler.service.state import State, state_of
from geotiler.service.uploads import Upload, received, scratch_folder, without_paths
from geotiler.service.work import FEATURES, MASK, MASK_PNG, Watch, public_report

JSON, TIFF, PNG, GEOJSON = "application/json", "image/tiff", "image/png", "application/geo+json"
OFFERED = (JSON, TIFF, PNG, GEOJSON)

router = APIRouter(tags=["predict"])


@router.post(
    "/predict",
    summary="Segment one image",
    responses={
        200: {
            "description": "JSON with the mask as a PNG in base64 and the areas of the classes; "
            "or, by Accept, the mask as GeoTIFF or PNG, or its polygons as GeoJSON.",
            "content": {JSON: {}, TIFF: {}, PNG: {}, GEOJSON: {}},
        },
        202: {"description": "The scene is large: a job, to be asked for at its Location."},
        **PROBLEMS,
    },
    openapi_extra={"requestBody": BODY_OF_PREDICT},
)
async def predict(
    request: Request,
    query: Annotated[PredictQuery, Query()],
    accept: Annotated[str | None, Header(include_in_schema=False)] = None,
) -> Response:
    """Segment an image or GeoTIFF, and answer when it is done.

    The body is the file itself, or a form with a part named `file`. A scene with more pixels than
    the service answers at once becomes a job, as does any with the header
    `Prefer: respond-async`.
    """
    state, options = state_of(request), plain_options(query)
    media_type = preferred(accept, OFFERED)
    model = options.model or state.settings.model
    state.bench.check_model(model)
    request.scope["state"]["model"] = model
    async with state.slots.admission(), _in_time(state.settings.time_s):
        with scratch_folder(state.requests) as folder:
            (upload,) = await received(request, folder, most_files=1, name=query.name)
            facts = await anyio.to_thread.run_sync(
                state.bench.looked_at, upload, options, limiter=state.readers
            )
            prefers_job = "respond-async" in request.headers.get("prefer", "").lower()
            if prefers_job or facts.pixels > state.settings.predict_px:
                job = await anyio.to_thread.run_sync(
                    _as_job, state, owner_of(request), options, folder, upload
                )
                where = {"Location": f"/jobs/{job['id']}"}
                return JSONResponse(job_document(job), 202, headers=where)
            async with state.slots.turn():
                return await anyio.to_thread.run_sync(
                    _answer, state, upload, folder, options, media_type, limiter=state.threads
                )


@router.post(
    "/classify",
    summary="Say what one image shows",
    responses={200: {"description": "The likeliest class and all probabilities."}, **PROBLEMS},
    openapi_extra={"requestBody": BODY_OF_PREDICT},
)
async def classify(request: Request, query: Annotated[ClassifyQuery, Query()]) -> dict[str, Any]:
    """The predicted class of an image, the probability of every class, and the likeliest few.

    The image is resized to the model's tile: it is taken to show one thing.
    """
    state = state_of(request)
    model = query.model or state.settings.classifier
    state.bench.check_model(model, "classification")
    request.scope["state"]["model"] = model
    async with state.slots.admission(), _in_time(state.settings.time_s):
        with scratch_folder(state.requests) as folder:
            (upload,) = await received(request, folder, most_files=1, name=query.name)
            async with state.slots.turn():
                return await anyio.to_thread.run_sync(
                    _label, state, upload, query, limiter=state.threads
                )


def _label(state: State, upload: Upload, query: ClassifyQuery) -> dict[str, Any]:
    watch = Watch(state.settings.time_s, hidden=upload.hidden)
    with without_paths(upload):
        state.bench.check_image(upload)
        label = state.bench.classified(str(upload.path), query, watch).as_dict()
    return {**label, "image": upload.name, "notices": watch.notices}


@asynccontextmanager
async def _in_time(seconds: float) -> AsyncIterator[None]:
    """Raises: Problem: 503, the block took longer, most likely for its upload or its turn."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise Problem(
            503, f"no answer within {seconds:g} s", headers={"Retry-After": "60"}
        ) from None


def _as_job(state: State, owner: str, options: Options, folder: Path, upload: Upload) -> Job:
    """A job that the upload is handed over to."""
    state.jobs.check_room()
    job_id = state.jobs.store.new_id()
    place = state.jobs.folder_of(job_id)
    source = place / upload.path.relative_to(folder)
    shutil.move(folder, place)
    folder.mkdir()  # what is left of it is removed by whoever made it
    return state.jobs.submit(job_id, owner, options, [(upload.name, str(source))], False)


def _answer(
    state: State, upload: Upload, folder: Path, options: Options, media_type: str
) -> Response:
    """The response for a scene; whatever it needs from the folder is in memory."""
    watch = Watch(state.settings.time_s, hidden=upload.hidden)
    bench, scene = state.bench, str(upload.path)
    with without_paths(upload):
        wants_png = media_type in (JSON, PNG)
        mask = folder / (MASK_PNG if wants_png else MASK)
        report = bench.segmented(scene, mask, options, watch)
        notices = {"X-Geotiler-Notices": str(len(watch.notices))} if watch.notices else {}
        if media_type == GEOJSON:
            features = folder / FEATURES
            bench.vectorized(mask, features, options, watch)
            return Response(features.read_bytes(), media_type=GEOJSON, headers=notices)
        if media_type != JSON:
            return Response(mask.read_bytes(), media_type=media_type, headers=notices)
    name = options.model or state.settings.model
    content = {
        "name": upload.name,
        "model": name,
        "classes": classes_of(bench.shelf.bundles[name]),
        "mask": base64.b64encode(mask.read_bytes()).decode("ascii"),
        "mask_media_type": PNG,
        **public_report(report),
        "notices": watch.notices,
    }
    return JSONResponse(content)


def classes_of(bundle: Bundle) -> list[dict[str, Any]]:
    """The classes of a model's masks, background included."""
    card = bundle.card
    classes = [{"id": item.id, "name": item.name, "color": item.color} for item in card.classes]
    if card.activation == "sigmoid":
        classes.insert(0, {"id": 0, "name": "background", "color": "#f2f2ee"})
    return classes
