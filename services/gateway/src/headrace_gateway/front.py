"""What every request goes through, whatever it asks for.

In this order: an id, who calls, whether that is allowed, how often, how large; then the
route. Every error leaves here as problem details, and every request as one log line.
"""

from __future__ import annotations

import asyncio
import math
import re
import time
import uuid
from typing import Any

import structlog
from aiokafka.errors import KafkaError
from fastapi.exceptions import RequestValidationError
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from headrace.errors import DocumentFailure, SharedFailure
from headrace.metrics import GatewayMetrics
from headrace.refusals import Refused
from headrace_gateway.admission import Admission
from headrace_gateway.authentication import Authenticator, authenticate
from headrace_gateway.problems import MEDIA_TYPE, Problem, too_large, unavailable

_log = structlog.get_logger(__name__)

_OPEN_PATHS = ("/openapi.json", "/docs")
_POLICY = "default-src 'none'; frame-ancestors 'none'"
"""What a browser may do with an answer that somebody opens in it: nothing."""
_DOCS_POLICY = (
    f"{_POLICY}; connect-src 'self'; img-src data: https://fastapi.tiangolo.com; "
    "script-src 'unsafe-inline' https://cdn.jsdelivr.net; "
    "style-src 'unsafe-inline' https://cdn.jsdelivr.net"
)
_STREAMED = ("/v1/documents", "/v1/imports")
"""Their handlers bound the body themselves."""
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_UNREAD_BYTES = 1024 * 1024
_UNREAD_S = 2.0
"""A client that is still sending when it is refused would not see why."""


class Front:
    """ASGI middleware; see the module.

    Args:
        app: what is behind.
        authenticator: knows callers.
        admission: counts requests.
        metrics: of requests.
        max_json_bytes: of bodies that are read whole.
        retry_after_s: told where something shared is away.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        authenticator: Authenticator,
        admission: Admission,
        metrics: GatewayMetrics,
        max_json_bytes: int,
        retry_after_s: int,
    ) -> None:
        self._app = app
        self._authenticator = authenticator
        self._admission = admission
        self._metrics = metrics
        self._max_json_bytes = max_json_bytes
        self._retry_after_s = retry_after_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = _Exchange(scope, receive, send)
        with structlog.contextvars.bound_contextvars(request_id=exchange.id):
            try:
                await self._handle(scope, exchange)
            except Exception as error:
                if exchange.status:
                    raise
                await exchange.refuse(self._problem_of(error))
            finally:
                self._tell(scope, exchange)

    async def _handle(self, scope: Scope, exchange: _Exchange) -> None:
        path: str = scope["path"]
        if path not in _OPEN_PATHS:
            principal = await authenticate(
                self._authenticator,
                authorization=Headers(scope=scope).get("authorization", ""),
                method=scope["method"],
                path=path,
                retry_after=self._shared,
            )
            if principal.everybody:
                _check_origin(Headers(scope=scope))
            scope.setdefault("state", {})["principal"] = principal
            self._admission.check_rate(principal)
        if not path.startswith(_STREAMED) or path.endswith(("/retry", "/reindex")):
            exchange.limit = self._max_json_bytes
            _check_type(Headers(scope=scope))
        await self._app(scope, exchange.receive, exchange.send)

    def _problem_of(self, error: Exception) -> Problem:
        found = error
        if isinstance(error, HTTPException) and isinstance(error.__cause__, Problem):
            found = error.__cause__
        if isinstance(found, Refused | KafkaError | DocumentFailure):
            return self._of_work(found)
        match found:
            case Problem():
                return found
            case SharedFailure():
                return self._shared(found)
            case RequestValidationError():
                return Problem(
                    422,
                    "invalid_request",
                    "the request is not as expected",
                    errors=[
                        {
                            "field": ".".join(map(str, each["loc"])),
                            "message": each["msg"],
                        }
                        for each in found.errors()
                    ],
                )
            case HTTPException():
                return Problem(
                    found.status_code,
                    _CODES.get(found.status_code, "http_error"),
                    found.detail,
                    headers=dict(found.headers or {}),
                )
        _log.error("a request failed", exc_info=error)
        return Problem(
            500,
            "internal_error",
            "the gateway failed",
            advice="its log says why, under the request's id",
        )

    def _of_work(self, error: Refused | KafkaError | DocumentFailure) -> Problem:
        """What other parts say that know nothing of HTTP."""
        if isinstance(error, KafkaError):
            return self._shared(SharedFailure("broker_unavailable", repr(error)))
        status = 422
        if isinstance(error, Refused) and not error.usage:
            status = 404 if error.code == "letter_missing" else 409
        return Problem(status, error.code, error.message, advice=error.advice)

    def _shared(self, failure: SharedFailure) -> Problem:
        _log.warning("a request cannot be served", code=failure.reason)
        wait_s = math.ceil(max(self._retry_after_s, failure.retry_after or 0))
        return unavailable(
            failure.reason,
            f"something that all requests need is away: {failure.reason}",
            retry_after_s=wait_s,
        )

    def _tell(self, scope: Scope, exchange: _Exchange) -> None:
        route = getattr(scope.get("route"), "path", "other")
        seconds = time.monotonic() - exchange.began
        method = scope["method"] if scope["method"] in _METHODS else "other"
        self._metrics.requests(method, route, exchange.status).inc()
        self._metrics.request_seconds(method, route).observe(seconds)
        _log.info(
            "request",
            method=scope["method"],
            route=route,
            status=exchange.status,
            seconds=round(seconds, 4),
        )


_METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS")
_CODES = {
    400: "bad_request",
    404: "not_found",
    405: "method_not_allowed",
    413: "too_large",
}


class _Exchange:
    """One request and its answer."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        given = Headers(scope=scope).get("x-request-id", "")
        self._policy = _DOCS_POLICY if scope["path"] == "/docs" else _POLICY
        self.id = given if _REQUEST_ID.fullmatch(given) else str(uuid.uuid4())
        self.began = time.monotonic()
        self.status = 0
        self.limit: int | None = None
        self._receive = receive
        self._send = send
        self._size = 0
        self._more = True

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request":
            self._more = message.get("more_body", False)
            self._size += len(message.get("body", b""))
            if self.limit is not None and self._size > self.limit:
                # As its own kind: what reads the body passes that on as it is.
                raise HTTPException(413) from too_large("the body", self.limit)
        else:
            self._more = False
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            headers["X-Request-Id"] = self.id
            headers["X-Content-Type-Options"] = "nosniff"
            headers["Content-Security-Policy"] = self._policy
            headers["Cache-Control"] = "no-store"
        await self._send(message)

    async def refuse(self, problem: Problem) -> None:
        await self._leave_unread()
        body = problem.body(request_id=self.id)
        headers = {
            "Content-Type": MEDIA_TYPE,
            "Content-Length": str(len(body)),
            **problem.headers,
        }
        start: dict[str, Any] = {
            "type": "http.response.start",
            "status": problem.status,
            "headers": [
                (name.lower().encode(), value.encode())
                for name, value in headers.items()
            ],
        }
        await self.send(start)
        await self.send({"type": "http.response.body", "body": body})

    async def _leave_unread(self) -> None:
        """Read on for a little, so that the client can hear us."""
        self.limit = None
        before = self._size
        try:
            async with asyncio.timeout(_UNREAD_S):
                while self._more and self._size - before < _UNREAD_BYTES:
                    await self.receive()
        except TimeoutError:
            return


def _check_origin(headers: Headers) -> None:
    """Where nobody is asked who they are, no page on the web may act for its reader.

    A browser sends forms to this machine's own ports too, and says where they are from.
    """
    origin = headers.get("origin")
    if origin is not None and origin.partition("://")[2] != headers.get("host"):
        raise Problem(
            403,
            "foreign_origin",
            "the request comes from a page of another site",
            advice="set HEADRACE_AUTH_MODE to keys and send one, or call from "
            "elsewhere than a browser",
        )


def _check_type(headers: Headers) -> None:
    """Bodies that are read whole are JSON."""
    length = headers.get("content-length", "0")
    if length == "0" and "transfer-encoding" not in headers:
        return
    media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise Problem(
            415,
            "unsupported_media_type",
            "the body must be application/json",
            headers={"Accept": "application/json"},
        )
