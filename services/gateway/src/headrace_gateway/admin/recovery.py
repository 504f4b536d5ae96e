"""``/v1/admin/recover-stale`` and what came of it.

The registry does it: a request is a row in SQL, which whoever holds its lease finds
within seconds.
"""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import BaseModel, Field
from starlette.requests import Request

from headrace_gateway.parts import Parts
from headrace_gateway.principals import operators_only
from headrace_gateway.records import Row
from headrace_gateway.requests import principal_of
from headrace_gateway.views import when


class Look(BaseModel):
    """The registry's last look for stale documents, asked for or not."""

    began_at: str
    ended_at: str
    outcome: str = Field(description="done, behind or failed.")
    problem: str = Field(description="Why it was not done.")
    requeued: int = Field(description="Documents that were queued again.")
    failed: int = Field(description="Documents that were given up, with a reason.")
    worker: str


class Recovery(BaseModel):
    """What is asked for, and what the last look found."""

    pending: bool = Field(description="Whether a look is asked for and not done.")
    asked_at: str | None
    asked_by: str | None
    last: Look | None


def router(parts: Parts) -> APIRouter:
    """The routes."""
    routes = APIRouter(prefix="/v1/admin", tags=["admin"])

    @routes.post("/recover-stale", status_code=202)
    async def recover(request: Request) -> Recovery:
        """Have the registry look for stale documents now.

        Asked twice before it is done, it is done once. `GET /v1/admin/recovery` tells.
        """
        principal = principal_of(request)
        operators_only(principal, "look for the stale documents of all tenants")
        await parts.audit.record(principal, "recover-stale")
        return _view(
            await parts.recoveries.ask(by=principal.name, now_ms=parts.clock.now_ms())
        )

    @routes.get("/recovery")
    async def recovery() -> Recovery:
        """What is asked for, and what the registry's last look found."""
        return _view(await parts.recoveries.latest())

    return routes


def _view(row: Row | None) -> Recovery:
    if row is None:
        return Recovery(pending=False, asked_at=None, asked_by=None, last=None)
    last = None
    if row["ended_ms"] is not None:
        same = ("outcome", "problem", "requeued", "failed", "worker")
        last = Look(
            began_at=when(row["began_ms"]),
            ended_at=when(row["ended_ms"]),
            **{name: row[name] for name in same},
        )
    return Recovery(
        pending=row["asked"] > row["answered"],
        asked_at=None if row["asked_ms"] is None else when(row["asked_ms"]),
        asked_by=row["asked_by"],
        last=last,
    )
