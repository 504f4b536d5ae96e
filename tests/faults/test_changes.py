"""Rows 34 to 36 and 38: events out of order, updates, deletes, other releases."""

from __future__ import annotations

import asyncio
import hashlib
import time

import pytest
from headrace_embedder.providers.hash_provider import hash_vector

from headrace.identity import Arrival, manifest_hash
from headrace.messages import (
    Chunk,
    ChunkSlice,
    DocumentRevision,
    EmbeddedChunk,
    EmbeddedSlice,
    Lane,
    LoadedText,
    Manifest,
    Metadata,
    Stage,
    TextPart,
)
from headrace.search import search
from headrace.topology import INPUT
from headrace.v1 import document_event_pb2
from headrace.wire import encode_chunk_slice, encode_embedded_slice, encode_loaded_text
from tests.data.golden.make import FOLDER
from tests.faults.commands import replay_all
from tests.faults.harness import Harness, text_of
from tests.faults.reporting import Row
from tests.faults.sources import files, has_letters, visible
from tests.faults.stack import DIMENSIONS
from tests.support.eventually import eventually

UNKNOWN_FIELD = b"\xc2\x3e\x05later"
"""Field 1000 of any message, which no release has yet."""


@pytest.mark.row("32", level=2, injected="clocks 1 h off, and jumping while at work")
async def test_row_32_clocks_that_are_wrong(harness: Harness, row: Row) -> None:
    skews = dict(zip(Stage, ("3600", "-3600", "3600,-3600", "0,86400"), strict=True))
    for stage, skew in skews.items():
        await harness.stage(stage).restart(env={"HEADRACE_CLOCK_SKEW": skew})
    lanes = list(Lane)
    for version in range(3):
        for number in range(20):
            name = f"document/{number}"
            lane = lanes[(number + version) % 2]
            if (number + version) % 5 == 0:
                await harness.delete(name, lane=lane)
            else:
                text = text_of(name, version, 60)
                await harness.upsert(name, text, lane=lane)
    await harness.conclude(row, note="the same end as with right clocks")


@pytest.mark.row("34", level=2, injected="versions 3, 1, 2; delete before its create")
async def test_row_34_out_of_order(harness: Harness, row: Row) -> None:
    lanes = [Lane.INTERACTIVE, Lane.BULK]
    for number in range(6):
        name = f"document/{number}"
        for position, version in enumerate((3, 1, 2)):
            await harness.upsert(
                name,
                text_of(name, version, 30 * version),
                source_version=version,
                lane=lanes[(position + number) % 2],
            )
        late = f"late/{number}"
        await harness.delete(late, source_version=5, lane=lanes[number % 2])
        await harness.upsert(
            late, text_of(late), source_version=4, lane=lanes[(number + 1) % 2]
        )
    await harness.conclude(row)
    assert not await harness.points("late/0")


@pytest.mark.row(
    "34", level=2, injected="a create replayed from the DLQ after a delete"
)
async def test_row_34_a_create_replayed_after_its_delete(
    harness: Harness, row: Row
) -> None:
    async with files(harness) as folder:
        late = folder / "late.txt"
        await harness.upsert(
            "late", "", uri=late.as_uri(), source_version=1, fails=True
        )
        await eventually(lambda: has_letters(harness, 1))
        await harness.delete("late", source_version=2)
        await harness.drained()
        late.write_text("It came late.")

        assert await replay_all(harness) == {"resolved": 1}

        await harness.conclude(row)
        assert not await harness.points("late")


@pytest.mark.row(
    "35", level=2, injected="100 chunks become 3; killed between upsert and clean-up"
)
async def test_row_35_an_update_that_shrinks(harness: Harness, row: Row) -> None:
    await harness.upsert("shrinks", text_of("shrinks", 1, 1200))
    await harness.drained()
    state = await harness.state("shrinks")
    assert state is not None
    large = state.visible.count
    assert large > 64
    sizes = {1: large}
    seen: list[set[tuple[int, int]]] = []
    watching = asyncio.create_task(watch(harness, seen))
    indexer = harness.failpoint("indexer", "between_upsert_and_cleanup")
    try:
        await harness.upsert("shrinks", text_of("shrinks", 2, 36))
        await indexer.ended()
        ended = time.monotonic()
        assert indexer.hit
        await harness.evict("indexer")
        await indexer.start()
        await harness.conclude(row, since=ended)
        await eventually(lambda: len(seen) > 20)
    finally:
        watching.cancel()
        await asyncio.wait([watching])
    if not watching.cancelled():
        watching.result()
    state = await harness.state("shrinks")
    assert state is not None
    sizes[2] = state.visible.count
    assert sizes[2] < 10
    assert len(await harness.points("shrinks")) == sizes[2]
    # Each answer was one whole version: never two, never half of one, never none.
    assert {frozenset(each) for each in seen} == {
        frozenset({(version, size)}) for version, size in sizes.items()
    }
    row.note = f"{large} to {sizes[2]} chunks, {len(seen)} searches meanwhile"


async def watch(harness: Harness, seen: list[set[tuple[int, int]]]) -> None:
    """Search for ever; note which versions are found, and how many chunks of each."""
    query = hash_vector("shrinks", DIMENSIONS)
    while True:
        hits = await search(
            harness.store,
            harness.collection,
            query,
            limit=500,
            conditions={"document_id": "shrinks"},
        )
        found = [1 if " v1 " in hit.text else 2 for hit in hits]
        seen.append({(version, found.count(version)) for version in set(found)})
        await asyncio.sleep(0.01)


@pytest.mark.row(
    "36", level=2, injected="all documents are deleted during their ingest"
)
async def test_row_36_delete_during_ingest(harness: Harness, row: Row) -> None:
    names = await harness.load(20, prefix="early", words=120)
    await harness.drained()
    harness.proxy("provider").black_hole()
    names += await harness.load(40, prefix="late", words=120)
    await eventually(lambda: stuck_at_the_embedder(harness))
    for number, name in enumerate(names):
        await harness.delete(name, lane=list(Lane)[number % 2])
    await harness.proxy("provider").heal()
    await harness.conclude(row, note="0 points")
    assert not await harness.point_ids()


async def stuck_at_the_embedder(harness: Harness) -> bool:
    waiting = await harness.waiting()
    return waiting[Stage.LOADER] == 0 and waiting[Stage.EMBEDDER] > 0


@pytest.mark.row("38", level=2, injected="records of an older and of a newer release")
async def test_row_38_other_releases(harness: Harness, row: Row) -> None:
    """Each hop reads what another release wrote: golden bytes, and unknown fields."""
    older = document_event_pb2.DocumentEvent.FromString(
        (FOLDER / "document_event_inline.bin").read_bytes()
    )
    older.key.tenant, older.key.collection = "default", harness.collection
    key = harness.key(older.key.document_id)
    text = older.inline.decode()
    await harness.send_raw(older.SerializeToString(), key=key.record_key)
    harness.ledger.expect(key.document_id, text)
    newer = harness.key("newer-event")
    older.key.document_id = newer.document_id
    await harness.send_raw(
        older.SerializeToString() + UNKNOWN_FIELD, key=newer.record_key
    )
    harness.ledger.expect(newer.document_id, text)
    for stage in (Stage.CHUNKER, Stage.EMBEDDER, Stage.INDEXER):
        await newer_record(harness, stage)

    await harness.conclude(row, note="no dead letter")

    for stage in Stage:
        assert not await harness.dead_letters(stage)


async def newer_record(harness: Harness, stage: Stage) -> None:
    """A record for a stage as a release to come may write it."""
    text = f"Made for the {stage} by a newer release."
    now = round(time.time() * 1000)
    document = DocumentRevision(
        key=harness.key(f"newer-{stage}"),
        revision=now,
        fingerprint=harness.settings.fingerprint,
        content_hash=hashlib.sha256(text.encode()).digest(),
        arrival=Arrival(now, "newer", 0, list(Stage).index(stage)),
        metadata=Metadata(name="newer.txt"),
        accepted_at_ms=now,
    )
    chunk = Chunk(0, text, 8, 0, len(text))
    manifest = Manifest(1, manifest_hash([text]))
    vector = hash_vector(text, DIMENSIONS)
    value = {
        Stage.CHUNKER: lambda: encode_loaded_text(
            LoadedText(document, (TextPart(text),), length=len(text))
        ),
        Stage.EMBEDDER: lambda: encode_chunk_slice(
            ChunkSlice(document, 0, (chunk,), manifest)
        ),
        Stage.INDEXER: lambda: encode_embedded_slice(
            EmbeddedSlice(document, 0, (EmbeddedChunk(chunk, vector),), manifest)
        ),
    }[stage]()
    await harness.send_raw(
        value + UNKNOWN_FIELD,
        key=document.key.record_key,
        topic=harness.settings.topology.topic(INPUT[stage], Lane.INTERACTIVE),
    )
    harness.ledger.expect(document.key.document_id, text)


# -- deliveries that come again ---------------------------------------------------


@pytest.mark.row(
    "case", level=2, injected="an upsert redelivered after a delete by the other lane"
)
async def test_case_an_upsert_redelivered_after_a_delete_by_the_other_lane(
    harness: Harness, row: Row
) -> None:
    await harness.upsert("first", text_of("first"))
    await harness.drained()
    loader = harness.failpoint("loader", "after_produce_before_commit")
    await harness.upsert("first", text_of("first", 2), lane=Lane.BULK)
    await loader.ended()
    # The upsert was passed on and will come again; the delete overtakes it.
    await harness.delete("first", lane=Lane.INTERACTIVE)
    await harness.evict("loader")
    await loader.start()
    await harness.conclude(row)
    assert not await harness.points("first")


@pytest.mark.row(
    "case", level=2, injected="a source with other bytes at the redelivery"
)
async def test_case_a_source_that_answers_other_bytes_at_the_redelivery(
    harness: Harness, row: Row
) -> None:
    async with files(harness) as folder:
        source = folder / "changes.txt"
        old, new = text_of("changes", 1, 90), text_of("changes", 2, 45)
        source.write_text(old)
        loader = harness.failpoint("loader", "after_produce_before_commit")
        await harness.upsert("changes", new, uri=source.as_uri())
        await loader.ended()
        assert loader.hit
        await eventually(lambda: visible(harness, "changes"))
        first = await harness.state("changes")
        source.write_text(new)
        await harness.evict("loader")
        await loader.restart(env={"HEADRACE_FILE_ROOTS": f'["{folder}"]'})
        await harness.conclude(row, note="a new revision, whole")
        second = await harness.state("changes")
        assert first is not None
        assert second is not None
        assert second.accepted.arrival == first.accepted.arrival
        assert second.visible.revision > first.visible.revision
