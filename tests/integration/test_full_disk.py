"""The local store on a disk that is full: it refuses writes and answers reads."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest
import qdrant_edge as edge
from headrace_local.store.catalog import Catalog
from headrace_local.store.collection import Collection
from headrace_local.store.room import RESERVE_BYTES
from headrace_local.store.server import Server

from headrace.errors import SharedFailure
from headrace.identity import DocumentKey
from headrace.qdrant import QdrantStore
from headrace.qdrant_messages import qdrant
from tests.support.store_values import SPEC, accept

COLLECTION = "docs"
KEYS = [DocumentKey("default", COLLECTION, name) for name in ("one", "two")]


async def test_a_full_disk_refuses_writes_as_a_server_does_and_answers_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog = Catalog(tmp_path / "data")
    server = Server(catalog, host="127.0.0.1", port=0)
    store = QdrantStore(f"http://{server.start()}")
    free = RESERVE_BYTES
    real = os.statvfs

    def statvfs(path: Path) -> SimpleNamespace:
        assert real(path).f_bavail
        return SimpleNamespace(f_bavail=free, f_frsize=1)

    monkeypatch.setattr(os, "statvfs", statvfs)
    try:
        await store.ensure_collection(COLLECTION, SPEC)
        await store.apply(COLLECTION, [accept(KEYS[0], 1)])
        free -= 1
        refused = [
            store.apply(COLLECTION, [accept(KEYS[1], 1)]),
            store.ensure_collection("another", SPEC),
        ]
        for call in refused:
            with pytest.raises(SharedFailure, match="No space left on device"):
                await call
        assert list(await store.read_states(COLLECTION, KEYS)) == KEYS[:1]
        assert list(await store.collections()) == [COLLECTION]
        free += 1
        await store.apply(COLLECTION, [accept(KEYS[1], 1)])
        await store.ensure_collection("another", SPEC)
    finally:
        await store.close()
        server.stop(0)
        catalog.close()


async def test_a_store_starts_on_a_full_disk_to_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog = Catalog(tmp_path)
    catalog.create(qdrant.CreateCollection(collection_name="c"))
    catalog.close()
    full = SimpleNamespace(f_bavail=0, f_frsize=1)
    monkeypatch.setattr(os, "statvfs", lambda _: full)
    monkeypatch.setattr(edge.EdgeShard, "optimize", None)
    catalog = Catalog(tmp_path)
    assert catalog.exists("c")
    assert catalog.delete("c")  # which makes room
    catalog.close()


def test_what_could_not_be_flushed_is_flushed_later(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    request = qdrant.CreateCollection(collection_name="c")
    Collection.create(tmp_path / "shard", request)
    collection = Collection(tmp_path / "shard", request)
    collection.write([])
    calls: list[str] = []
    real = collection._shard

    class Full:
        def flush(self) -> None:
            calls.append("flush")
            if len(calls) == 1:
                raise RuntimeError("No space left on device")

    collection._shard = Full()  # type: ignore[assignment]
    for _ in range(3):
        collection.flush()
    assert len(calls) == 2
    assert "No space left" in caplog.text
    collection._shard = real
    collection.close()
