"""When a letter may go: never before its work has come to a good end."""

from __future__ import annotations

from dataclasses import replace

import pytest

from headrace.identity import Arrival, DocumentKey
from headrace.messages import (
    DeadLetter,
    DocumentRevision,
    Stage,
    State,
    StatusError,
    StatusEvent,
)
from headrace.open_letters import OpenLetter
from headrace.replays import Outcome, Replay, Replays, Wanted
from headrace.state import Accepted, StateRecord, Visible
from headrace.topology import Topology

KEY = DocumentKey("default", "mill", "grain.pdf")
ARRIVAL = Arrival(1_000, "t", 0, 7)
DOCUMENT = DocumentRevision(KEY, 1_000, "f", b"h", ARRIVAL)
EVENT = DeadLetter(
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
TEXT = replace(EVENT, stage=Stage.CHUNKER, revision=1_000)
SLICE = replace(TEXT, stage=Stage.EMBEDDER, fingerprint="f", end_chunk=64)
HOLE = replace(SLICE, first_chunk=3, end_chunk=4)
VECTORS = replace(SLICE, stage=Stage.INDEXER)
RUBBISH = replace(EVENT, key=None, arrival=None, stage=Stage.CHUNKER)


def opened(letter: DeadLetter, id_: str = "old") -> OpenLetter:
    topic = Topology().dlq(letter.stage)
    return OpenLetter(id_, id_.encode(), topic, 0, 0, letter)


def replayed(letter: DeadLetter) -> Replay:
    numbers = tuple(range(letter.first_chunk, letter.end_chunk))
    wanted = Wanted(DOCUMENT, numbers, vectors=False) if numbers else None
    return Replay(opened(letter), wanted=wanted)


def status(state: State, stage: Stage, *, revision: int = 1_000) -> StatusEvent:
    return StatusEvent(KEY, revision, ARRIVAL, stage, state)


def record(*, visible: int = 0, deleted: int = 0) -> StateRecord:
    accepted = Accepted(ARRIVAL, None, b"h", 1_000)
    return StateRecord(KEY, accepted, Visible(visible, "f", b"h", 64), deleted)


def outcome(replay: Replay, *, stored: bool = False, visible: int = 0) -> Outcome:
    replay.judge(passed=True, record=record(visible=visible), stored=stored)
    return replay.outcome


@pytest.mark.parametrize("letter", [EVENT, TEXT, SLICE, HOLE, VECTORS, RUBBISH])
def test_nothing_goes_before_its_stage_has_passed_the_replay(
    letter: DeadLetter,
) -> None:
    replay = replayed(letter)
    replay.heard(status(State.INDEXED, Stage.INDEXER))
    replay.judge(passed=False, record=record(visible=1_000), stored=True)

    assert replay.outcome is Outcome.WAITING


@pytest.mark.parametrize("letter", [EVENT, TEXT, SLICE, HOLE, VECTORS, RUBBISH])
def test_a_letter_that_is_written_again_has_failed_again(letter: DeadLetter) -> None:
    replay = replayed(letter)
    replay.heard(status(State.INDEXED, Stage.INDEXER))
    replay.written(opened(letter))

    assert outcome(replay, stored=True) is Outcome.FAILED_AGAIN
    assert not replay.replaced


@pytest.mark.parametrize("letter", [EVENT, TEXT])
@pytest.mark.parametrize(
    "state",
    [
        State.INDEXED,
        State.INDEXED_WITH_ERRORS,
        State.UNCHANGED,
        State.SUPERSEDED,
        State.DELETED,
    ],
)
def test_an_event_goes_with_its_final_state(letter: DeadLetter, state: State) -> None:
    replay = replayed(letter)
    assert outcome(replay) is Outcome.WAITING

    replay.heard(status(State.PASSED_ON, Stage.EMBEDDER))
    assert outcome(replay) is Outcome.WAITING

    replay.heard(status(state, Stage.INDEXER))
    assert outcome(replay) is Outcome.RESOLVED
    assert replay.state is state


def test_another_document_s_or_event_s_end_says_nothing() -> None:
    replays = Replays()
    replays.add(replayed(EVENT))
    other = replace(
        status(State.INDEXED, Stage.INDEXER), key=DocumentKey("a", "b", "c")
    )
    later = replace(
        status(State.INDEXED, Stage.INDEXER), arrival=Arrival(2_000, "t", 0, 9)
    )
    for event in (other, later):
        replays.heard(event)

    assert outcome(replays.all[0]) is Outcome.WAITING


def test_the_report_of_the_first_failure_is_none_of_the_replay() -> None:
    replay = replayed(EVENT)
    replay.heard(status(State.FAILED, Stage.LOADER, revision=0))
    assert outcome(replay) is Outcome.WAITING

    replay.heard(status(State.INDEXED, Stage.INDEXER))
    assert outcome(replay) is Outcome.RESOLVED


def test_a_failure_further_on_is_believed_with_its_letter() -> None:
    replay = replayed(EVENT)
    replay.heard(status(State.FAILED, Stage.CHUNKER))
    assert outcome(replay) is Outcome.WAITING

    replay.written(opened(TEXT, "new"))
    assert outcome(replay) is Outcome.FAILED_AGAIN
    assert replay.replaced


def test_holes_of_a_replayed_text_are_no_failure_of_it() -> None:
    replay = replayed(TEXT)
    replay.written(opened(HOLE, "hole"))
    assert outcome(replay) is Outcome.WAITING

    replay.heard(status(State.INDEXED_WITH_ERRORS, Stage.INDEXER))
    assert outcome(replay) is Outcome.RESOLVED


@pytest.mark.parametrize("letter", [SLICE, HOLE, VECTORS])
def test_chunks_go_when_they_are_stored_whatever_is_reported(
    letter: DeadLetter,
) -> None:
    replay = replayed(letter)
    replay.heard(status(State.INDEXED_WITH_ERRORS, Stage.INDEXER))
    assert outcome(replay) is Outcome.WAITING

    assert outcome(replay, stored=True) is Outcome.RESOLVED


@pytest.mark.parametrize("letter", [SLICE, HOLE, VECTORS])
def test_chunks_that_can_never_be_shown_go(letter: DeadLetter) -> None:
    replay = replayed(letter)

    assert outcome(replay, visible=2_000) is Outcome.RESOLVED
    assert replay.state is State.SUPERSEDED


def test_chunks_that_fail_further_on_have_another_letter() -> None:
    replay = replayed(HOLE)
    replay.written(opened(VECTORS, "new"))

    assert outcome(replay) is Outcome.FAILED_AGAIN
    assert replay.replaced


@pytest.mark.parametrize(
    ("old", "new"),
    [(HOLE, replace(HOLE, first_chunk=5, end_chunk=6)), (SLICE, HOLE)],
)
def test_holes_beside_or_within_do_not_stand_for_it(
    old: DeadLetter, new: DeadLetter
) -> None:
    replay = replayed(old)
    replay.written(opened(new, "new"))

    assert outcome(replay) is Outcome.WAITING
    assert outcome(replay, stored=True) is Outcome.RESOLVED


def test_what_could_not_be_read_goes_with_the_end_of_its_arrival() -> None:
    replays = Replays()
    replays.add(replayed(replace(EVENT, key=None)))
    assert outcome(replays.all[0]) is Outcome.WAITING

    replays.heard(status(State.INDEXED, Stage.INDEXER))
    assert outcome(replays.all[0]) is Outcome.RESOLVED


def test_what_nothing_is_known_of_goes_once_its_stage_is_past_it() -> None:
    assert outcome(replayed(RUBBISH)) is Outcome.RESOLVED
