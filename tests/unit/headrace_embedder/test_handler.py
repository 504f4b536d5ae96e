"""What the embedder makes of one record."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
from headrace_embedder.breaker import Breaker
from headrace_embedder.cache import CacheKeys
from headrace_embedder.calls import KNOWN_GOOD_TEXT, CallLimits, Calls
from headrace_embedder.embedding import Embedding
from headrace_embedder.handler import EmbedderHandler
from headrace_embedder.providers import Unclear
from headrace_embedder.providers.hash_provider import hash_vector

from headrace import fingerprint, wire
from headrace.errors import DocumentFailure, SharedFailure, Unreadable
from headrace.fingerprint import ChunkingSettings, ModelSettings
from headrace.handler import Delivery, Record
from headrace.identity import Arrival, DocumentKey
from headrace.messages import (
    Chunk,
    ChunkSlice,
    DocumentRevision,
    Lane,
    Manifest,
    Operation,
    Stage,
    State,
)
from headrace.metrics import Metrics
from headrace.retries import Backoff
from headrace.topology import Topology
from tests.support.fake_clock import FakeClock
from tests.support.fake_embedding import FakeCache, FakeProvider
from tests.support.fake_producer import (
    FakeDeadLetters,
    FakeProducer,
    FakeStatusReporter,
)

MODEL = ModelSettings("hash", "hash", "1", 8, document_prefix="passage: ")
CHUNKING = ChunkingSettings("minilm", 240, 24, 240, 240, 240)
DOCUMENT = DocumentRevision(
    key=DocumentKey("default", "library", "a/b"),
    revision=7,
    fingerprint=fingerprint.fingerprint(CHUNKING, MODEL),
    content_hash=bytes(32),
    arrival=Arrival(1_700_000_000_000, "topic-id", 3, 42),
    lane=Lane.BULK,
)
FOREIGN = replace(
    DOCUMENT,
    fingerprint=fingerprint.fingerprint(CHUNKING, replace(MODEL, model="another")),
)


@dataclass
class Bench:
    handler: EmbedderHandler
    provider: FakeProvider
    producer: FakeProducer
    status: FakeStatusReporter
    letters: FakeDeadLetters


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    provider = FakeProvider(seconds=0)
    producer, status = FakeProducer(), FakeStatusReporter()
    letters = FakeDeadLetters()
    clock, metrics = FakeClock(), Metrics(Stage.EMBEDDER)
    calls = Calls(
        provider,
        limits=CallLimits(
            calls=2,
            requests_per_minute=0,
            tokens_per_minute=0,
            deadline_s=60,
            batch_tokens=10**6,
            batch_min=10,
            batch_max=200,
        ),
        breaker=Breaker(),
        clock=clock,
        metrics=metrics,
        backoff=Backoff(2.0),
        random=lambda: 0.5,
    )
    embedding = Embedding(
        calls=calls,
        cache=FakeCache(),
        provider=provider,
        clock=clock,
        metrics=metrics,
        batch_wait_s=0,
        batch_deadline_s=120,
    )
    handler = EmbedderHandler(
        embedding=embedding,
        keys=CacheKeys(MODEL, shared=False),
        model_part=fingerprint.model_part(MODEL),
        document_prefix=MODEL.document_prefix,
        topology=Topology(),
        producer=producer,
        status=status,
        dead_letters=letters,
        metrics=metrics,
        clock=clock,
        worker_version="0.1",
    )
    yield Bench(handler, provider, producer, status, letters)
    await handler.close()


def chunk(number: int, text: str = "") -> Chunk:
    text = text or f"chunk {number}"
    return Chunk(number, text, token_count=3, start=0, end=len(text))


def chunk_slice(*chunks: Chunk, last: bool = True, **changes: Any) -> ChunkSlice:
    value = ChunkSlice(
        document=DOCUMENT,
        slice_number=0,
        chunks=chunks,
        manifest=Manifest(len(chunks), bytes(32)) if last else None,
    )
    return replace(value, **changes)


def delivery(value: ChunkSlice | bytes | None, *, replays: int = 0) -> Delivery:
    data = wire.encode_chunk_slice(value) if isinstance(value, ChunkSlice) else value
    record = Record(
        topic="headrace.chunks.bulk.v1",
        partition=4,
        offset=9,
        timestamp_ms=1_700_000_000_000 - 5000,
        key=DOCUMENT.key.record_key,
        value=data,
        headers=(
            ("traceparent", b"00-" + b"1" * 32 + b"-" + b"2" * 16 + b"-01"),
            ("headrace-arrival", str(DOCUMENT.arrival).encode()),
        ),
    )
    return Delivery(record, Lane.BULK, replays=replays)


async def test_a_slice_goes_on_with_its_vectors_to_the_same_partition_and_lane(
    bench: Bench,
) -> None:
    value = chunk_slice(chunk(0), chunk(1))
    await bench.handler.handle(delivery(value))

    [sent] = bench.producer.sent
    assert (sent.topic, sent.partition) == ("headrace.vectors.bulk.v1", 4)
    assert sent.key == DOCUMENT.key.record_key
    embedded = wire.decode_embedded_slice(sent.value)
    assert (embedded.document, embedded.manifest) == (DOCUMENT, value.manifest)
    assert [one.vector for one in embedded.chunks] == [
        hash_vector(f"passage: chunk {number}", 8) for number in range(2)
    ]
    assert [one.chunk for one in embedded.chunks] == list(value.chunks)
    assert sent.header("headrace-chunks") == b"2"
    assert sent.header("headrace-tokens") == b"6"
    assert sent.header("headrace-arrival") == str(DOCUMENT.arrival).encode()


async def test_the_last_slice_is_reported_with_the_counts_of_all(bench: Bench) -> None:
    bench.provider.refused = {"bad"}
    first = chunk_slice(chunk(0), chunk(1, "bad"), last=False)
    last = replace(
        chunk_slice(chunk(2)), slice_number=1, manifest=Manifest(3, bytes(32))
    )
    await bench.handler.handle(delivery(first))
    assert bench.status.events == []
    await bench.handler.handle(delivery(first))
    await bench.handler.handle(delivery(last))

    [event] = bench.status.events
    assert (event.state, event.stage) == (State.PASSED_ON, Stage.EMBEDDER)
    assert (event.chunks, event.failed_chunks, event.tokens) == (3, 1, 9)
    assert (event.revision, event.arrival) == (7, DOCUMENT.arrival)
    assert event.output is not None
    assert (event.output.topic, event.output.partition) == (
        "headrace.vectors.bulk.v1",
        4,
    )
    assert event.output.last_offset == 2
    assert event.waiting_ms >= 5000


async def test_a_delete_goes_on_as_an_empty_slice(bench: Bench) -> None:
    document = replace(
        DOCUMENT, operation=Operation.DELETE, content_hash=b"", fingerprint="other"
    )
    await bench.handler.handle(delivery(ChunkSlice(document, 0)))

    [sent] = bench.producer.sent
    embedded = wire.decode_embedded_slice(sent.value)
    assert (embedded.document, embedded.chunks) == (document, ())
    assert bench.provider.calls == []
    assert len(bench.status.events) == 1


async def test_an_empty_document_goes_on_too(bench: Bench) -> None:
    await bench.handler.handle(delivery(chunk_slice()))

    embedded = wire.decode_embedded_slice(bench.producer.sent[0].value)
    assert embedded.manifest == Manifest(0, bytes(32))


async def test_a_hole_is_a_letter_before_its_slice_goes_on(bench: Bench) -> None:
    bench.provider.refused = {"bad"}
    value = delivery(chunk_slice(chunk(0), chunk(1, "bad"), chunk(2)))
    bench.letters.fail_next(SharedFailure("broker_unavailable", "down"))
    with pytest.raises(SharedFailure):
        await bench.handler.handle(value)
    assert bench.producer.sent == []
    await bench.handler.handle(value)

    [letter] = bench.letters.letters
    assert (letter.stage, letter.error.code) == (
        Stage.EMBEDDER,
        "rejected_by_provider",
    )
    assert (letter.first_chunk, letter.end_chunk) == (1, 2)
    assert (letter.key, letter.revision, letter.fingerprint) == (
        DOCUMENT.key,
        7,
        DOCUMENT.fingerprint,
    )
    assert letter.original_value == value.record.value
    assert letter.original_headers == value.record.headers
    assert letter.traceparent.startswith("00-1111")
    embedded = wire.decode_embedded_slice(bench.producer.sent[0].value)
    assert [one.hole is None for one in embedded.chunks] == [True, False, True]
    hole = embedded.chunks[1].hole
    assert hole is not None
    assert hole.reason == "rejected_by_provider"


async def test_an_outage_is_nobodys_letter(bench: Bench) -> None:
    bench.provider.down = Unclear("provider_failed", "status 503")

    with pytest.raises(SharedFailure):
        await bench.handler.handle(delivery(chunk_slice(chunk(0))))
    assert (bench.letters.letters, bench.producer.sent) == ([], [])


async def test_chunks_of_another_model_are_left_alone_and_said(bench: Bench) -> None:
    foreign = chunk_slice(chunk(0), document=FOREIGN)

    with pytest.raises(SharedFailure) as failure:
        await bench.handler.handle(delivery(foreign))
    assert failure.value.reason == "model_mismatch"
    assert (bench.handler.ready() or "").startswith("model_mismatch")
    assert bench.provider.calls == []
    await bench.handler.handle(delivery(chunk_slice(chunk(0))))
    assert bench.handler.ready() is None


async def test_a_replayed_letter_of_another_model_needs_a_reindex(bench: Bench) -> None:
    value = delivery(chunk_slice(chunk(0), document=FOREIGN), replays=1)

    with pytest.raises(DocumentFailure) as failure:
        await bench.handler.handle(value)
    assert (failure.value.code, failure.value.retryable) == ("needs_reindex", False)
    assert bench.handler.ready() is None


async def test_partitions_that_went_away_no_longer_matter(bench: Bench) -> None:
    with pytest.raises(SharedFailure):
        await bench.handler.handle(delivery(chunk_slice(chunk(0), document=FOREIGN)))
    bench.handler.assigned(0.5)

    assert bench.handler.ready() is None


@pytest.mark.parametrize("value", [None, b"", b"\xff\xff\xff"])
async def test_what_is_no_slice_is_unreadable(
    bench: Bench, value: bytes | None
) -> None:
    with pytest.raises(Unreadable):
        await bench.handler.handle(delivery(value))


async def test_a_quota_makes_the_stage_not_ready(bench: Bench) -> None:
    bench.provider.script.append(SharedFailure("provider_quota", "no", retry_after=60))

    with pytest.raises(SharedFailure):
        await bench.handler.handle(delivery(chunk_slice(chunk(0))))
    assert str(bench.handler.ready()).startswith("provider_quota: ")


async def test_the_same_record_twice_is_paid_for_once(bench: Bench) -> None:
    value = delivery(chunk_slice(chunk(0), chunk(1)))
    await asyncio.gather(bench.handler.handle(value))
    await bench.handler.handle(value)

    assert (
        len(
            [
                call
                for call in bench.provider.calls
                if not call[0].startswith(KNOWN_GOOD_TEXT)
            ]
        )
        == 1
    )
    assert bench.producer.sent[0].value == bench.producer.sent[1].value


async def test_the_largest_slice_fits_a_record(bench: Bench) -> None:
    text = "ä" * (512 * 1024 // 64 // 2)
    path = tuple("h" * 256 for _ in range(16))
    chunks = [
        replace(chunk(number, text), heading_path=path, section="s" * 256)
        for number in range(64)
    ]
    bench.provider.dimensions = 4096
    metadata = replace(
        DOCUMENT.metadata,
        attributes={f"{number:03}" + "k" * 125: "v" * 1024 for number in range(64)},
    )
    document = replace(DOCUMENT, metadata=metadata)
    await bench.handler.handle(delivery(chunk_slice(*chunks, document=document)))

    value = bench.producer.sent[0].value
    assert value is not None
    assert len(value) < Topology().max_message_bytes - 64 * 1024
