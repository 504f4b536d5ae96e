"""``/v1/produced``: documents that others sent to Kafka, not by this API.

The gateway has no record of them; what is told is what the stages reported, as the
registry keeps it. They are changed where they come from.
"""

from __future__ import annotations

import json
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel
from starlette.requests import Request

from headrace.database.listing import PROCESSING
from headrace_gateway.drafts import Word
from headrace_gateway.filters import Collection, Limit, ProducedState
from headrace_gateway.parts import Parts
from headrace_gateway.problems import not_found
from headrace_gateway.records import ProducedPage, Row
from headrace_gateway.requests import principal_of
from headrace_gateway.views import (
    STAGES,
    ErrorView,
    Progress,
    StageView,
    error_view,
    progress_view,
    stage_view,
    when,
)


class ProducedView(BaseModel):
    """A document that came by Kafka; ``name`` is the id that its producer gave."""

    id: str
    collection: str
    name: str
    state: str
    stage: str
    media_type: str
    source_uri: str
    attributes: dict[str, str]
    user_id: str
    session_id: str
    import_job: str | None
    created_at: str
    updated_at: str
    progress: Progress
    attempts: int
    error: ErrorView | None


class ProducedDetail(ProducedView):
    """One with its history."""

    timeline: list[StageView]


class ProducedList(BaseModel):
    """Some of them; ``next`` is the cursor of those after them."""

    documents: list[ProducedView]
    next: str | None = None


def router(parts: Parts) -> APIRouter:
    """The routes."""
    routes = APIRouter(prefix="/v1/produced", tags=["documents"])

    @routes.get("")
    async def list_produced(
        request: Request,
        *,
        collection: Collection = None,
        state: ProducedState = None,
        job: Annotated[Word | None, Query(max_length=128)] = None,
        text: Annotated[
            Word | None, Query(max_length=256, description="Part of the name.")
        ] = None,
        limit: Limit = 50,
        cursor: Annotated[
            str | None, Query(pattern=r"^[0-9]{1,18}\.[0-9a-f-]{36}$")
        ] = None,
    ) -> ProducedList:
        """Documents that producers sent to Kafka, those that came last first."""
        at, _, key = (cursor or "").partition(".")
        page = ProducedPage(
            tenant=principal_of(request).tenant,
            limit=limit,
            after=(int(at), key) if cursor else None,
            collection=collection,
            state=state,
            import_job=job,
            text=text,
        )
        rows = await parts.records.produced_page(page)
        shown, last = rows[:limit], rows[limit - 1 : limit]
        more = [f"{each['arrived_ms']}.{each['document']}" for each in last]
        return ProducedList(
            documents=[ProducedView(**_fields(row)) for row in shown],
            next=more[0] if len(rows) > limit else None,
        )

    @routes.get("/{id}")
    async def get_produced(
        request: Request,
        id: Annotated[  # noqa: A002  the path's own word
            str, Path(pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")
        ],
    ) -> ProducedDetail:
        """One of them: its state, its history, and what went wrong."""
        row = await parts.records.produced(principal_of(request).tenant, id)
        if row is None:
            raise not_found("document")
        timeline = await parts.records.timeline(row["document"], row["work"])
        fields = _fields(row) | {"progress": progress_view(timeline)}
        return ProducedDetail(
            **fields, timeline=[stage_view(each) for each in timeline]
        )

    return routes


def _fields(row: Row) -> dict[str, Any]:
    final = row["final"]
    return {
        "id": row["document"],
        "name": row["document_id"],
        "state": row["state"] if final else PROCESSING,
        "stage": str(STAGES[row["stage"] - 1]),
        "attributes": json.loads(row["attributes"]),
        "import_job": row["import_job"] or None,
        "created_at": when(row["arrived_ms"]),
        "updated_at": when(row["at_ms"]),
        "progress": Progress(
            chunks=row["chunks"],
            done=row["chunks"] if final else 0,
            failed=row["failed_chunks"],
        ),
        "error": error_view(row),
        **{
            name: row[name]
            for name in (
                *("collection", "media_type", "source_uri", "user_id", "session_id"),
                "attempts",
            )
        },
    }
