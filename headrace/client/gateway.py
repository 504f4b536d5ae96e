"""The client: documents, imports, search; what operators do is its ``admin``."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Mapping, Sequence
from types import TracebackType
from typing import Any, BinaryIO, Literal, Self

import httpx

from headrace.client.admin import AdminCalls
from headrace.client.answers import (
    Accepted,
    Document,
    DocumentDetail,
    DocumentPage,
    Health,
    Hit,
    Hits,
    ImportItem,
    ImportItems,
    ImportJob,
    ImportJobs,
    Produced,
    ProducedDetail,
    ProducedPage,
    Queue,
    Working,
    WorkingList,
)
from headrace.client.calls import Calls, given
from headrace.client.listening import Change, listened

OnConflict = Literal["fail", "replace", "new-version"]


class HeadraceClient:
    """Calls the API; closes its connections as a context manager.

    Writes carry an ``Idempotency-Key``: what is sent again after 429 or 503 is done
    once. An answer that is lost raises; the same call again is another write.

    Args:
        url: of the gateway.
        key: API key or token; empty where none is asked for.
        patience_s: how long 429 and 503 are waited out.
        transport: for tests.

    Attributes:
        admin: what operators may do.
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
        self._http = httpx.AsyncClient(
            base_url=url, headers=headers, timeout=60, transport=transport
        )
        self._calls = Calls(self._http, patience_s=patience_s)
        self.admin = AdminCalls(self._calls)

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
        return await self._accepted(
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
        return await self._accepted("POST", "/v1/documents", json=said)

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
        return await self._accepted(
            "PUT",
            f"/v1/documents/{id_}",
            json={"text": text, "uri": uri},
            headers=headers,
        )

    async def delete(self, id_: str) -> Accepted:
        """Delete a document."""
        return await self._accepted("DELETE", f"/v1/documents/{id_}")

    async def retry(self, id_: str) -> Accepted:
        """Try a failed document again."""
        return await self._accepted("POST", f"/v1/documents/{id_}/retry")

    async def reindex(self, id_: str) -> Accepted:
        """Process a document again with the settings of now."""
        return await self._accepted("POST", f"/v1/documents/{id_}/reindex")

    async def get(self, id_: str) -> DocumentDetail:
        """One document."""
        return await self._calls.call("GET", f"/v1/documents/{id_}", DocumentDetail)

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
        query = given(
            collection=collection,
            state=state,
            job=job,
            text=text,
            sort=sort,
            limit=limit,
            cursor=cursor,
        )
        return await self._calls.call(
            "GET", "/v1/documents", DocumentPage, params=query
        )

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

    async def produced(
        self,
        *,
        collection: str | None = None,
        state: str | None = None,
        job: str | None = None,
        text: str | None = None,
    ) -> AsyncIterator[Produced]:
        """Documents that producers sent to Kafka themselves, the last ones first."""
        cursor: str | None = None
        while True:
            query = given(
                collection=collection,
                state=state,
                job=job,
                text=text,
                limit=200,
                cursor=cursor,
            )
            page = await self._calls.call(
                "GET", "/v1/produced", ProducedPage, params=query
            )
            for document in page.documents:
                yield document
            cursor = page.next
            if cursor is None:
                return

    async def produced_document(self, id_: str) -> ProducedDetail:
        """One of these."""
        return await self._calls.call("GET", f"/v1/produced/{id_}", ProducedDetail)

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
        return (await self._calls.call("POST", "/v1/search", Hits, json=asked)).hits

    async def start_import(
        self,
        lines: AsyncIterable[bytes],
        *,
        collection: str,
        on_conflict: OnConflict = "fail",
        while_paused: bool = False,
        key: str | None = None,
    ) -> ImportJob:
        """Send many documents, a JSON object a line; a 429 or 503 is raised.

        Args:
            lines: sent as they come.
            collection: of lines that name none.
            on_conflict: what to do with names that are taken.
            while_paused: though the collection is paused: work on it begins once it is
                resumed. Needs the scope ``admin``.
            key: the request's ``Idempotency-Key``, to send it again.
        """
        paused = {"while_paused": "true"} if while_paused else {}
        return await self._calls.once(
            "POST",
            "/v1/imports",
            ImportJob,
            params={"collection": collection, "on_conflict": on_conflict, **paused},
            content=lines,
            headers={
                "Content-Type": "application/x-ndjson",
                **given(**{"Idempotency-Key": key}),
            },
        )

    async def import_job(self, id_: str) -> ImportJob:
        """How far an import is."""
        return await self._calls.call("GET", f"/v1/imports/{id_}", ImportJob)

    async def import_items(
        self, id_: str, *, state: str | None = None
    ) -> AsyncIterator[ImportItem]:
        """The lines of an import, in their order."""
        after = 0
        while True:
            page = await self._calls.call(
                "GET",
                f"/v1/imports/{id_}/items",
                ImportItems,
                params=given(state=state, after=after, limit=1000),
            )
            for item in page.items:
                yield item
            if page.next is None:
                return
            after = page.next

    async def imports(self) -> AsyncIterator[ImportJob]:
        """All imports, newest first."""
        cursor: str | None = None
        while True:
            page = await self._calls.call(
                "GET", "/v1/imports", ImportJobs, params=given(cursor=cursor, limit=100)
            )
            for job in page.imports:
                yield job
            cursor = page.next
            if cursor is None:
                return

    def changes(
        self,
        *,
        collection: str | None = None,
        document: str | None = None,
        job: str | None = None,
    ) -> AsyncIterator[Change]:
        """What becomes of documents from now on; raises ``Overrun`` too.

        It ends when the gateway or the credential does.
        """
        wanted = given(collection=collection, document=document, job=job)
        return listened(self._http, wanted)

    async def health(self) -> Health:
        """Whether documents are accepted."""
        return await self._calls.call("GET", "/v1/health", Health)

    async def working(self) -> Sequence[Working]:
        """Processes that have said in the last two minutes that they work."""
        found = await self._calls.call("GET", "/v1/health/workers", WorkingList)
        return found.workers

    async def queue(self) -> Queue:
        """What waits, and how long."""
        return await self._calls.call("GET", "/v1/health/queue", Queue)

    async def _accepted(self, method: str, path: str, **request: Any) -> Accepted:
        return await self._calls.write(method, path, Accepted, **request)
