"""The indexer, search and verify on what they really run on."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from dataclasses import replace
from uuid import uuid4

import pytest

from headrace.messages import DocumentRevision, EmbeddedSlice, Operation
from headrace.qdrant import QdrantStore
from headrace.search import search
from headrace.store import Store, StoreChunks, StoredChunk
from headrace.verify import Kind, Oracle
from tests.support.documents import (
    accept,
    chunk_texts,
    embed,
    embedded,
    revision,
    slices,
)
from tests.support.store_process import StoreProcess
from tests.unit.headrace_indexer.indexers import TOGETHER, Indexer

QDRANT_URL = os.environ.get("QDRANT_URL", "")


class IndexerContract:
    @pytest.fixture
    async def collection(self, store: Store) -> AsyncIterator[str]:
        name = f"indexer-{uuid4().hex[:12]}"
        yield name
        await store.drop_collection(name)

    async def test_documents_end_at_their_newest_revision(
        self, store: Store, collection: str
    ) -> None:
        it = Indexer(store, limits=TOGETHER)

        def made(number: int, name: str, **options: Operation) -> DocumentRevision:
            return revision(number, name=name, collection=collection, **options)

        names = [f"doc {number}" for number in range(30)]
        first = [made(1, name) for name in names]
        await accept(store, *first)
        results = await asyncio.gather(
            *[it.handle(*slices(each, 5, size=2)) for each in first]
        )

        assert len(results) == 30

        shrunk, gone, holed = (made(2, name) for name in names[:3])
        gone = replace(gone, operation=Operation.DELETE, content_hash=b"")
        await accept(store, shrunk, gone, holed)
        await it.handle(*slices(shrunk, 2), *slices(gone, 0))
        await it.handle(*slices(holed, 5, holes=[3]))

        assert await self._found(store, shrunk) == set(chunk_texts(shrunk, 2))
        assert await self._found(store, gone) == set()
        assert await self._found(store, holed) == set(chunk_texts(first[2], 5))

        replay = embedded(3, chunk_texts(holed, 5)[3])
        await it.handle(EmbeddedSlice(holed, 0, (replay,)))

        assert await self._found(store, holed) == set(chunk_texts(holed, 5))

        assert await self._kinds(store, collection) == []

    async def test_points_that_come_too_late_are_not_shown_and_repaired(
        self, store: Store, collection: str
    ) -> None:
        it = Indexer(store)
        old, new = (revision(number, collection=collection) for number in (1, 2))
        await accept(store, old)
        await it.handle(*slices(old, 3))
        await accept(store, new)
        await it.handle(*slices(new, 3))
        late = tuple(
            StoredChunk(old, each, live=True) for each in slices(old, 3)[0].chunks
        )
        await store.apply(collection, [StoreChunks(late)])

        assert await self._found(store, new) == set(chunk_texts(new, 3))
        assert await self._kinds(store, collection) == [Kind.STALE]

        await Oracle(store).repair()

        assert await self._kinds(store, collection) == []
        assert await self._found(store, new) == set(chunk_texts(new, 3))

    async def _kinds(self, store: Store, collection: str) -> list[Kind]:
        report = await Oracle(store, embed=embed).verify()
        return [
            each.kind
            for each in report.findings
            if each.key and each.key.collection == collection
        ]

    async def _found(self, store: Store, document: DocumentRevision) -> set[str]:
        hits = await search(
            store,
            document.key.collection,
            embed("anything"),
            limit=50,
            conditions={"document_id": document.key.document_id},
        )
        return {hit.text for hit in hits}


class TestOnTheLocalStore(IndexerContract):
    @pytest.fixture
    async def store(self, local_store: StoreProcess) -> AsyncIterator[Store]:
        store = QdrantStore(local_store.url)
        yield store
        await store.close()


@pytest.mark.skipif(not QDRANT_URL, reason="QDRANT_URL names no Qdrant server")
class TestOnAServer(IndexerContract):
    @pytest.fixture
    async def store(self) -> AsyncIterator[Store]:
        store = QdrantStore(QDRANT_URL)
        yield store
        await store.close()
