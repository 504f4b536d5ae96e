from __future__ import annotations

from dataclasses import replace

import pytest

from headrace.assignment import Assignment, Item, OwnedPartition
from headrace.dead_letters import (
    _READERS,
    LETTER,
    DeadLetterTopics,
    Subject,
    letter_key,
    letter_of,
    subject_of,
)
from headrace.errors import SharedFailure
from headrace.handler import Record
from headrace.identity import Arrival, DocumentKey
from headrace.last_resort import LastResort
from headrace.messages import (
    Chunk,
    ChunkSlice,
    DeadLetter,
    DocumentRevision,
    Lane,
    Metadata,
    ObjectReference,
    Stage,
    State,
    StatusError,
)
from headrace.scheduling import Schedule
from headrace.source import Partition
from headrace.status import status_key
from headrace.topology import Topology
from headrace.wire import decode_dead_letter, encode_chunk_slice
from tests.support.fake_clock import FakeClock
from tests.support.fake_producer import (
    FakeDeadLetters,
    FakeProducer,
    FakeStatusReporter,
)

KEY = DocumentKey("default", "books", "a b/c")
ERROR = StatusError("malformed", "cannot be read", "send it again")
DOCUMENT = DocumentRevision(
    key=KEY,
    revision=7,
    fingerprint="0123456789ab-0123456789ab-0123456789ab",
    content_hash=bytes(32),
    arrival=Arrival(1, "t", 0, 3),
    metadata=Metadata(name="A book"),
    lane=Lane.BULK,
)
CHUNKS = tuple(Chunk(number, "text", 1, 0, 4) for number in (64, 65))


def record(value: bytes | None, **changes: object) -> Record:
    made = Record(
        topic="headrace.chunks.v1",
        partition=2,
        offset=40,
        timestamp_ms=1000,
        key=KEY.record_key,
        value=value,
        headers=(("traceparent", b"00-1-2-01"), ("x", b"\xff")),
        topic_id="id",
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def letter(read: Record, stage: Stage = Stage.EMBEDDER) -> DeadLetter:
    return letter_of(
        stage,
        read,
        subject_of(stage, read),
        error=ERROR,
        attempts=3,
        failed_at_ms=5,
    )


SLICE = encode_chunk_slice(ChunkSlice(DOCUMENT, 1, CHUNKS))


def test_the_same_failure_is_the_same_letter_wherever_it_is_met() -> None:
    again = record(SLICE, partition=3, offset=99)
    assert letter_key(letter(record(SLICE))) == letter_key(letter(again))


def test_slices_revisions_and_stages_have_letters_of_their_own() -> None:
    newer = replace(DOCUMENT, revision=8)
    values = [
        SLICE,
        encode_chunk_slice(ChunkSlice(DOCUMENT, 0, CHUNKS[:1])),
        encode_chunk_slice(ChunkSlice(newer, 1, CHUNKS)),
    ]
    keys = {letter_key(letter(record(value))) for value in values}
    keys.add(letter_key(replace(letter(record(SLICE)), stage=Stage.INDEXER)))
    assert len(keys) == 4


def test_what_cannot_be_read_is_known_by_its_key_and_arrival() -> None:
    made = letter(record(b"\xff\xff"))
    assert (made.key, made.revision) == (KEY, 0)
    assert made.arrival == Arrival(1000, "id", 2, 40)
    assert made.original_value == b"\xff\xff"


def test_unreadable_slices_of_one_document_have_letters_of_their_own() -> None:
    arrival = ("headrace-arrival", str(DOCUMENT.arrival).encode())
    unnamed = [record(b"\xff", headers=(arrival,), offset=at) for at in (40, 41)]
    named = [
        record(b"\xff", headers=(arrival, ("ce_id", b"a/7/%d" % number)))
        for number in (0, 1)
    ]
    keys = {letter_key(letter(each)) for each in (*unnamed, *named)}
    assert len(keys) == 4


def test_an_unreadable_slice_that_its_stage_sends_again_is_one_letter() -> None:
    headers = (("ce_id", b"a/7/1"),)
    again = record(b"\xff", headers=headers, offset=99)
    assert letter_key(letter(record(b"\xff", headers=headers))) == letter_key(
        letter(again)
    )


def test_an_unreadable_record_that_was_replayed_rewrites_its_letter() -> None:
    first = letter_key(letter(record(b"\xff", key=None)))
    again = record(b"\xff", key=None, offset=99, headers=((LETTER, first.encode()),))
    assert letter_key(letter(again)) == first
    forged = record(b"\xff", key=None, headers=((LETTER, b"no id of a letter"),))
    assert letter_key(letter(forged)) == first


def test_an_unreadable_event_that_was_replayed_rewrites_its_letter() -> None:
    first = letter(record(b"\xff", key=None), Stage.LOADER)
    assert first.arrival is not None
    again = record(
        b"\xff",
        key=None,
        offset=99,
        headers=(("headrace-arrival", str(first.arrival).encode()),),
    )
    assert letter_key(letter(again, Stage.LOADER)) == letter_key(first)


def test_a_topic_that_was_made_again_overwrites_no_letter() -> None:
    for stage in Stage:
        one = record(b"\xff", key=None)
        other = replace(one, topic_id="new", timestamp_ms=9_000)
        keys = {letter_key(letter(each, stage)) for each in (one, other)}
        assert len(keys) == 2, stage


@pytest.mark.parametrize("key", [None, b"", b"no key of ours"])
def test_without_any_name_the_place_is_the_name(key: bytes | None) -> None:
    one, other = record(b"\xff", key=key), record(b"\xff", key=key, offset=41)
    assert letter(one).key is None
    assert letter_key(letter(one)) == letter_key(letter(one))
    assert letter_key(letter(one)) != letter_key(letter(other))


async def test_a_letter_keeps_the_record_byte_for_byte() -> None:
    producer = FakeProducer()
    topics = DeadLetterTopics(producer, topology=Topology())
    await topics.put(letter(record(SLICE)))
    (sent,) = producer.to("headrace.embedder.dlq.v1")
    read = decode_dead_letter(sent.value)
    assert read.original_value == SLICE
    assert read.original_key == KEY.record_key
    assert read.original_headers == (("traceparent", b"00-1-2-01"), ("x", b"\xff"))
    assert (read.first_chunk, read.end_chunk) == (64, 66)
    assert sent.header("headrace-reason") == b"malformed"
    assert sent.header("headrace-attempts") == b"3"
    assert sent.header("headrace-origin-topic") == b"headrace.chunks.v1"
    assert sent.header("headrace-origin-partition") == b"2"
    assert sent.header("headrace-origin-offset") == b"40"
    assert sent.header("traceparent") == b"00-1-2-01"


async def test_large_originals_go_to_the_object_store() -> None:
    kept: dict[str, bytes] = {}

    async def keep(key: str, value: bytes) -> ObjectReference:
        kept[key] = value
        return ObjectReference(key, len(value), bytes(32))

    producer = FakeProducer()
    topics = DeadLetterTopics(producer, topology=Topology(), keep=keep)
    large = b"x" * (900 * 1024 + 1)
    await topics.put(letter(record(large)))
    read = decode_dead_letter(producer.sent[0].value)
    assert read.original_value is None
    assert read.original_object is not None
    assert kept == {read.original_object.uri: large}


@pytest.mark.parametrize(
    "odd",
    [
        record(b"x" * (900 * 1024), headers=(("h", b"h" * 3_000_000),)),
        record(b"x", headers=(("", b""),) * 400_000),
        record(b"x", headers=(("traceparent", b"0" * 850_000),)),
        record(b"x", key=b"k" * 3_000_000),
    ],
    ids=["headers", "many headers", "trace", "key"],
)
async def test_a_letter_fits_its_topic_whatever_the_record_brought(odd: Record) -> None:
    kept: dict[str, bytes] = {}

    async def keep(key: str, value: bytes) -> ObjectReference:
        kept[key] = value
        return ObjectReference(key, len(value), bytes(32))

    producer, topology = FakeProducer(), Topology()
    await DeadLetterTopics(producer, topology=topology, keep=keep).put(letter(odd))
    (sent,) = producer.sent
    headers = sum(len(name) + len(value) for name, value in sent.headers)
    assert len(sent.value or b"") + headers < topology.max_message_bytes - 10_000
    read = decode_dead_letter(sent.value)
    assert read.original_value == odd.value
    if kept:
        ((_, uri),) = read.original_headers
        whole = decode_dead_letter(kept[uri.decode()])
        assert (whole.original_key, whole.original_headers) == (odd.key, odd.headers)
    else:
        assert (read.original_key, read.original_headers) == (odd.key, odd.headers)


def test_a_fault_of_the_reader_leaves_the_letter(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(_: Record) -> Subject:
        raise RuntimeError("a defect")

    monkeypatch.setitem(_READERS, Stage.EMBEDDER, broken)
    assert subject_of(Stage.EMBEDDER, record(SLICE)).key == KEY


def item(read: Record) -> Item:
    owner = OwnedPartition(Partition(read.topic, 2), Lane.INTERACTIVE)
    made = Item(
        read, Assignment(Schedule(1)), owner, Lane.INTERACTIVE, read.key, 1, 0.0
    )
    made.failures = 3
    return made


async def test_giving_up_writes_the_letter_and_reports_the_failure() -> None:
    letters, status = FakeDeadLetters(), FakeStatusReporter()
    give_up = LastResort(
        stage=Stage.EMBEDDER, dead_letters=letters, status=status, clock=FakeClock()
    )
    await give_up(item(record(SLICE)), ERROR)
    (event,) = status.events
    assert (event.state, event.key, event.revision) == (State.FAILED, KEY, 7)
    assert (event.error, event.attempts, event.lane) == (ERROR, 3, Lane.BULK)
    assert event.metadata.name == "A book"
    assert status_key(event) == KEY.record_key + b"#7#embedder"
    assert letters.letters[0].attempts == 3


async def test_an_unreadable_event_is_reported_as_failed_by_its_arrival() -> None:
    letters, status = FakeDeadLetters(), FakeStatusReporter()
    give_up = LastResort(
        stage=Stage.LOADER, dead_letters=letters, status=status, clock=FakeClock()
    )
    bad = b'{"collection": "c", "id": "named", "text": 7}'
    await give_up(item(record(bad, topic="headrace.documents.v1", key=None)), ERROR)
    (event,) = status.events
    assert (event.state, event.revision) == (State.FAILED, 0)
    assert event.key == DocumentKey("default", "c", "named")
    assert event.arrival == Arrival(1000, "id", 2, 40)
    assert status_key(event) == b"default/c/named#1000/id/2/40#loader"


async def test_a_letter_that_is_not_written_is_not_reported() -> None:
    letters, status = FakeDeadLetters(), FakeStatusReporter()
    letters.fail_next(SharedFailure("broker_unavailable", "down"))
    give_up = LastResort(
        stage=Stage.EMBEDDER, dead_letters=letters, status=status, clock=FakeClock()
    )
    with pytest.raises(SharedFailure):
        await give_up(item(record(SLICE)), ERROR)
    assert not status.events
