"""What every request passes: an id, who may enter, how large it may be, and the record of it."""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
import time
import uuid
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from geotiler.service.logs import LOGGER
from geotiler.service.metrics import Metrics
from geotiler.service.problems import Problem, answer
from geotiler.service.settings import Settings

OPEN_ROUTES = ("/healthz", "/readyz", "/metrics", "/docs", "/redoc", "/openapi.json", "/page/")
"""Prefixes that need no key: they tell how the service is, not what it was given."""

_LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")
_PLAIN_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_SECURITY_HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "x-frame-options": "DENY",
}

_log = logging.getLogger(f"{LOGGER}.access")


class Gate:
    """ASGI middleware around the whole app."""

    def __init__(self, app: ASGIApp, settings: Settings, metrics: Metrics) -> None:
        """Args: settings: keys and limits. metrics: count requests."""
        self._app = app
        self._settings = settings
        self._metrics = metrics
        self._keys = [_digest(key.get_secret_value()) for key in settings.api_keys]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        given = headers.get("x-request-id", "")
        request_id = given if _PLAIN_ID.fullmatch(given) else uuid.uuid4().hex
        state: dict[str, Any] = scope.setdefault("state", {})
        state.update(request_id=request_id, owner="", model="")
        method = scope["method"]
        if method == "HEAD":  # as GET, without the body
            scope = {**scope, "method": "GET"}
        status = 500
        has_begun = False
        started = time.perf_counter()

        async def sending(message: Message) -> None:
            nonlocal status, has_begun
            if message["type"] == "http.response.start":
                status, has_begun = message["status"], True
                out = MutableHeaders(scope=message)
                out["x-request-id"] = request_id
                for name, value in _SECURITY_HEADERS.items():
                    out.setdefault(name, value)
            elif method == "HEAD" and message["type"] == "http.response.body":
                message = {**message, "body": b""}
            await send(message)

        try:
            self._admit(scope, headers, state)
            await self._app(scope, self._counted(receive), sending)
        except Problem as problem:
            if not has_begun:
                await answer(problem, request_id)(scope, receive, sending)
        except Exception:
            _log.exception("a defect of geotiler", extra={"request_id": request_id})
            if not has_begun:
                defect = Problem(500, "a defect of geotiler; its operator finds more in the log")
                await answer(defect, request_id)(scope, receive, sending)
        finally:
            self._record(scope, method, status, time.perf_counter() - started)

    def _admit(self, scope: Scope, headers: Headers, state: dict[str, Any]) -> None:
        """Raises: Problem: a foreign page, a missing key, or a body said to be too large."""
        self._check_origin(scope, headers)
        path = scope["path"]
        if self._keys and path != "/" and not path.startswith(OPEN_ROUTES):
            state["owner"] = self._owner(headers)
        try:
            length = int(headers.get("content-length", "0"))
        except ValueError:
            raise Problem(400, "content-length is not a number") from None
        if length > self._settings.body_bytes:
            raise self._too_large()

    def _check_origin(self, scope: Scope, headers: Headers) -> None:
        """Pages of other sites may not use a service that trusts whoever reaches it."""
        host = headers.get("host", "")
        origin = headers.get("origin")
        if scope["method"] not in ("GET", "HEAD") and origin and urlsplit(origin).netloc != host:
            raise Problem(403, f"a page of {origin[:100]} may not use this service")
        if self._settings.is_loopback and not self._keys:
            # A name that resolves to this machine would let a foreign page in.
            name = urlsplit(f"//{host}").hostname if host else ""
            if name not in (*_LOOPBACK_NAMES, self._settings.host):
                raise Problem(421, f"this service is not called {host[:100]!r}")

    def _owner(self, headers: Headers) -> str:
        """Whose key it is, as the beginning of its digest. Raises: Problem: 401."""
        scheme, _, token = headers.get("authorization", "").partition(" ")
        key = token.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "")
        given = _digest(key)
        # Every key is compared, each in constant time: how long it takes tells nothing.
        matches = [hmac.compare_digest(given, known) for known in self._keys]
        if not any(matches):
            raise Problem(
                401,
                "an API key is needed, as Authorization: Bearer KEY or X-API-Key: KEY",
                headers={"WWW-Authenticate": "Bearer"},
            )
        return given.hex()[:16]

    def _counted(self, receive: Receive) -> Receive:
        """The body's pieces, up to the limit. Raises: Problem: 413."""
        seen = 0

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > self._settings.body_bytes:
                raise self._too_large()
            return message

        return counted

    def _too_large(self) -> Problem:
        limit = self._settings.body_bytes
        return Problem(
            413, f"the body is larger than the {limit:,} bytes that this service takes",
            headers={"Connection": "close"},
        )  # fmt: skip

    def _record(self, scope: Scope, method: str, status: int, seconds: float) -> None:
        state: dict[str, Any] = scope["state"]
        route = getattr(scope.get("route"), "path", None) or "other"
        method = method if method in _METHODS else "other"
        model = state["model"]
        self._metrics.requests.labels(route, method, str(status), model).inc()
        self._metrics.latency.labels(route, method, model).observe(seconds)
        client = scope.get("client")
        _log.info(
            "request",
            extra={
                "request_id": state["request_id"], "method": method, "path": scope["path"][:200],
                "route": route, "status": status, "seconds": round(seconds, 4), "model": model,
                "client": client[0] if client else None,
            },
        )  # fmt: skip


_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


def owner_of(request: Request) -> str:
    """Whose key a request came with; empty where no key is needed."""
    return str(request.scope["state"]["owner"])


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", errors="surrogatepass")).digest()
