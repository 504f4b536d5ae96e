"""Which letters are replayed, how, and which a deletion has ended."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import AsyncMock, Mock

import pytest
from headrace_cli import sending
from headrace_cli.failures import EXIT_OK
from headrace_cli.opening import Pipeline
from headrace_cli.outcomes import Outcomes
from headrace_cli.output import Output

from headrace import replaying, resolving
from headrace.identity import Arrival, DocumentKey
from headrace.messages import (
    ChunkSlice,
    DeadLetter,
    EmbeddedSlice,
    Metadata,
    ObjectReference,
    OutputPosition,
    Stage,
    State,
    StatusError,
    StatusEvent,
)
from headrace.open_letters import OpenLetter
from headrace.qdrant import QdrantStore
from headrace.replaying import in_order
from headrace.replays import Outcome, Replay, Replays
from headrace.resolving import resolve_deleted, still_open
from headrace.settings import Settings
from headrace.state import Accepted, Visible
from headrace.store import CollectionSpec, WriteAccepted
from headrace.wire import encode_chunk_slice
from tests.support.documents import revision, slices
from tests.support.fake_producer import FakeProducer
from tests.support.fake_store import FakeStore
from tests.support.virtual_time import run_virtual

KEY = DocumentKey("default", "mill", "grain.pdf")
ARRIVAL = Arrival(1_000, "t", 0, 7)
DELETE_ARRIVAL = Arrival(2_000, "t", 0, 9)
LATER_ARRIVAL = Arrival(3_000, "t", 0, 11)


def open_letter(id_: str, **fields: object) -> OpenLetter:
    letter = DeadLetter(
        stage=Stage.LOADER,
        error=StatusError("encrypted"),
        attempts=3,
        origin_topic="headrace.documents.v1",
        origin_partition=0,
        origin_offset=7,
        origin_timestamp_ms=0,
        key=KEY,
        arrival=ARRIVAL,
    )
    letter = replace(letter, **fields)  # type: ignore[arg-type]
    topic = Settings().topology.dlq(letter.stage)
    return OpenLetter(id_, id_.encode(), topic, 0, 0, letter)


def final(state: State, stage: Stage) -> StatusEvent:
    return StatusEvent(KEY, 1_000, ARRIVAL, stage, state)


class Broker:
    """What is open, and that every stage has passed every replay."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.producer = FakeProducer()
        self.settings = Settings()
        self.letters: list[OpenLetter] = []
        monkeypatch.setattr(resolving, "open_letters", self._open_letters)
        monkeypatch.setattr(resolving, "sender", self._sender)
        self.sending = replaying._Sending(self.producer)  # type: ignore[arg-type]
        self.store = FakeStore()
        monkeypatch.setattr(QdrantStore, "from_settings", lambda _: self.store)

    async def _open_letters(self, _settings: Settings) -> list[OpenLetter]:
        return self.letters

    @asynccontextmanager
    async def _sender(self, _settings: Settings) -> AsyncIterator[FakeProducer]:
        yield self.producer

    async def delete(self, *, version: int | None = None) -> None:
        """The state record after a delete was accepted."""
        await self.store.ensure_collection("mill", CollectionSpec("m", "1", 1))
        floor = DELETE_ARRIVAL if version is None else None
        accepted = Accepted(DELETE_ARRIVAL, version, b"", 2_000, floor=floor)
        await self.store.apply(
            "mill", [WriteAccepted(KEY, accepted, expected=None, deletes=True)]
        )

    @property
    def resolved(self) -> list[str]:
        """Letters that were taken off, each with its audit record."""
        gone = [
            sent.key.decode()
            for sent in self.producer.sent
            if sent.value is None and sent.key is not None
        ]
        audited = [
            json.loads(sent.value)["letter"]["id"]
            for sent in self.producer.to(self.settings.topology.audit)
            if sent.value is not None
        ]
        assert gone == audited
        return gone


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> Broker:
    return Broker(monkeypatch)


LETTERS = [
    open_letter("lower", stage=Stage.CHUNKER, revision=1_000),
    open_letter("unaccepted"),
    open_letter("of-the-delete", revision=2_000, arrival=DELETE_ARRIVAL),
    open_letter("delete-not-accepted", arrival=DELETE_ARRIVAL),
    open_letter("higher", revision=3_000, arrival=LATER_ARRIVAL),
    open_letter("after-it", arrival=LATER_ARRIVAL),
    open_letter("other", key=DocumentKey("default", "mill", "flour.pdf")),
    open_letter("unreadable", key=None, arrival=None),
]


async def test_a_delete_of_ours_resolves_the_letters_it_ended(broker: Broker) -> None:
    broker.letters = LETTERS
    end = StatusEvent(KEY, 2_000, DELETE_ARRIVAL, Stage.INDEXER, State.DELETED)

    await resolve_deleted([end], broker.settings)

    assert broker.resolved == ["lower", "unaccepted"]


async def test_what_is_not_deleted_resolves_nothing(broker: Broker) -> None:
    broker.letters = LETTERS
    end = StatusEvent(KEY, 2_000, DELETE_ARRIVAL, Stage.INDEXER, State.INDEXED)

    await resolve_deleted([end], broker.settings)

    assert broker.resolved == []


async def test_a_delete_by_another_program_is_noticed(broker: Broker) -> None:
    await broker.delete()

    left = await still_open(LETTERS, broker.settings)

    assert broker.resolved == ["lower", "unaccepted"]
    assert [each.id for each in left] == [each.id for each in LETTERS[2:]]


async def test_a_versioned_delete_leaves_what_may_have_a_higher_version(
    broker: Broker,
) -> None:
    await broker.delete(version=5)

    await still_open(LETTERS, broker.settings)

    assert broker.resolved == ["lower"]


async def test_a_collection_that_was_never_made_has_deleted_nothing(
    broker: Broker,
) -> None:
    assert await still_open(LETTERS, broker.settings) == LETTERS
    assert broker.resolved == []


def test_letters_are_replayed_as_their_events_came() -> None:
    letters = [
        open_letter("last", arrival=LATER_ARRIVAL),
        open_letter("second-chunk", arrival=ARRIVAL, first_chunk=1, end_chunk=2),
        open_letter("first-chunk", arrival=ARRIVAL, end_chunk=1),
        open_letter("unreadable", key=None, arrival=None, origin_timestamp_ms=2_500),
    ]

    assert [each.id for each in in_order(letters)] == [
        "first-chunk",
        "second-chunk",
        "unreadable",
        "last",
    ]


async def test_a_replay_is_the_same_record_and_says_what_it_is(broker: Broker) -> None:
    old = open_letter(
        "old",
        original_key=b"key",
        original_value=b"value",
        original_headers=(
            ("x", b"1"),
            ("headrace-arrival", b"forged"),
            ("headrace-replays", b"9" * 5000),
            ("headrace-letter", b"another"),
        ),
    )

    await replaying._replay(old, {}, broker.sending, broker.settings)

    [sent] = broker.producer.sent
    assert (sent.topic, sent.key, sent.value) == (
        "headrace.documents.v1",
        b"key",
        b"value",
    )
    assert list(sent.headers) == [
        ("x", b"1"),
        ("headrace-arrival", str(ARRIVAL).encode()),
        ("headrace-letter", b"old"),
        ("headrace-replays", b"1"),
    ]


async def test_behind_the_loader_the_arrival_is_not_touched(broker: Broker) -> None:
    old = open_letter(
        "old",
        stage=Stage.CHUNKER,
        origin_topic="headrace.texts.v1",
        original_headers=(("headrace-arrival", b"as it was"),),
    )

    await replaying._replay(old, {}, broker.sending, broker.settings)

    [sent] = broker.producer.sent
    assert sent.header("headrace-arrival") == b"as it was"


async def test_bytes_that_are_gone_hold_up_no_other_letter(
    broker: Broker, tmp_path: Path
) -> None:
    old = open_letter("old", original_object=ObjectReference("letters/loader/old", 9))
    settings = Settings(object_store_url=tmp_path.as_uri())

    replay = await replaying._replay(old, {}, broker.sending, settings)

    assert replay.outcome is Outcome.FAILED_AGAIN
    assert "letters/loader/old" in replay.problem
    assert broker.producer.sent == []
    await replaying._resolve(replay, broker.producer, broker.settings, by="")  # type: ignore[arg-type]
    assert broker.resolved == []


async def test_the_holes_of_one_slice_are_replayed_by_one_record(
    broker: Broker,
) -> None:
    document = replace(revision(1), revision=1_000)
    [item] = slices(document, 3, holes=(0, 2))
    assert isinstance(item, EmbeddedSlice)
    value = encode_chunk_slice(
        ChunkSlice(document, 0, tuple(each.chunk for each in item.chunks))
    )
    holes = [
        open_letter(
            str(number),
            key=document.key,
            stage=Stage.EMBEDDER,
            revision=1_000,
            original_value=value,
            first_chunk=number,
            end_chunk=number + 1,
        )
        for number in (0, 2)
    ]

    first, second = [
        await replaying._replay(each, {}, broker.sending, broker.settings)
        for each in holes
    ]

    assert len(broker.producer.sent) == broker.sending.count == 1
    assert (first.topic, first.offset) == (second.topic, second.offset)
    assert first.wanted is not None
    assert second.wanted is not None
    assert (first.wanted.numbers, second.wanted.numbers) == ((0,), (2,))


@pytest.mark.parametrize(
    ("number", "state"), [(1_000, State.DELETED), (2_000, State.SUPERSEDED)]
)
async def test_what_can_never_be_shown_is_not_sent(
    broker: Broker, number: int, state: State
) -> None:
    await broker.delete()
    record = (await broker.store.read_states("mill", [KEY]))[KEY]
    record = replace(record, visible=Visible(2_500, "f", b"h", 1))
    old = open_letter("old", stage=Stage.CHUNKER, revision=number)

    replay = await replaying._replay(
        old, {KEY: record}, broker.sending, broker.settings
    )

    assert (replay.outcome, replay.state) == (Outcome.RESOLVED, state)
    assert broker.producer.sent == []
    await replaying._resolve(replay, broker.producer, broker.settings, by="")  # type: ignore[arg-type]
    assert broker.resolved == ["old"]


def replayed(
    broker: Broker, monkeypatch: pytest.MonkeyPatch, **options: float
) -> tuple[list[Replay], list[float]]:
    """Replay four letters in virtual time; all but the last come to a good end.

    Also when each was sent, from the first on.
    """
    times: list[float] = []

    async def send(topic: str, **record: Any) -> OutputPosition:
        if topic.endswith(".documents.v1"):
            times.append(asyncio.get_running_loop().time())
        return await FakeProducer.send(broker.producer, topic, **record)

    async def look(replays: Replays, *_: object) -> None:
        for each in replays.all[:3]:
            each.outcome = Outcome.RESOLVED

    status = Mock(seek_to_end=AsyncMock())
    monkeypatch.setattr(broker.producer, "send", send)
    monkeypatch.setattr(replaying, "sender", lambda _: nullcontext(broker.producer))
    monkeypatch.setattr(replaying, "reader", lambda *_: nullcontext(status))
    monkeypatch.setattr(replaying, "_look", look)
    letters = [open_letter(str(number), origin_offset=number) for number in range(4)]
    replays = run_virtual(replaying.replay(letters, broker.settings, **options))  # type: ignore[arg-type]
    return replays, [time - times[0] for time in times]


def test_letters_are_sent_no_faster_than_told(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, times = replayed(broker, monkeypatch, timeout_s=1, rate=2)

    assert times == [0, 0.5, 1, 1.5]


def test_what_comes_to_no_end_keeps_its_letter(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    replays, times = replayed(broker, monkeypatch, timeout_s=60)

    assert times == [0, 0, 0, 0]
    assert [each.outcome for each in replays] == ["resolved"] * 3 + ["waiting"]
    assert broker.resolved == ["0", "1", "2"]


async def test_delete_that_waits_resolves_what_it_ended(
    broker: Broker, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    broker.letters = LETTERS
    status = Mock(seek_to_end=AsyncMock())

    async def follow(_status: object, outcomes: Outcomes, **_: object) -> bool:
        outcomes.accept(
            replace(
                final(State.DELETED, Stage.INDEXER),
                revision=2_000,
                arrival=DELETE_ARRIVAL,
                metadata=Metadata(import_job=outcomes.job),
            )
        )
        return outcomes.done

    pipeline = Pipeline(settings=broker.settings)
    monkeypatch.setattr(sending, "opened", lambda *_: nullcontext(pipeline))
    monkeypatch.setattr(sending, "reader", lambda *_: nullcontext(status))
    monkeypatch.setattr(sending, "send_events", AsyncMock())
    monkeypatch.setattr(sending, "follow", follow)
    deletion = sending.Deletion(
        documents=[KEY.document_id], collection=KEY.collection, tenant=KEY.tenant
    )

    code = await sending.delete_once(
        deletion, data_dir=tmp_path, wait=True, output=Output(as_json=True)
    )

    assert code == EXIT_OK
    assert broker.resolved == ["lower", "unaccepted"]
