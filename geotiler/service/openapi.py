"""Pieces of the OpenAPI description that FastAPI does not derive from the code."""

from __future__ import annotations

from typing import Any

from geotiler.service.problems import MEDIA_TYPE

_FILE = {"type": "string", "format": "binary"}
_RAW = {kind: {"schema": _FILE} for kind in ("image/tiff", "image/png", "application/octet-stream")}


def _form(file: dict[str, Any]) -> dict[str, Any]:
    schema = {"type": "object", "properties": {"file": file}, "required": ["file"]}
    return {"multipart/form-data": {"schema": schema}}


BODY_OF_PREDICT = {"required": True, "content": {**_form(_FILE), **_RAW}}

_SCENES = {
    "type": "object",
    "properties": {
        "scenes": {
            "type": "array",
            "items": {"type": "string", "minLength": 1, "maxLength": 1000},
            "minItems": 1,
            "description": "Paths or URLs that the service may read.",
        }
    },
    "required": ["scenes"],
    "additionalProperties": False,
}
BODY_OF_BATCH = {
    "required": True,
    "content": {
        **_form({"type": "array", "items": _FILE, "minItems": 1}),
        "application/json": {"schema": _SCENES},
        **_RAW,
    },
}

_PROBLEM = {
    "type": "object",
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "request_id": {"type": "string"},
        "kind": {"type": "string"},
        "hint": {"type": "string"},
    },
    "required": ["type", "title", "status", "detail", "request_id"],
}


def _problem(description: str) -> dict[str, Any]:
    return {"description": description, "content": {MEDIA_TYPE: {"schema": _PROBLEM}}}


PROBLEMS: dict[int | str, dict[str, Any]] = {
    400: _problem("The request cannot be read."),
    401: _problem("An API key is needed."),
    403: _problem("The caller, or the place of a scene, is not allowed."),
    406: _problem("No acceptable form of the answer."),
    413: _problem("The body or the scene is too large."),
    415: _problem("The content type is not that of a scene."),
    422: _problem("The scene or a parameter cannot be used."),
    429: _problem("Too many are waiting; see Retry-After."),
    503: _problem("Not now; see Retry-After."),
    507: _problem("No room on the service's disk."),
}
NOT_FOUND: dict[int | str, dict[str, Any]] = {
    401: PROBLEMS[401],
    404: _problem("There is no such job or file."),
    422: PROBLEMS[422],
}
