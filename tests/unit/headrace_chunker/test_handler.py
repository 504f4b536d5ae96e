"""What the chunker does with a record: its output, its errors, its memory."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from dataclasses import replace

import pytest
from headrace_chunker.handler import ChunkerHandler
from headrace_chunker.work import Inline, Splitter

from headrace import fingerprint
from headrace.errors import DocumentFailure, SharedFailure, Unreadable
from headrace.handler import Delivery, Headers, Record
from headrace.identity import Arrival, DocumentKey, manifest_hash
from headrace.messages import (
    ChunkSlice,
    DocumentRevision,
    Lane,
    LoadedText,
    Manifest,
    Metadata,
    ObjectReference,
    Operation,
    OutputPosition,
    Stage,
    State,
    TextPart,
)
from headrace.metrics import Metrics
from headrace.topology import Topology
from headrace.wire import (
    decode_chunk_slice,
    encode_loaded_text,
    write_text_parts,
)
from tests.support.chunking import chunks_of, settings, tokenizer
from tests.support.fake_clock import FakeClock
from tests.support.fake_producer import FakeProducer, FakeStatusReporter

CHUNKING = settings(size=32, overlap=4, whole=32)
PART = fingerprint.chunker_part(CHUNKING)
DOCUMENT = DocumentRevision(
    DocumentKey("default", "mill", "handbook"),
    17,
    f"0123456789ab-{PART}-ba9876543210",
    b"h" * 32,
    Arrival(1_700_000_000_000, "documents", 3, 11),
    lane=Lane.BULK,
    metadata=Metadata(name="handbook.md", media_type="text/markdown"),
)
TEXT = "# Mill\n\n" + "The wheel turns and the stone grinds the grain. " * 400


class FakeObjects:
    """Gives one text piece by piece, each once ``gate`` is set."""

    def __init__(self, pieces: list[bytes], error: Exception | None = None) -> None:
        self.pieces = pieces
        self.error = error
        self.read = 0
        self.closed = False
        self.gate = asyncio.Event()
        self.gate.set()

    async def open(self, reference: ObjectReference) -> AsyncGenerator[bytes, None]:
        try:
            for piece in self.pieces:
                await self.gate.wait()
                self.read += 1
                yield piece
            if self.error is not None:
                raise self.error
        finally:
            self.closed = True


class World:
    """A handler and the fakes around it."""

    def __init__(
        self,
        objects: FakeObjects | None = None,
        *,
        threads: int = 3,
        producer: FakeProducer | None = None,
        splitter: Splitter | None = None,
    ) -> None:
        self.objects = objects or FakeObjects([])
        self.producer = producer or FakeProducer()
        self.status = FakeStatusReporter()
        self.clock = FakeClock()
        self.handler = ChunkerHandler(
            splitter=splitter
            or Splitter(settings=CHUNKING, tokenizer=tokenizer(CHUNKING.tokenizer)),
            chunker_part=PART,
            threads=threads,
            objects=self.objects,
            topology=Topology(),
            producer=self.producer,
            status=self.status,
            metrics=Metrics(Stage.CHUNKER),
            clock=self.clock,
        )

    def slices(self) -> list[ChunkSlice]:
        sent = [decode_chunk_slice(sent.value) for sent in self.producer.sent]
        return sorted(sent, key=lambda piece: piece.slice_number)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    made = World()
    yield made
    await made.handler.close()


def delivery(value: bytes | None, *, partition: int = 4) -> Delivery:
    record = Record(
        "headrace.texts.bulk.v1",
        partition,
        5,
        1_699_999_999_000,
        DOCUMENT.key.record_key,
        value,
    )
    return Delivery(record, Lane.BULK, attempt=2)


class WaitingSplitter(Splitter):
    """Splits what is bulk once the gate is open."""

    def __init__(self) -> None:
        super().__init__(settings=CHUNKING, tokenizer=tokenizer(CHUNKING.tokenizer))
        self.gate = threading.Event()

    def inline(
        self, value: bytes | None, *, accept: Callable[[DocumentRevision], bool]
    ) -> Inline:
        found = super().inline(value, accept=accept)
        if found.text.document.lane is Lane.BULK:
            assert self.gate.wait(30)
        return found


def inline(text: str, document: DocumentRevision = DOCUMENT) -> bytes:
    parts = (TextPart(text),) if text else ()
    return encode_loaded_text(LoadedText(document, parts, length=len(text)))


def by_reference(document: DocumentRevision = DOCUMENT) -> bytes:
    reference = ObjectReference("texts/default/aa", 1, b"s" * 32)
    return encode_loaded_text(LoadedText(document, object=reference))


def stored(text: str, *, piece: int = 5000) -> list[bytes]:
    parts = (TextPart(text[at : at + 3000]) for at in range(0, len(text), 3000))
    data = b"".join(write_text_parts(parts))
    return [data[at : at + piece] for at in range(0, len(data), piece)]


async def until(condition: Callable[[], bool]) -> None:
    """Turn the loop until the condition holds."""
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110  a turn of the loop is what matters
            await asyncio.sleep(0)


async def test_a_text_becomes_slices_on_its_lane_and_partition(world: World) -> None:
    await world.handler.handle(delivery(inline(TEXT)))

    expected = chunks_of(TEXT, name="handbook.md", by=CHUNKING)
    slices = world.slices()
    assert expected == [chunk for piece in slices for chunk in piece.chunks]
    assert len(slices) > 1
    assert all(piece.document == DOCUMENT for piece in slices)
    assert (
        Manifest(len(expected), manifest_hash([c.text for c in expected]))
        == slices[-1].manifest
    )
    for sent in world.producer.sent:
        piece = decode_chunk_slice(sent.value)
        assert (sent.topic, sent.partition) == ("headrace.chunks.bulk.v1", 4)
        assert DOCUMENT.key.record_key == sent.key
        assert b"%d" % len(piece.chunks) == sent.header("headrace-chunks")
        tokens = sum(chunk.token_count for chunk in piece.chunks)
        assert b"%d" % tokens == sent.header("headrace-tokens")


async def test_the_status_is_the_whole_fact(world: World) -> None:
    await world.handler.handle(delivery(inline(TEXT)))

    (event,) = world.status.events
    chunks = [chunk for piece in world.slices() for chunk in piece.chunks]
    assert (event.stage, event.state) == (Stage.CHUNKER, State.PASSED_ON)
    assert (DOCUMENT.key, 17, 2) == (event.key, event.revision, event.attempts)
    assert len(chunks) == event.chunks
    assert sum(chunk.token_count for chunk in chunks) == event.tokens
    assert event.waiting_ms == 1000
    last = max(sent.offset for sent in world.producer.sent)
    assert OutputPosition("headrace.chunks.bulk.v1", 4, last) == event.output


async def test_an_empty_text_is_one_slice_that_says_so(world: World) -> None:
    await world.handler.handle(delivery(inline("")))

    assert [
        ChunkSlice(DOCUMENT, 0, (), Manifest(0, manifest_hash([])))
    ] == world.slices()


async def test_a_delete_is_passed_on_whatever_its_fingerprint(world: World) -> None:
    document = replace(
        DOCUMENT, operation=Operation.DELETE, content_hash=b"", fingerprint=""
    )

    await world.handler.handle(delivery(encode_loaded_text(LoadedText(document))))

    assert [ChunkSlice(document, 0)] == world.slices()
    assert State.PASSED_ON is world.status.events[0].state


async def test_concurrent_records_are_split_together_and_fail_alone(
    world: World,
) -> None:
    texts = [f"Text number {number}." for number in range(50)]
    results = await asyncio.gather(
        *(world.handler.handle(delivery(inline(text))) for text in texts),
        world.handler.handle(delivery(b"\xff\xff")),
        world.handler.handle(delivery(None)),
        return_exceptions=True,
    )

    assert results[:50] == [None] * 50
    assert all(isinstance(result, Unreadable) for result in results[50:])
    assert sorted(texts) == sorted(p.chunks[0].text for p in world.slices())


async def test_other_chunking_settings_are_refused_and_explained(world: World) -> None:
    other = replace(DOCUMENT, fingerprint="0123456789ab-0123456789ab-ba9876543210")

    for value in (inline(TEXT, other), by_reference(other)):
        with pytest.raises(SharedFailure) as caught:
            await world.handler.handle(delivery(value))
        assert caught.value.reason == "fingerprint_mismatch"
    assert world.producer.sent == []
    assert "HEADRACE_TOKENIZER" in (world.handler.ready() or "")

    await world.handler.handle(delivery(inline("fine"), partition=1))
    assert world.handler.ready() is not None
    await world.handler.handle(delivery(inline("fine")))
    assert world.handler.ready() is None


async def test_a_new_assignment_forgets_old_refusals(world: World) -> None:
    other = replace(DOCUMENT, fingerprint="0123456789ab-0123456789ab-ba9876543210")
    with pytest.raises(SharedFailure):
        await world.handler.handle(delivery(inline(TEXT, other)))

    world.handler.assigned(0.5)

    assert world.handler.ready() is None


async def test_a_failed_send_fails_the_record_without_a_status(world: World) -> None:
    world.producer.fail_next(SharedFailure("broker_unavailable", "gone"))

    with pytest.raises(SharedFailure, match="gone"):
        await world.handler.handle(delivery(inline(TEXT)))

    assert world.status.events == []
    await world.handler.handle(delivery(inline(TEXT)))
    assert len(world.status.events) == 1


@pytest.mark.parametrize("threads", [1, 3])
async def test_a_stored_text_gives_what_the_inline_text_gives(threads: int) -> None:
    world = World(FakeObjects(stored(TEXT)), threads=threads)
    await world.handler.handle(delivery(by_reference()))
    streamed = world.slices()
    await world.handler.handle(delivery(inline(TEXT)))

    assert streamed == world.slices()[::2]
    assert world.status.events[0].chunks == world.status.events[1].chunks
    assert world.objects.closed
    await world.handler.close()


async def test_slices_of_a_stored_text_leave_before_it_is_read_to_its_end() -> None:
    world = World(FakeObjects(stored(TEXT * 12)))
    task = asyncio.create_task(world.handler.handle(delivery(by_reference())))

    await until(lambda: len(world.producer.sent) >= 3)
    read_at_third = world.objects.read
    await task

    assert read_at_third < len(world.objects.pieces)
    await world.handler.close()


@pytest.mark.parametrize(
    ("error", "code", "retryable"),
    [
        (DocumentFailure("object_not_found", "no object"), "text_missing", True),
        (DocumentFailure("object_changed", "other hash"), "object_changed", False),
    ],
)
async def test_a_text_that_cannot_be_read_never_gets_a_manifest(
    error: DocumentFailure, code: str, *, retryable: bool
) -> None:
    world = World(FakeObjects(stored(TEXT), error))

    with pytest.raises(DocumentFailure) as caught:
        await world.handler.handle(delivery(by_reference()))

    assert (code, retryable) == (caught.value.code, caught.value.retryable)
    assert all(piece.manifest is None for piece in world.slices())
    assert world.status.events == []
    await world.handler.close()


async def test_a_truncated_text_is_unreadable() -> None:
    world = World(FakeObjects([b"".join(stored(TEXT))[:-1]]))

    with pytest.raises(Unreadable):
        await world.handler.handle(delivery(by_reference()))

    await world.handler.close()


async def test_a_cancelled_stream_ends_its_thread_and_closes_its_source() -> None:
    world = World(FakeObjects(stored(TEXT * 12)))
    task = asyncio.create_task(world.handler.handle(delivery(by_reference())))
    await until(lambda: world.objects.read >= 2)
    world.objects.gate.clear()

    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert world.objects.closed
    assert world.status.events == []
    # The thread is free again.
    world.objects.gate.set()
    await world.handler.handle(delivery(by_reference()))
    assert len(world.status.events) == 1
    await world.handler.close()


class SlowProducer(FakeProducer):
    """Confirms nothing before ``gate`` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = asyncio.Event()
        self.waiting = 0

    async def send(
        self,
        topic: str,
        *,
        key: bytes | None,
        value: bytes | None,
        partition: int | None = None,
        headers: Headers = (),
    ) -> OutputPosition:
        self.waiting += 1
        await self.gate.wait()
        return await super().send(
            topic, key=key, value=value, partition=partition, headers=headers
        )


async def test_a_slow_broker_holds_the_splitting_back() -> None:
    producer = SlowProducer()
    world = World(FakeObjects(stored(TEXT * 12)), producer=producer)
    task = asyncio.create_task(world.handler.handle(delivery(by_reference())))

    await until(lambda: producer.waiting == 4)
    for _ in range(200):
        await asyncio.sleep(0)

    assert producer.waiting == 4
    assert world.objects.read < len(world.objects.pieces)
    producer.gate.set()
    await task
    await world.handler.close()


async def test_two_streams_leave_a_thread_for_texts_in_their_records() -> None:
    world = World(FakeObjects(stored(TEXT)))
    world.objects.gate.clear()
    streams: list[Awaitable[None]] = [
        asyncio.create_task(world.handler.handle(delivery(by_reference())))
        for _ in range(4)
    ]

    await world.handler.handle(delivery(inline("small")))

    assert [p.chunks[0].text for p in world.slices()] == ["small"]
    world.objects.gate.set()
    await asyncio.gather(*streams)
    await world.handler.close()


async def test_what_is_interactive_is_not_split_behind_what_is_bulk() -> None:
    splitter = WaitingSplitter()
    world = World(splitter=splitter)
    bulk = [
        asyncio.create_task(world.handler.handle(delivery(inline("bulk"))))
        for _ in range(3)
    ]
    interactive = replace(DOCUMENT, lane=Lane.INTERACTIVE)
    record = delivery(inline("asked for", interactive)).record

    async with asyncio.timeout(30):
        await world.handler.handle(Delivery(record, Lane.INTERACTIVE))

    assert [p.chunks[0].text for p in world.slices()] == ["asked for"]
    splitter.gate.set()
    await asyncio.gather(*bulk)
    await world.handler.close()
