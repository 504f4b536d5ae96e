"""What --delete-missing takes out, and what it leaves alone."""

from __future__ import annotations

from pathlib import Path

import pytest
from headrace_cli.documents import Job
from headrace_cli.ingesting import missing

from headrace.identity import Arrival
from headrace.messages import Chunk, DocumentRevision, EmbeddedChunk, Manifest, Metadata
from headrace.state import Accepted, ChunkSet
from headrace.store import (
    CollectionSpec,
    Flip,
    SetLive,
    StoreChunks,
    StoredChunk,
    WriteAccepted,
)
from tests.support.fake_store import FakeStore

JOB = Job(id="job", collection="mill")
ROOT = Path("/home/miller/docs")


async def store_document(
    store: FakeStore, name: str, uri: str, *, tenant: str = "default"
) -> None:
    key = Job(id="job", collection="mill", tenant=tenant).key(name)
    arrival = Arrival(1, "t", 0, 0)
    document = DocumentRevision(
        key=key,
        revision=1,
        fingerprint="a-b-c",
        content_hash=b"h" * 32,
        arrival=arrival,
        metadata=Metadata(source_uri=uri),
    )
    chunk = Chunk(number=0, text="grain", token_count=1, start=0, end=5)
    manifest = Manifest(1, b"m" * 32)
    stored = StoredChunk(
        document, EmbeddedChunk(chunk, b"\0\0\x80?"), manifest=manifest
    )
    chunk_set = ChunkSet(key, 1, "a-b-c", b"h" * 32)
    await store.apply(
        "mill",
        [
            WriteAccepted(key, Accepted(arrival, None, b"h" * 32, 1), expected=None),
            StoreChunks((stored,)),
            SetLive(chunk_set),
            Flip(chunk_set, 1, 0),
        ],
    )


@pytest.fixture
async def store() -> FakeStore:
    store = FakeStore()
    await store.ensure_collection("mill", CollectionSpec("m", "1", 1))
    return store


async def test_only_what_came_from_below_the_named_folders_is_gone(
    store: FakeStore,
) -> None:
    await store_document(store, "here.txt", "file:///home/miller/docs/here.txt")
    await store_document(store, "gone.txt", "file:///home/miller/docs/a/gone.txt")
    await store_document(store, "near.txt", "file:///home/miller/docs2/near.txt")
    await store_document(store, "web", "https://example.org/web")
    await store_document(store, "upstream", "")

    gone, elsewhere = await missing(store, JOB, {"here.txt"}, [ROOT])

    assert [key.document_id for key in gone] == ["gone.txt"]
    assert elsewhere == 3


async def test_other_tenants_are_none_of_ours(store: FakeStore) -> None:
    uri = "file:///home/miller/docs/theirs.txt"
    await store_document(store, "theirs.txt", uri, tenant="other")

    assert await missing(store, JOB, set(), [ROOT]) == ([], 0)


async def test_a_collection_that_does_not_exist_yet_misses_nothing() -> None:
    assert await missing(FakeStore(), JOB, set(), [ROOT]) == ([], 0)
