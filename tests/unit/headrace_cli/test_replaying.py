"""What becomes of letters once their replays have ended."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from headrace_cli import replaying
from headrace_cli.letters import OpenLetter
from headrace_cli.replaying import Replay, Replays

from headrace.identity import Arrival, DocumentKey
from headrace.messages import DeadLetter, Stage, State, StatusError, StatusEvent
from headrace.settings import Settings
from tests.support.fake_producer import FakeProducer

KEY = DocumentKey("default", "mill", "grain.pdf")
ARRIVAL = Arrival(1_000, "t", 0, 7)


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
        monkeypatch.setattr(replaying, "open_letters", self._open_letters)
        monkeypatch.setattr(replaying, "_passed", self._passed)

    async def _open_letters(self, _settings: Settings) -> list[OpenLetter]:
        return self.letters

    async def _passed(self, replays: Replays) -> set[int]:
        return set(range(len(replays.replays)))

    async def judge(self, letter: OpenLetter, end: StatusEvent) -> str:
        replays = Replays(self.settings, [Replay(letter, offset=20)])
        replays.heard(end)
        await replaying._judge(replays, self.producer)  # type: ignore[arg-type]
        return replays.replays[0].outcome

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


async def test_a_good_end_resolves_the_letter(broker: Broker) -> None:
    old = open_letter("old")
    broker.letters = [old]

    outcome = await broker.judge(old, final(State.INDEXED, Stage.INDEXER))

    assert outcome == "resolved"
    assert broker.resolved == ["old"]


async def test_a_failure_in_a_later_stage_has_failed_again(broker: Broker) -> None:
    old = open_letter("old")
    later = open_letter(
        "new",
        stage=Stage.CHUNKER,
        revision=1_000,
        origin_topic="headrace.texts.v1",
        origin_offset=3,
    )
    broker.letters = [old, later]

    outcome = await broker.judge(old, final(State.FAILED, Stage.CHUNKER))

    assert outcome == "failed_again"
    assert broker.resolved == ["old"]


async def test_a_failure_without_a_letter_of_its_own_keeps_the_old_one(
    broker: Broker,
) -> None:
    old = open_letter("old")
    broker.letters = [old]

    outcome = await broker.judge(old, final(State.FAILED, Stage.CHUNKER))

    assert outcome == "failed_again"
    assert broker.resolved == []
