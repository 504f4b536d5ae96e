"""``/v1/imports``: many documents in one request, one job."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from headrace.database.keys import Scope
from headrace_gateway.documents import IdempotencyKey
from headrace_gateway.drafts import CollectionName, OnConflict, Word
from headrace_gateway.idempotency import Answer
from headrace_gateway.jobs import ACCEPTED, REFUSED, WAITING, Jobs
from headrace_gateway.parts import Parts
from headrace_gateway.problems import Problem, not_found
from headrace_gateway.receiving import Import, Receiver
from headrace_gateway.records import Row
from headrace_gateway.requests import Patience, body_of, principal_of
from headrace_gateway.views import ErrorView, when

NDJSON = "application/x-ndjson"

_LONGEST_S = 12 * 3600.0
"""``sweeper`` drops what is not whole after a day."""
_ID = r"^[0-9a-f-]{36}$"


class JobView(BaseModel):
    """An import, and how far it is."""

    id: str
    collection: str
    created_at: str
    total: int
    done: bool
    counts: dict[str, int]
    """``waiting`` to be accepted, ``refused``, then the states of the documents."""


class JobPage(BaseModel):
    """Some imports; ``next`` is the cursor of those after them."""

    imports: list[JobView]
    next: str | None = None


class ItemView(BaseModel):
    """A line of an import; numbers begin at 1."""

    number: int
    name: str
    state: str
    document: str | None = None
    error: ErrorView | None = None


class ItemPage(BaseModel):
    """Some items; ``next`` is the number after which the next page begins."""

    items: list[ItemView]
    next: int | None = None


def router(parts: Parts) -> APIRouter:
    """The routes."""
    jobs = parts.jobs
    receiver = Receiver(jobs, parts.clock, parts.settings.max_json_bytes)
    routes = APIRouter(prefix="/v1/imports", tags=["imports"])
    body = {
        "requestBody": {
            "required": True,
            "content": {NDJSON: {"schema": {"type": "string"}}},
        }
    }

    @routes.post("", status_code=202, openapi_extra=body)
    async def start(
        request: Request,
        response: Response,
        collection: CollectionName,
        *,
        on_conflict: OnConflict = OnConflict.FAIL,
        while_paused: Annotated[
            bool,
            Query(
                description="Take it though the collection is paused, to work on it "
                "once that is resumed; needs the scope admin."
            ),
        ] = False,
        idempotency_key: IdempotencyKey = None,
    ) -> JobView:
        """Take a document a line, as `POST /v1/documents` takes it in JSON.

        A line that is none is noted with its reason; the others are accepted at the
        rate at which they can be worked on. A body that is cut off imports nothing.
        """
        media_type = request.headers.get("content-type", "").partition(";")[0]
        if media_type.strip().lower() != NDJSON:
            raise Problem(
                415,
                "unsupported_media_type",
                f"an import comes as {NDJSON}",
                headers={"Accept": NDJSON},
            )
        principal = principal_of(request)
        if not while_paused:
            parts.pauses.check(principal.tenant, collection)
        elif not principal.may(Scope.ADMIN):
            raise Problem(
                403, "forbidden", f"while_paused needs the scope {Scope.ADMIN}"
            )
        asked = Import(
            id=parts.intake.new_id(),
            tenant=principal.tenant,
            collection=collection,
            on_conflict=on_conflict,
            key=idempotency_key,
            body=_body(request, parts),
        )
        with parts.admission.slot(principal, stored=True):
            answer, replayed = await receiver.receive(asked)
        if replayed:
            response.headers["Idempotent-Replayed"] = "true"
        parts.feeder.wake()
        return _shown(answer, answer["counts"])

    @routes.get("")
    async def list_jobs(
        request: Request,
        limit: Annotated[int, Query(ge=1, le=100)] = 20,
        cursor: Annotated[str | None, Query(pattern=_ID)] = None,
    ) -> JobPage:
        """Imports, newest first."""
        tenant = principal_of(request).tenant
        rows = await jobs.page(tenant, after=cursor, limit=limit + 1)
        shown = rows[:limit]
        return JobPage(
            imports=[await _view(jobs, row) for row in shown],
            next=shown[-1]["id"] if len(rows) > limit else None,
        )

    @routes.get("/{id}")
    async def get(
        request: Request,
        id: Annotated[str, Path(pattern=_ID)],  # noqa: A002  the path's own word
    ) -> JobView:
        """One import."""
        return await _view(jobs, await _job(jobs, principal_of(request).tenant, id))

    @routes.get("/{id}/items")
    async def items(
        request: Request,
        id: Annotated[str, Path(pattern=_ID)],  # noqa: A002  as above
        state: Annotated[
            Word | None, Query(json_schema_extra={"enum": [WAITING, ACCEPTED, REFUSED]})
        ] = None,
        after: Annotated[int, Query(ge=0, le=2**31 - 1)] = 0,
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    ) -> ItemPage:
        """Its lines, and what is wrong with those that were refused."""
        await _job(jobs, principal_of(request).tenant, id)
        rows = await jobs.items(id, state=state, after=after, limit=limit + 1)
        shown = rows[:limit]
        return ItemPage(
            items=[_item(row) for row in shown],
            next=shown[-1]["number"] if len(rows) > limit else None,
        )

    return routes


async def _job(jobs: Jobs, tenant: str, id_: str) -> Row:
    row = await jobs.get(tenant, id_)
    if row is None:
        raise not_found("import")
    return row


async def _view(jobs: Jobs, row: Row) -> JobView:
    total, counts = await jobs.counts(row["tenant"], row["id"])
    return _shown(row, counts, total=total)


def _shown(
    job: Row | Answer, counts: Mapping[str, int], *, total: int | None = None
) -> JobView:
    under_way = (counts.get(each) for each in (WAITING, "queued", "processing"))
    return JobView(
        id=job["id"],
        collection=job["collection"],
        created_at=when(job["created_ms"]),
        total=sum(counts.values()) if total is None else total,
        done=not any(under_way),
        counts={state: count for state, count in counts.items() if count},
    )


def _body(request: Request, parts: Parts) -> AsyncIterator[bytes]:
    settings = parts.settings
    patience = Patience(settings.read_s, _LONGEST_S, parts.clock)
    return body_of(request, limit=settings.max_upload_bytes, patience=patience)


def _item(row: Row) -> ItemView:
    failure: dict[str, Any] | None = row["failure"]
    return ItemView(
        number=row["number"],
        name=row["name"],
        state=row["state"],
        document=row["document_id"],
        error=None if failure is None else ErrorView(**failure),
    )
