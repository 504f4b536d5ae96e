"""A client of the gateway's API, for Python programs: ``HeadraceClient``.

Needs the extra ``headrace[client]``. What is answered has the types below; members that
a newer gateway adds are left out. Every refusal is an ``ApiError``.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterable, AsyncIterator, Mapping, Sequence
from types import TracebackType
from typing import Any, BinaryIO, Literal, Self, TypeVar

import httpx
from pydantic import BaseModel

OnConflict = Literal["fail", "replace", "new-version"]
_M = TypeVar("_M", bound=BaseModel)

_LATER = (429, 503)


class ApiError(Exception):
    """The gateway refused.

    Attributes:
        status: HTTP status.
        code: short stable code.
        detail: what is wrong.
        advice: what to do about it.
        problem: all that the answer said (``existing_id``).
        retry_after_s: when to come again, where it said so.
    """

    def __init__(
        self, status: int, problem: Mapping[str, Any], retry_after_s: float | None
    ) -> None:
        self.status = status
        self.code = str(problem.get("code", "unknown"))
        self.detail = str(problem.get("detail", f"the gateway answered {status}"))
        self.advice = str(problem.get("advice", ""))
        self.problem = problem
        self.retry_after_s = retry_after_s
        super().__init__(f"{self.code}: {self.detail}")


class Accepted(BaseModel):
    """What was accepted."""

    id: str
    version: int
    collection: str
    name: str
    created: bool


class Failure(BaseModel):
    """What went wrong with a document."""

    code: str
    message: str
    advice: str = ""
    retryable: bool = False


class Progress(BaseModel):
    """Chunks of the newest version."""

    chunks: int
    done: int
    failed: int


class Document(BaseModel):
    """A document in a list."""

    id: str
    collection: str
    name: str
    version: int
    state: str
    stage: str | None
    media_type: str
    size: int
    attributes: dict[str, str]
    import_job: str | None
    created_at: str
    updated_at: str
    deleted_at: str | None
    progress: Progress | None
    attempts: int
    error: Failure | None


class StageReport(BaseModel):
    """What one stage did."""

    stage: str
    state: str
    attempts: int
    waiting_s: float
    working_s: float
    chunks: int
    tokens: int
    at: str
    error: Failure | None


class DocumentDetail(Document):
    """A document with its history."""

    timeline: list[StageReport]


class DocumentPage(BaseModel):
    """Some documents, and the cursor of those after them."""

    documents: list[Document]
    next: str | None


class Hit(BaseModel):
    """A chunk that was found."""

    score: float
    text: str
    document: str
    name: str
    number: int
    page: int
    headings: list[str]
    section: str
    source_uri: str
    attributes: dict[str, str]


class Hits(BaseModel):
    """The nearest chunks, best first."""

    hits: list[Hit]


class ImportJob(BaseModel):
    """An import, and how far it is."""

    id: str
    collection: str
    created_at: str
    total: int
    done: bool
    counts: dict[str, int]


class Health(BaseModel):
    """Whether documents are accepted at this moment."""

    accepting: bool
    reason: str | None


class HeadraceClient:
    """Calls the API; closes its connections as a context manager.

    Writes carry an ``Idempotency-Key``, so that one whose answer was lost is done once.

    Args:
        url: of the gateway.
        key: API key or token; empty where none is asked for.
        patience_s: how long 429 and 503 are waited out.
        transport: for tests.
    """

    def __init__(
        self,
        url: str,
        *,
        key: str = "",
        patience_s: float = 60.0,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._patience_s = patience_s
        self._http = httpx.AsyncClient(
            base_url=url, headers=headers, timeout=60, transport=transport
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def upload(
        self,
        file: BinaryIO | bytes,
        *,
        collection: str,
        name: str,
        media_type: str = "application/octet-stream",
        on_conflict: OnConflict = "fail",
    ) -> Accepted:
        """Send a file, which is read as it is sent; it must be able to seek."""
        fields = {"collection": collection, "name": name, "on_conflict": on_conflict}
        return await self._write(
            "POST",
            "/v1/documents",
            data=fields,
            files={"file": (name, file, media_type)},
        )

    async def add(
        self,
        *,
        collection: str,
        name: str,
        text: str | None = None,
        uri: str | None = None,
        attributes: Mapping[str, str] | None = None,
        on_conflict: OnConflict = "fail",
    ) -> Accepted:
        """Send a text, or where a document is."""
        said = {
            "collection": collection,
            "name": name,
            "text": text,
            "uri": uri,
            "attributes": dict(attributes or {}),
            "on_conflict": on_conflict,
        }
        return await self._write("POST", "/v1/documents", json=said)

    async def replace(
        self,
        id_: str,
        *,
        text: str | None = None,
        uri: str | None = None,
        version: int | None = None,
    ) -> Accepted:
        """Give a document other content; ``version`` must be its own where given."""
        headers = {} if version is None else {"If-Match": f'"{version}"'}
        return await self._write(
            "PUT",
            f"/v1/documents/{id_}",
            json={"text": text, "uri": uri},
            headers=headers,
        )

    async def delete(self, id_: str) -> Accepted:
        """Delete a document."""
        return await self._write("DELETE", f"/v1/documents/{id_}")

    async def retry(self, id_: str) -> Accepted:
        """Try a failed document again."""
        return await self._write("POST", f"/v1/documents/{id_}/retry")

    async def reindex(self, id_: str) -> Accepted:
        """Process a document again with the settings of now."""
        return await self._write("POST", f"/v1/documents/{id_}/reindex")

    async def get(self, id_: str) -> DocumentDetail:
        """One document."""
        return await self._read("GET", f"/v1/documents/{id_}", DocumentDetail)

    async def page(
        self,
        *,
        collection: str | None = None,
        state: str | None = None,
        job: str | None = None,
        text: str | None = None,
        sort: str = "-created",
        limit: int = 50,
        cursor: str | None = None,
    ) -> DocumentPage:
        """Some documents."""
        asked = {
            "collection": collection,
            "state": state,
            "job": job,
            "text": text,
            "sort": sort,
            "limit": limit,
            "cursor": cursor,
        }
        query = {name: value for name, value in asked.items() if value is not None}
        return await self._read("GET", "/v1/documents", DocumentPage, params=query)

    async def documents(self, **filters: Any) -> AsyncIterator[Document]:
        """All documents that the filters of ``page`` leave."""
        cursor: str | None = None
        while True:
            page = await self.page(**filters, limit=200, cursor=cursor)
            for document in page.documents:
                yield document
            cursor = page.next
            if cursor is None:
                return

    async def search(
        self,
        query: str,
        *,
        collection: str,
        limit: int = 5,
        filters: Mapping[str, Any] | None = None,
    ) -> Sequence[Hit]:
        """The nearest chunks."""
        asked = {
            "collection": collection,
            "query": query,
            "limit": limit,
            "filters": dict(filters or {}),
        }
        return (await self._read("POST", "/v1/search", Hits, json=asked)).hits

    async def start_import(
        self,
        lines: AsyncIterable[bytes],
        *,
        collection: str,
        on_conflict: OnConflict = "fail",
    ) -> ImportJob:
        """Send many documents, a JSON object a line; a 429 or 503 is raised."""
        answer = await self._http.post(
            "/v1/imports",
            params={"collection": collection, "on_conflict": on_conflict},
            content=lines,
            headers={"Content-Type": "application/x-ndjson"},
        )
        return _as(answer, ImportJob)

    async def import_job(self, id_: str) -> ImportJob:
        """How far an import is."""
        return await self._read("GET", f"/v1/imports/{id_}", ImportJob)

    async def health(self) -> Health:
        """Whether documents are accepted."""
        return await self._read("GET", "/v1/health", Health)

    async def _write(self, method: str, path: str, **request: Any) -> Accepted:
        headers = {
            "Idempotency-Key": str(uuid.uuid4()),
            **request.pop("headers", {}),
        }
        return await self._read(method, path, Accepted, headers=headers, **request)

    async def _read(
        self, method: str, path: str, model: type[_M], **request: Any
    ) -> _M:
        deadline = time.monotonic() + self._patience_s
        while True:
            answer = await self._http.request(method, path, **request)
            try:
                return _as(answer, model)
            except ApiError as error:
                wait_s = error.retry_after_s
                late = wait_s is None or time.monotonic() + wait_s > deadline
                if error.status not in _LATER or late or wait_s is None:
                    raise
            _rewind(request)
            await asyncio.sleep(wait_s)


def _as(answer: httpx.Response, model: type[_M]) -> _M:
    if answer.is_success:
        return model.model_validate_json(answer.content)
    try:
        problem = answer.json()
    except ValueError:
        problem = {}
    after = answer.headers.get("retry-after", "")
    raise ApiError(
        answer.status_code,
        problem if isinstance(problem, dict) else {},
        float(after) if after.isdigit() else None,
    )


def _rewind(request: Mapping[str, Any]) -> None:
    """A file that was sent in part is sent from its start again."""
    for _, file, _ in request.get("files", {}).values():
        if not isinstance(file, bytes):
            file.seek(0)
