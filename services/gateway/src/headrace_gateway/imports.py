"""``/v1/imports``: many documents in one request, one job."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel
from starlette.requests import Request

from headrace_gateway.drafts import CollectionName, NewDocument, OnConflict, Word
from headrace_gateway.jobs import ACCEPTED, REFUSED, WAITING, Item, Jobs
from headrace_gateway.parts import Parts
from headrace_gateway.problems import Problem, not_found
from headrace_gateway.records import Row
from headrace_gateway.requests import Patience, body_of, parsed, principal_of
from headrace_gateway.views import ErrorView, when

NDJSON = "application/x-ndjson"

_LONGEST_S = 12 * 3600.0
"""``sweeper`` drops what is not whole after a day."""
_MOST = 1_000_000
"""Lines of an import: each is a row, however short it is."""
_ITEMS = 200
_BYTES = 4 * 1024 * 1024
"""Of what is held before it is written."""
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
        collection: CollectionName,
        on_conflict: OnConflict = OnConflict.FAIL,
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
        principal, id_ = principal_of(request), parts.intake.new_id()
        with parts.admission.slot(principal, stored=True):
            await jobs.begin(
                id_,
                tenant=principal.tenant,
                collection=collection,
                on_conflict=on_conflict,
                now_ms=parts.clock.now_ms(),
            )
            try:
                async for items in items_of(
                    _body(request, parts),
                    collection=collection,
                    longest=parts.settings.max_json_bytes,
                    most=_MOST,
                ):
                    await jobs.add(id_, items)
            except Problem:
                await jobs.drop(id_)
                raise
            await jobs.complete(id_, now_ms=parts.clock.now_ms())
        parts.feeder.wake()
        return await _view(jobs, await _job(jobs, principal.tenant, id_))

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
    under_way = sum(counts[each] for each in (WAITING, "queued", "processing"))
    return JobView(
        id=row["id"],
        collection=row["collection"],
        created_at=when(row["created_ms"]),
        total=total,
        done=not under_way,
        counts={state: count for state, count in counts.items() if count},
    )


def _body(request: Request, parts: Parts) -> AsyncIterator[bytes]:
    settings = parts.settings
    patience = Patience(settings.read_s, _LONGEST_S, parts.clock)
    return body_of(request, limit=settings.max_upload_bytes, patience=patience)


async def items_of(
    body: AsyncIterator[bytes], *, collection: str, longest: int, most: int
) -> AsyncIterator[list[Item]]:
    """The lines, some at a time.

    Args:
        body: as it comes.
        collection: of lines that name none.
        longest: bytes of a line; a longer one is refused by itself.
        most: lines.

    Raises:
        Problem: there are more.
    """
    items: list[Item] = []
    size = 0
    number = 0
    async for line in _lines(body, limit=longest):
        number += 1
        if number > most:
            raise Problem(
                413,
                "too_many_lines",
                f"the import has more than {most:,} lines",
                advice="send several imports",
            )
        if line.strip():
            items.append(_of_line(number, line, collection))
            size += len(line)
        if len(items) >= _ITEMS or size >= _BYTES:
            yield items
            items, size = [], 0
    if items:
        yield items


async def _lines(body: AsyncIterator[bytes], *, limit: int) -> AsyncIterator[bytes]:
    """A line beyond the limit comes cut, which no JSON survives."""
    rest = bytearray()
    async for piece in body:
        first, *others = piece.split(b"\n")
        rest += first[: limit + 1 - len(rest)]
        for other in others:
            yield bytes(rest)
            rest = bytearray(other[: limit + 1])
    if rest:
        yield bytes(rest)


def _of_line(number: int, line: bytes, collection: str) -> Item:
    try:
        asked = parsed(_with_collection(line, collection), NewDocument)
    except Problem as problem:
        faults = problem.extra.get("errors", ())
        said = "; ".join(f"{each['field']}: {each['message']}" for each in faults)
        return Item(number, failure=_failure("invalid_item", said or problem.detail))
    return Item(number, asked.name, asked.model_dump(mode="json"))


def _with_collection(line: bytes, collection: str) -> bytes:
    """With the job's collection where the line names none."""
    text = line.strip()
    if not text.startswith(b"{"):
        return text
    # Before what the line says: of two the last one counts.
    more = b"," if text[1:].lstrip()[:1] != b"}" else b""
    return b'{"collection":"' + collection.encode() + b'"' + more + text[1:]


def _failure(code: str, message: str) -> dict[str, str]:
    return {"code": code, "message": message[:1024]}


def _item(row: Row) -> ItemView:
    failure: dict[str, Any] | None = row["failure"]
    return ItemView(
        number=row["number"],
        name=row["name"],
        state=row["state"],
        document=row["document_id"],
        error=None if failure is None else ErrorView(**failure),
    )
