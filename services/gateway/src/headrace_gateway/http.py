"""The HTTP application: which routes there are. Nothing is constructed here but it."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version
from typing import Any

from fastapi import APIRouter, Depends, FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.security import HTTPBearer
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from headrace_gateway.front import Front
from headrace_gateway.parts import Parts
from headrace_gateway.problems import MEDIA_TYPE
from headrace_gateway.settings import GatewaySettings

_DESCRIPTION = """Documents in, searchable chunks out.

Every error is `application/problem+json` with `code`, `detail`, and where something can
be done about it, `advice`. 503 and 429 come with `Retry-After`.
"""
_PROBLEM = {
    "type": "object",
    "required": ["type", "title", "status", "code", "detail", "request_id"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "code": {"type": "string"},
        "detail": {"type": "string"},
        "advice": {"type": "string"},
        "request_id": {"type": "string"},
    },
}
_ERRORS: dict[int | str, dict[str, Any]] = {
    "default": {
        "description": "Problem details (RFC 9457).",
        "content": {MEDIA_TYPE: {"schema": _PROBLEM}},
    }
}


def create_app(
    settings: GatewaySettings,
    parts: Parts,
    *,
    routers: tuple[Callable[[Parts], APIRouter], ...],
) -> FastAPI:
    """The application.

    Args:
        settings: bounds of requests.
        parts: what the routes work with.
        routers: each makes some of the routes.
    """
    app = FastAPI(
        title="Headrace",
        version=version("headrace-gateway"),
        description=_DESCRIPTION,
        redirect_slashes=False,
        redoc_url=None,
        responses=_ERRORS,
        dependencies=[Depends(HTTPBearer(auto_error=False))],
    )
    for router in routers:
        app.include_router(router(parts))
    # All errors are made into answers in one place, which is around the routes.
    for kind in (HTTPException, RequestValidationError):
        app.add_exception_handler(kind, _pass_on)
    app.add_middleware(
        Front,
        authenticator=parts.authenticator,
        admission=parts.admission,
        metrics=parts.metrics,
        max_json_bytes=settings.max_json_bytes,
        retry_after_s=settings.retry_after_s,
    )
    return app


def _pass_on(_: Request, error: Exception) -> Response:
    raise error
