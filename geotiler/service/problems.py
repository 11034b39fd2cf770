"""Every answer that is not the one asked for: problem+json (RFC 9457), made in one place.

What geotiler refuses is told by its exit code, as on the command line. Nobody is shown a stack
trace or a path of this machine.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from geotiler.errors import GeotilerError
from geotiler.spelling import plain, settings_renamed

MEDIA_TYPE = "application/problem+json"

STATUS_OF_EXIT_CODE = {
    1: 500,  # a defect of geotiler
    2: 422,  # a setting that cannot be honoured
    3: 422,  # a scene that cannot be used
    4: 507,  # no room, or a folder that cannot be written
    5: 503,  # a model that cannot be trusted
    6: 503,  # a device or memory that is not there
    7: 501,  # a package that is not installed
}
"""Exit code of a `GeotilerError` → HTTP status."""

PARAMETERS = (
    "model", "threshold", "bands", "gsd", "scale", "min_area", "min_hole", "simplify", "separate",
    "name", "pictures", "topk", "dn_offset",
)  # fmt: skip
"""What a request can be asked with, of all routes."""

_OTHER_WORDS = {"geotiler models list": "GET /models", "--scene-gsd": "--gsd"}
"""Command or flag → what a request has in its place."""

_COMMAND = re.compile(r"\bgeotiler [a-z]|\bpip install|\bogr2ogr|\bdask |\bmkdir|\bsame command")
"""Commands are run by whoever has the machine."""

_FLAG = re.compile(r"--([a-z][a-z-]*)(?: ([\dA-Z][^\s;,)]*(?:,[^\s;)]+)*))?")

_SHORT_FLAG = re.compile(r"(?:^|\s)-[a-z]\b")
"""`-o` and the like say where to write: no request does."""


class Problem(Exception):  # noqa: N818 - the word of RFC 9457
    """An answer other than the one asked for, with the words for whoever asked."""

    def __init__(
        self, status: int, detail: str, *, headers: Mapping[str, str] | None = None, **more: Any
    ) -> None:
        """Args: detail: a sentence. headers: of the answer. more: further members of it."""
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = dict(headers or {})
        self.more = more


def problem_of(error: GeotilerError, hidden: Mapping[str, str] | None = None) -> Problem:
    """The problem that an error of geotiler is.

    Args:
        error: what a task raised.
        hidden: texts that callers should not see, such as a temporary folder → what stands in.
    """
    text = in_words_of_http(error.message, hidden)
    hint = _hint_of_http(error.hint or "", hidden)
    status = STATUS_OF_EXIT_CODE.get(error.exit_code, 500)
    headers = {"Retry-After": "30"} if status == 503 else {}
    more = {"kind": type(error).__name__} | ({"hint": hint} if hint else {})
    return Problem(status, text, headers=headers, **more)


def in_words_of_http(text: str, hidden: Mapping[str, str] | None = None) -> str:
    """The text with flags named as the parameters of a request: `--min-area 5` → `min_area=5`.

    Args:
        text: what a task says.
        hidden: texts that callers should not see, such as a temporary folder → what stands in.
    """
    for secret, shown in (hidden or {}).items():
        text = text.replace(secret, shown)
    text = _renamed(text)

    def parameter(match: re.Match[str]) -> str:
        name, value = match.group(1).replace("-", "_"), match.group(2)
        return name if value is None else f"{name}={value}"

    return _FLAG.sub(parameter, settings_renamed(text, str))


def _hint_of_http(hint: str, hidden: Mapping[str, str] | None) -> str:
    """The clauses of a hint that help a request: no commands, and no flags that it has not."""
    clauses = (in_words_of_http(clause, hidden) for clause in hint.split("; ") if _helps(clause))
    return "; ".join(clauses).removeprefix("or ")


def _helps(clause: str) -> bool:
    clause = _renamed(clause)
    if _COMMAND.search(clause) or _SHORT_FLAG.search(clause):
        return False
    flags = (match.group(1).replace("-", "_") for match in _FLAG.finditer(clause))
    return all(flag in PARAMETERS for flag in flags)


def _renamed(text: str) -> str:
    for word, other in _OTHER_WORDS.items():
        text = text.replace(word, other)
    return text


def answer(problem: Problem, request_id: str) -> JSONResponse:
    """The response that carries a problem."""
    content = {
        "type": "about:blank",
        "title": HTTPStatus(problem.status).phrase,
        "status": problem.status,
        "detail": problem.detail,
        "request_id": request_id,
        **problem.more,
    }
    return JSONResponse(content, problem.status, headers=problem.headers, media_type=MEDIA_TYPE)


def request_id_of(request: Request) -> str:
    """The id that the gate gave a request."""
    return str(request.scope.get("state", {}).get("request_id", ""))


def install(app: FastAPI) -> None:
    """Answer every expected exception of an app's routes with a problem."""

    @app.exception_handler(Problem)
    async def _problem(request: Request, error: Problem) -> JSONResponse:
        return answer(error, request_id_of(request))

    @app.exception_handler(GeotilerError)
    async def _geotiler(request: Request, error: GeotilerError) -> JSONResponse:
        return answer(problem_of(error), request_id_of(request))

    @app.exception_handler(HTTPException)
    async def _http(request: Request, error: HTTPException) -> JSONResponse:
        problem = Problem(error.status_code, str(error.detail), headers=error.headers)
        return answer(problem, request_id_of(request))

    @app.exception_handler(RequestValidationError)
    async def _invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        wrong = [
            {"where": ".".join(str(part) for part in item["loc"]), "what": plain(item["msg"])}
            for item in error.errors()
        ]
        first = wrong[0] if wrong else {"where": "the request", "what": "cannot be read"}
        detail = f"{first['where']}: {first['what']}"
        return answer(Problem(422, detail, errors=wrong), request_id_of(request))
