"""How the service is, what it offers, and its page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio.to_thread
from fastapi import APIRouter, Request, Response
from fastapi.openapi.docs import get_redoc_html, get_swagger_ui_html
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from geotiler.service.openapi import PROBLEMS
from geotiler.service.predict_routes import classes_of
from geotiler.service.shelf import Reloaded
from geotiler.service.state import State, state_of

PAGE = Path(__file__).parent / "page"
VENDOR = PAGE / "vendor"
"""Leaflet, Swagger UI and Redoc, fetched when geotiler is built; in a checkout by `make map`."""

router = APIRouter(tags=["operation"])


@router.get("/healthz", summary="Is the process alive?")
async def healthz() -> dict[str, str]:
    """Answers as long as the event loop turns."""
    return {"status": "alive"}


@router.get(
    "/readyz", summary="Will it take a request?", responses={503: {"description": "Not yet."}}
)
def readyz(request: Request) -> JSONResponse:
    """Ready when models are loaded and the table of jobs answers."""
    state = state_of(request)
    state.jobs.store.counts()
    ready = bool(state.shelf.bundles)
    return JSONResponse({"status": "ready" if ready else "no model"}, 200 if ready else 503)


@router.get("/metrics", summary="For Prometheus", response_class=Response)
def metrics(request: Request) -> Response:
    """All metrics in Prometheus' text format."""
    content = generate_latest(state_of(request).metrics.registry)
    return Response(content, media_type=CONTENT_TYPE_LATEST)


@router.get("/models", summary="The models that may be chosen", responses={401: PROBLEMS[401]})
def models(request: Request) -> dict[str, Any]:
    """Name, classes, resolution, scores and licence of each model."""
    state = state_of(request)
    return {
        "default": state.settings.model,
        "models": [_described(name, state) for name in sorted(state.shelf.bundles)],
    }


def _described(name: str, state: State) -> dict[str, Any]:
    bundle = state.shelf.bundles[name]
    card = bundle.card
    return {
        "name": name,
        "version": card.version,
        "task": card.task,
        "description": card.description,
        "bands": list(card.bands),
        "gsd_m": card.gsd_m,
        "classes": classes_of(bundle),
        "threshold": card.threshold if card.activation == "sigmoid" else None,
        "metrics": [
            {"name": item.name, "value": item.value, "data": item.data, "how": item.how}
            for item in card.metrics
        ],
        "licence": card.licence,
        "digest": bundle.digest,
    }


@router.post("/models/reload", summary="Read the models again", responses={401: PROBLEMS[401]})
async def reload(request: Request) -> dict[str, Any]:
    """Offer what is in the weights folder now; requests that run keep what they have."""
    done: Reloaded = await anyio.to_thread.run_sync(state_of(request).shelf.reload)
    hidden = str(state_of(request).shelf.folder)
    refused = {name: why.replace(f"{hidden}/", "") for name, why in done.refused.items()}
    return {
        "models": done.models,
        "changed": list(done.changed),
        "removed": list(done.removed),
        "refused": refused,
    }


@router.get("/", include_in_schema=False)
def page() -> FileResponse:
    """The page: drop a scene, look at what was found."""
    return FileResponse(PAGE / "index.html", headers={"Content-Security-Policy": _POLICY})


_POLICY = "default-src 'self'; img-src 'self' data: blob:; style-src 'self' 'unsafe-inline'"
_POLICY_OF_DOCS = (
    "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; "
    "script-src 'self' 'unsafe-inline'; worker-src 'self' blob:"
)
"""Redoc would fetch a picture from elsewhere; both bring a script inside the page."""


@router.get("/docs", include_in_schema=False)
def docs(request: Request) -> HTMLResponse:
    """The API, to be tried; drawn by Swagger UI, from here and from no other host."""
    if not (VENDOR / "swagger-ui").is_dir():
        return HTMLResponse(_NO_LIBRARY)
    drawn = get_swagger_ui_html(
        openapi_url="openapi.json",
        title="geotiler",
        swagger_js_url="page/vendor/swagger-ui/swagger-ui-bundle.js",
        swagger_css_url="page/vendor/swagger-ui/swagger-ui.css",
        swagger_favicon_url="data:,",
    )
    drawn.headers["Content-Security-Policy"] = _POLICY_OF_DOCS
    return drawn


@router.get("/redoc", include_in_schema=False)
def redoc(request: Request) -> HTMLResponse:
    """The API, to be read; drawn by Redoc, from here and from no other host."""
    if not (VENDOR / "redoc").is_dir():
        return HTMLResponse(_NO_LIBRARY)
    drawn = get_redoc_html(
        openapi_url="openapi.json",
        title="geotiler",
        redoc_js_url="page/vendor/redoc/redoc.standalone.js",
        redoc_favicon_url="data:,",
        with_google_fonts=False,
    )
    drawn.headers["Content-Security-Policy"] = _POLICY_OF_DOCS
    return drawn


_NO_LIBRARY = """<!doctype html><title>geotiler</title>
<p>What draws this page is not installed. Wheels of geotiler bring it along; a checkout fetches it
with <code>make map</code>. The description itself is <a href="openapi.json">openapi.json</a>.</p>
"""


@router.get("/page/{path:path}", include_in_schema=False)
def page_file(path: str) -> Response:
    """Script, style and map library of the page."""
    wanted = (PAGE / path).resolve()
    if not wanted.is_relative_to(PAGE.resolve()) or not wanted.is_file():
        return JSONResponse({"detail": "there is no such file"}, 404)
    return FileResponse(wanted)
