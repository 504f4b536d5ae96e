"""The store's contract, on the fake, on the local store and on a Qdrant server."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest

from headrace.errors import SharedFailure
from headrace.identity import DocumentKey, InvalidKeyError
from headrace.qdrant import QdrantStore
from headrace.store import CollectionMismatch, Store
from tests.contracts.store_contract import (
    StoreContract,
    collection,
    key,
)
from tests.support.fake_store import FakeStore
from tests.support.store_process import StoreProcess
from tests.support.store_values import SPEC, chunks, document, set_of

__all__ = ["collection", "key"]

QDRANT_URL = os.environ.get("QDRANT_URL", "")


class TestFakeStore(StoreContract):
    @pytest.fixture
    async def store(self) -> Store:
        return FakeStore()


class QdrantContract(StoreContract):
    """What only many connections can show."""

    @pytest.fixture
    async def store(self, url: str) -> AsyncIterator[Store]:
        store = QdrantStore(url, max_call_bytes=1024 * 1024)
        yield store
        await store.close()
        await store.close()

    async def test_many_processes_may_make_a_collection_at_once(self, url: str) -> None:
        name = f"race-{uuid4().hex[:12]}"
        stores = [QdrantStore(url) for _ in range(6)]
        await asyncio.gather(*(one.ensure_collection(name, SPEC) for one in stores))
        owner = document(DocumentKey("default", name, "doc"))
        await asyncio.gather(*(one.apply(name, [chunks(owner, 5)]) for one in stores))
        assert await stores[0].count(name, set_of(owner)) == 5
        await stores[0].drop_collection(name)
        for one in stores:
            await one.close()

    async def test_a_collection_replaced_meanwhile_is_told_before_it_is_used(
        self, store: Store, collection: str, key: DocumentKey, url: str
    ) -> None:
        owner = document(key)
        other = QdrantStore(url)
        await other.drop_collection(collection)
        # Nothing of it is there, or not all of it yet, or it is another's.
        with pytest.raises(SharedFailure, match="is not in the store"):
            await store.read_states(collection, [key])
        await store.ensure_collection(collection, SPEC)
        await other.drop_collection(collection)
        await other.ensure_collection(collection, replace(SPEC, model="other"))
        with pytest.raises(CollectionMismatch, match="model is 'other' there"):
            await store.read_states(collection, [key])
        with pytest.raises(CollectionMismatch):
            await store.ensure_collection(collection, SPEC)

        await other.drop_collection(collection)
        await store.ensure_collection(collection, SPEC)
        await other.drop_collection(collection)
        await other.ensure_collection(collection, replace(SPEC, dimensions=8))
        with pytest.raises(CollectionMismatch, match="dimensions is 8 there"):
            await store.apply(collection, [chunks(owner, 1)])
        assert await other.count(collection, set_of(owner)) == 0
        await other.close()

    async def test_who_never_made_sure_of_a_collection_may_read_any(
        self, store: Store, collection: str, key: DocumentKey, url: str
    ) -> None:
        reader = QdrantStore(url)
        assert await reader.read_states(collection, [key]) == {}
        assert await store.read_states(collection, []) == {}
        await reader.close()

    async def test_callers_of_one_process_make_sure_of_a_collection_once(
        self, url: str
    ) -> None:
        names = [f"crowd-{uuid4().hex[:12]}" for _ in range(2)]
        store = QdrantStore(url)
        send = store._send_plain
        asked: list[str] = []

        async def counted(method: str, request: Any) -> Any:
            asked.append(method)
            return await send(method, request)

        store._send_plain = counted  # type: ignore[method-assign]
        await store.ensure_collection(names[0], SPEC)
        alone, asked[:] = list(asked), []
        await asyncio.gather(
            *(store.ensure_collection(names[1], SPEC) for _ in range(20))
        )
        assert asked == alone
        for name in names:
            await store.drop_collection(name)
        await store.close()

    async def test_of_rivals_with_different_models_one_wins(self, url: str) -> None:
        name = f"race-{uuid4().hex[:12]}"
        specs = [replace(SPEC, dimensions=number) for number in range(2, 8)]
        stores = [QdrantStore(url) for _ in specs]
        outcomes = await asyncio.gather(
            *(
                one.ensure_collection(name, spec)
                for one, spec in zip(stores, specs, strict=True)
            ),
            return_exceptions=True,
        )
        winners = [
            spec
            for spec, outcome in zip(specs, outcomes, strict=True)
            if outcome is None
        ]
        assert len(winners) == 1
        assert sum(isinstance(one, CollectionMismatch) for one in outcomes) == 5
        assert (await stores[0].collections())[name] == winners[0]
        await stores[0].drop_collection(name)
        for one in stores:
            await one.close()

    async def test_a_collection_dropped_elsewhere_is_made_again(
        self, url: str, store: Store, collection: str, key: DocumentKey
    ) -> None:
        elsewhere = QdrantStore(url)
        await elsewhere.drop_collection(collection)
        await elsewhere.close()
        with pytest.raises(Exception, match="is not in the store"):
            await store.apply(collection, [chunks(document(key), 1)])
        await store.ensure_collection(collection, SPEC)
        await store.apply(collection, [chunks(document(key), 1)])
        assert await store.count(collection, set_of(document(key))) == 1

    async def test_the_name_of_anothers_state_records_is_refused(
        self, store: Store
    ) -> None:
        with pytest.raises(InvalidKeyError, match="__documents"):
            await store.ensure_collection("docs__documents", SPEC)


class TestLocalStore(QdrantContract):
    @pytest.fixture
    def url(self, local_store: StoreProcess) -> str:
        return local_store.url


if QDRANT_URL:

    class TestQdrantServer(QdrantContract):
        @pytest.fixture
        def url(self) -> str:
            return QDRANT_URL

else:

    @pytest.mark.skip(reason="not run: QDRANT_URL does not name a Qdrant server")
    def test_qdrant_server() -> None:
        """Stands for the whole contract on a Qdrant server."""
