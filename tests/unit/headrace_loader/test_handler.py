"""The loader's handler: what it leaves behind for every kind of event and failure."""

import asyncio
import errno
import json
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import pytest_asyncio
from headrace_loader import app
from headrace_loader.acceptance import Acceptance
from headrace_loader.content import Spool
from headrace_loader.handler import LoaderHandler
from headrace_loader.loading import Loading, Sources
from headrace_loader.parking import Parking
from headrace_loader.settings import LoaderSettings
from headrace_loader.sources.files import FileSource
from headrace_loader.workspace import Workspace

from headrace.control import Control, Target
from headrace.errors import DocumentFailure, SharedFailure, Unreadable
from headrace.handler import Delivery, Record
from headrace.identity import Arrival, DocumentKey
from headrace.messages import (
    DocumentEvent,
    Lane,
    LoadedText,
    Metadata,
    ObjectReference,
    Operation,
    Pause,
    State,
)
from headrace.objects import Objects
from headrace.state import ChunkSet, StateRecord
from headrace.store import CollectionSpec, Flip
from headrace.topology import Topology
from headrace.wire import TextPartReader, decode_loaded_text, encode_event
from tests.support.fake_clock import FakeClock
from tests.support.fake_producer import FakeProducer, FakeStatusReporter
from tests.support.fake_store import FakeStore
from tests.support.nothing_parked import NothingParked
from tests.unit.headrace_loader import documents

KEY = DocumentKey("acme", "docs", "a/b ü")
TOPOLOGY = Topology()
TEXTS = TOPOLOGY.topic
FINGERPRINT = "0" * 12 + "-" + "1" * 12 + "-" + "2" * 12


@dataclass
class Stage:
    """A handler, and everything around it."""

    handler: LoaderHandler
    store: FakeStore
    producer: FakeProducer
    status: FakeStatusReporter
    objects: Objects
    root: Path
    work: Path
    control: Control = field(default_factory=Control)

    @property
    def texts(self) -> list[LoadedText]:
        return [
            decode_loaded_text(sent.value)
            for sent in self.producer.sent
            if ".texts." in sent.topic
        ]

    @property
    def states(self) -> list[State]:
        return [event.state for event in self.status.events]

    async def record(self) -> StateRecord | None:
        return (await self.store.read_states("docs", [KEY])).get(KEY)

    async def send(
        self,
        event: DocumentEvent,
        *,
        offset: int = 1,
        attempt: int = 1,
        lane: Lane = Lane.INTERACTIVE,
    ) -> None:
        await self.handler.handle(delivery(event, offset, attempt=attempt, lane=lane))


def delivery(
    event: DocumentEvent | None,
    offset: int = 1,
    *,
    key: bytes | None = KEY.record_key,
    value: bytes | None = None,
    headers: tuple[tuple[str, bytes], ...] = (),
    attempt: int = 1,
    lane: Lane = Lane.INTERACTIVE,
) -> Delivery:
    record = Record(
        topic="headrace.documents.v1",
        partition=2,
        offset=offset,
        timestamp_ms=1_700_000_000_000 + offset,
        key=key,
        value=encode_event(event) if event else value,
        headers=headers,
        topic_id="topic-id",
    )
    return Delivery(record, lane, attempt)


def upsert(text: str | bytes = "some text", **about: object) -> DocumentEvent:
    data = text.encode() if isinstance(text, str) else text
    metadata = about.pop("metadata", Metadata(name="x.txt"))
    return DocumentEvent(KEY, inline=data, metadata=metadata, **about)  # type: ignore[arg-type]


WHY = Pause("somebody", "", 1)


@pytest_asyncio.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    root = tmp_path / "root"
    root.mkdir()
    settings = LoaderSettings(
        work_dir=tmp_path / "work",
        file_roots=[root],
        object_store_url=f"file://{tmp_path}/objects",
        parsers=1,
        max_source_bytes=20_000_000,
    )
    store, producer, status = FakeStore(), FakeProducer(), FakeStatusReporter()
    objects = Objects.from_settings(settings)
    workspace = Workspace(settings.work_dir)
    handler = LoaderHandler(
        topology=TOPOLOGY,
        fingerprint=FINGERPRINT,
        producer=producer,
        status=status,
        clock=FakeClock(),
        loading=Loading(
            workspace=workspace,
            sources=Sources(
                files=FileSource(settings.file_roots, max_bytes=20_000_000),
                urls=app.url_source(settings),
                objects=objects,
            ),
            parsers=app.parser_pool(settings, workspace),
            at_once=4,
            max_bytes=20_000_000,
        ),
        acceptance=Acceptance(store, spec=CollectionSpec("model", "1", 3)),
        objects=objects,
        parking=Parking(
            topology=TOPOLOGY,
            producer=producer,
            status=status,
            clock=FakeClock(),
            control=lambda: made.control,
        ),
        unparking=NothingParked(),
    )
    made = Stage(handler, store, producer, status, objects, root, workspace.path)
    yield made
    files = [path.name for path in workspace.path.glob("file-*")]
    await handler.close()
    assert files == [], "a temporary file was left behind"


async def make_visible(stage: Stage) -> None:
    record = await stage.record()
    assert record is not None
    accepted = record.accepted
    chunk_set = ChunkSet(KEY, accepted.revision, FINGERPRINT, accepted.content_hash)
    await stage.store.apply("docs", [Flip(chunk_set, count=1, failed=0)])


async def test_a_text_is_accepted_and_passed_on(stage: Stage) -> None:
    await stage.send(upsert("héllo\r\nworld", source_version=4), offset=7)

    (sent,) = stage.producer.sent
    (loaded,) = stage.texts
    record = await stage.record()
    assert record is not None
    document = loaded.document
    assert sent.topic == "headrace.texts.v1"
    assert sent.key == KEY.record_key
    assert sent.header("headrace-arrival") == str(document.arrival).encode()
    assert [part.text for part in loaded.parts or ()] == ["héllo\nworld"]
    assert (loaded.length, loaded.parser) == (11, "text/1")
    assert document.arrival == Arrival(1_700_000_000_007, "topic-id", 2, 7)
    assert document.revision == record.accepted.revision == 1_700_000_000_007
    assert document.content_hash == record.accepted.content_hash
    assert (document.fingerprint, document.source_version) == (FINGERPRINT, 4)
    assert document.metadata == Metadata(name="x.txt", media_type="text/plain")
    (event,) = stage.status.events
    assert event.state is State.PASSED_ON
    assert event.revision == document.revision
    assert event.output is not None
    assert (event.output.topic, event.output.last_offset) == (sent.topic, sent.offset)


async def test_json_events_are_accepted_too(stage: Stage) -> None:
    value = json.dumps(
        {
            "tenant": "acme",
            "collection": "docs",
            "document_id": KEY.document_id,
            "text": "hello",
        }
    ).encode()
    try:
        await stage.handler.handle(delivery(None, value=value))
    except Unreadable as error:
        pytest.fail(f"{error.code}: {error.message}")

    assert stage.states == [State.PASSED_ON]


@pytest.mark.parametrize(
    ("event_lane", "topic_lane", "topic"),
    [
        (None, Lane.INTERACTIVE, "headrace.texts.v1"),
        (None, Lane.BULK, "headrace.texts.bulk.v1"),
        (Lane.BULK, Lane.INTERACTIVE, "headrace.texts.bulk.v1"),
    ],
)
async def test_the_lane_is_the_events_own_or_the_topics(
    stage: Stage, event_lane: Lane | None, topic_lane: Lane, topic: str
) -> None:
    await stage.send(upsert(lane=event_lane), lane=topic_lane)

    assert [sent.topic for sent in stage.producer.sent] == [topic]
    assert stage.texts[0].document.lane is (event_lane or topic_lane)


@pytest.mark.parametrize("key", [None, b"other", b"acme/docs/a%2fb%20%c3%bc"])
async def test_a_record_with_another_key_is_published_again_and_keeps_its_arrival(
    stage: Stage, key: bytes | None
) -> None:
    headers = (("traceparent", b"t"), ("content-type", b"application/protobuf"))
    await stage.handler.handle(delivery(upsert(), 5, key=key, headers=headers))

    (sent,) = stage.producer.sent
    arrival = Arrival(1_700_000_000_005, "topic-id", 2, 5)
    assert (sent.topic, sent.key) == ("headrace.documents.v1", KEY.record_key)
    assert sent.value == encode_event(upsert())
    assert sent.header("headrace-arrival") == str(arrival).encode()
    assert sent.header("traceparent") == b"t"
    assert stage.status.events == []

    await stage.handler.handle(
        delivery(upsert(), 9, key=sent.key, headers=sent.headers)
    )
    assert stage.texts[0].document.arrival == arrival


async def test_an_event_without_an_id_is_unreadable(stage: Stage) -> None:
    event = replace(upsert(), key=replace(KEY, document_id=""))

    with pytest.raises(Unreadable) as raised:
        await stage.handler.handle(delivery(event, key=None))
    assert raised.value.code == "missing_id"
    assert stage.producer.sent == []


async def test_the_same_again_is_unchanged_whatever_import_it_comes_by(
    stage: Stage,
) -> None:
    await stage.send(upsert(metadata=Metadata(name="x.txt", import_job="1")), offset=1)
    await make_visible(stage)
    second = upsert(metadata=Metadata(name="x.txt", import_job="2", session_id="s"))

    await stage.send(second, offset=2)

    assert stage.states == [State.PASSED_ON, State.UNCHANGED]
    assert len(stage.texts) == 1
    event = stage.status.events[1]
    assert (event.revision, event.metadata.import_job) == (0, "2")
    record = await stage.record()
    assert record is not None
    assert record.accepted.arrival.offset == 2


@pytest.mark.parametrize(
    "changed",
    [
        upsert("other text"),
        upsert(metadata=Metadata(name="y.txt")),
        upsert(metadata=Metadata(name="x.txt", attributes={"a": "b"})),
        upsert(metadata=Metadata(name="x.txt", user_id="u")),
        upsert(metadata=Metadata(name="x.md")),
    ],
)
async def test_another_text_or_what_is_stored_with_it_is_a_new_revision(
    stage: Stage, changed: DocumentEvent
) -> None:
    await stage.send(upsert(), offset=1)
    await make_visible(stage)
    await stage.send(changed, offset=2)

    assert stage.states == [State.PASSED_ON, State.PASSED_ON]
    first, second = (loaded.document for loaded in stage.texts)
    assert second.revision > first.revision
    assert second.content_hash != first.content_hash


async def test_a_redelivery_leaves_the_same_behind(stage: Stage) -> None:
    await stage.send(upsert())
    await stage.send(upsert())

    one, two = stage.texts
    assert one == replace(two, document=replace(two.document))
    assert stage.states == [State.PASSED_ON] * 2


async def test_an_older_event_is_superseded(stage: Stage) -> None:
    await stage.send(upsert("new"), offset=9)
    await stage.send(upsert("old"), offset=3)

    assert stage.states == [State.PASSED_ON, State.SUPERSEDED]
    assert stage.status.events[1].revision == 0
    assert stage.status.events[1].arrival.offset == 3


async def test_two_contents_of_one_source_version_conflict(stage: Stage) -> None:
    await stage.send(upsert("one", source_version=1), offset=1)

    with pytest.raises(DocumentFailure) as raised:
        await stage.send(upsert("two", source_version=1), offset=2)
    assert (raised.value.code, raised.value.retryable) == ("version_conflict", False)


@pytest.mark.parametrize("tombstone", [True, False])
async def test_a_delete_takes_effect_and_travels_on(
    stage: Stage,
    tombstone: bool,  # noqa: FBT001
) -> None:
    await stage.send(upsert(), offset=1)
    event = None if tombstone else DocumentEvent(KEY, Operation.DELETE)
    await stage.handler.handle(delivery(event, 2))

    record = await stage.record()
    assert record is not None
    loaded = stage.texts[1]
    assert loaded.document.operation is Operation.DELETE
    assert loaded.document.revision == record.deleted_revision > 0
    assert (loaded.parts, loaded.object, loaded.document.content_hash) == (
        None,
        None,
        b"",
    )
    assert stage.states == [State.PASSED_ON, State.PASSED_ON]


async def test_a_delete_of_what_never_was_is_remembered(stage: Stage) -> None:
    await stage.send(DocumentEvent(KEY, Operation.DELETE), offset=5)
    await stage.send(upsert("late"), offset=3)

    assert stage.states == [State.PASSED_ON, State.SUPERSEDED]


async def test_a_failed_load_takes_no_revision_and_leaves_what_was(
    stage: Stage,
) -> None:
    await stage.send(upsert(), offset=1)
    before = await stage.record()

    for event, code in (
        (upsert(b"\x89PNG\r\n\x1a\n\0\0\0"), "unsupported_type"),
        (DocumentEvent(KEY, uri="http://127.0.0.1:80/x"), "blocked_url"),
        (DocumentEvent(KEY, uri="file:///etc/passwd"), "file_forbidden"),
        (DocumentEvent(KEY, uri="s3://bucket/x"), "object_forbidden"),
        (
            DocumentEvent(KEY, object=ObjectReference("uploads/other/x")),
            "object_forbidden",
        ),
        (
            DocumentEvent(KEY, object=ObjectReference("uploads/acme/x")),
            "object_not_found",
        ),
    ):
        with pytest.raises(DocumentFailure) as raised:
            await stage.send(event, offset=2)
        assert raised.value.code == code

    assert await stage.record() == before
    assert len(stage.texts) == 1


async def test_a_large_text_goes_by_claim_check_and_streams(stage: Stage) -> None:
    (stage.root / "large.txt").write_text("wörter und zeilen\n" * 200_000)
    event = DocumentEvent(KEY, uri=f"file://{stage.root}/large.txt")

    await stage.send(event)

    (loaded,) = stage.texts
    assert loaded.parts is None
    assert loaded.object is not None
    assert loaded.object.uri.startswith("texts/acme/")
    reader = TextPartReader()
    parts = [
        part
        async for block in stage.objects.open(loaded.object)
        for part in reader.feed(block)
    ]
    reader.close()
    assert "".join(p.text for p in parts) == "wörter und zeilen\n" * 200_000
    assert loaded.length == 18 * 200_000
    assert loaded.document.metadata.name == "large.txt"
    assert loaded.document.metadata.source_uri == f"file://{stage.root}/large.txt"


@pytest.mark.parametrize(
    ("make", "media_type"),
    [
        (documents.docx_file, "wordprocessingml.document"),
        (lambda: documents.pdf_file(["one", "two"]), "application/pdf"),
    ],
)
async def test_a_document_is_parsed_in_a_child(
    stage: Stage, make: object, media_type: str
) -> None:
    await stage.send(upsert(make(), metadata=Metadata(name="x.txt")))  # type: ignore[operator]

    (loaded,) = stage.texts
    assert loaded.document.metadata.media_type.endswith(media_type)
    assert any(
        segment.page or segment.heading_path for segment in loaded.parts[0].segments
    )  # type: ignore[index]


async def test_an_upload_of_the_own_tenant_is_read(stage: Stage) -> None:
    reference = await stage.objects.put("uploads/acme/1", b"uploaded text")

    await stage.send(DocumentEvent(KEY, object=reference))

    assert [part.text for part in stage.texts[0].parts or ()] == ["uploaded text"]


async def test_an_empty_document_is_passed_on_empty(stage: Stage) -> None:
    event = DocumentEvent(KEY, uri=f"file://{stage.root}/empty.txt")
    (stage.root / "empty.txt").touch()

    await stage.send(event)

    assert (stage.texts[0].parts, stage.texts[0].length) == ((), 0)


async def test_a_full_disk_is_told_until_a_document_gets_through(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = "word " * 100_000
    with monkeypatch.context() as full:

        def refuse(_: Spool, encoded: bytes) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), len(encoded))

        full.setattr(Spool, "_write", refuse)
        with pytest.raises(SharedFailure, match="HEADRACE_WORK_DIR"):
            await stage.send(upsert(large))
        assert "No space left" in (stage.handler.ready() or "")

        # What needs no file goes on, and says nothing about the disk.
        await stage.send(upsert("small"), offset=1)
        assert stage.handler.ready() is not None

    await stage.send(upsert(large), offset=2)
    assert stage.handler.ready() is None


@pytest.mark.parametrize("method", ["ensure_collection", "read_states", "apply"])
async def test_a_store_that_fails_is_shared_and_the_next_try_succeeds(
    stage: Stage, method: str
) -> None:
    stage.store.fail(method, applied=None if method == "apply" else 0)

    with pytest.raises(SharedFailure):
        await stage.send(upsert())
    await stage.send(upsert())

    assert stage.states == [State.PASSED_ON]
    assert stage.texts[0].document.revision == 1_700_000_000_001


async def test_a_broker_that_fails_leaves_the_event_to_be_done_again(
    stage: Stage,
) -> None:
    stage.producer.fail_next(SharedFailure("broker_unavailable", "down"))
    with pytest.raises(SharedFailure):
        await stage.send(upsert())
    stage.status.fail_next(SharedFailure("broker_unavailable", "down"))
    with pytest.raises(SharedFailure):
        await stage.send(upsert())
    await stage.send(upsert())

    assert {loaded.document.revision for loaded in stage.texts} == {1_700_000_000_001}
    assert stage.states == [State.PASSED_ON]


@pytest.mark.parametrize("steps", range(1, 40, 3))
async def test_cancelled_anywhere_the_next_try_ends_the_same(
    stage: Stage, steps: int
) -> None:
    task = asyncio.create_task(stage.send(upsert("text " * 100_000)))
    for _ in range(steps):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait({task})

    await stage.send(upsert("text " * 100_000))

    assert stage.texts[-1].document.revision == 1_700_000_000_001
    assert stage.states[-1] is State.PASSED_ON


async def test_a_document_without_signature_in_its_query_keeps_its_url() -> None:
    from headrace_loader.loading import _without_secrets  # noqa: PLC0415

    assert (
        _without_secrets("https://u:p@h.org/a?id=5&x=1#f") == "https://h.org/a?id=5&x=1"
    )
    assert (
        _without_secrets("https://h.org/a?X-Amz-Signature=abc&id=1")
        == "https://h.org/a"
    )


async def test_events_of_a_paused_collection_wait_and_are_not_looked_at(
    stage: Stage,
) -> None:
    stage.control = Control({Target(tenant=KEY.tenant, collection=KEY.collection): WHY})
    await stage.send(upsert("one"), offset=1)
    await stage.send(DocumentEvent(KEY, operation=Operation.DELETE), offset=2)
    await stage.send(DocumentEvent(KEY, uri="file:///nowhere"), offset=3)
    assert [sent.topic for sent in stage.producer.sent] == [TOPOLOGY.parked] * 3
    assert {sent.key for sent in stage.producer.sent} == {KEY.record_key}
    assert stage.states == [State.PASSED_ON] * 3
    assert [event.output and event.output.topic for event in stage.status.events] == [
        TOPOLOGY.parked
    ] * 3
    assert not await stage.store.collections()

    stage.control = Control({Target(tenant="other", collection="docs"): WHY})
    await stage.send(upsert("one"), offset=4)
    assert len(stage.texts) == 1


async def test_an_event_under_another_key_is_parked_under_its_own(stage: Stage) -> None:
    stage.control = Control({Target(tenant=KEY.tenant, collection=KEY.collection): WHY})
    await stage.handler.handle(delivery(upsert("one"), key=b"another"))
    assert [sent.topic for sent in stage.producer.sent] == ["headrace.documents.v1"]
