"""What became of the documents of a job, in whatever order it is heard."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from headrace_cli.outcomes import Outcomes
from headrace_cli.overview import Overview
from hypothesis import given
from hypothesis import strategies as st

from headrace.identity import Arrival, DocumentKey
from headrace.messages import (
    Metadata,
    OutputPosition,
    Stage,
    State,
    StatusError,
    StatusEvent,
)

JOB = "job-1"


def key(name: str) -> DocumentKey:
    return DocumentKey("default", "mill", name)


def event(
    name: str, stage: Stage, state: State = State.PASSED_ON, **fields: object
) -> StatusEvent:
    base = StatusEvent(
        key=key(name),
        revision=1,
        arrival=Arrival(1000, "t", 0, 1),
        stage=stage,
        state=state,
        metadata=Metadata(import_job=JOB),
    )
    return replace(base, **fields)  # type: ignore[arg-type]


def whole_way(name: str) -> list[StatusEvent]:
    return [
        event(name, Stage.LOADER, working_ms=5),
        event(name, Stage.CHUNKER, chunks=3, tokens=30),
        event(name, Stage.EMBEDDER, chunks=3),
        event(name, Stage.INDEXER, State.INDEXED, chunks=3),
    ]


def test_a_job_is_done_when_every_document_is_final() -> None:
    outcomes = Outcomes(JOB)
    outcomes.expect([key("a"), key("b")])
    for each in whole_way("a"):
        outcomes.accept(each)
    assert not outcomes.done

    outcomes.accept(event("b", Stage.LOADER, State.UNCHANGED))

    assert outcomes.done
    assert outcomes.all_stages_heard
    assert outcomes.counts == {State.INDEXED: 1, State.UNCHANGED: 1}
    assert outcomes.chunks == 3
    assert outcomes.tokens == 30


def test_an_expected_event_that_cannot_be_read_ends_its_document() -> None:
    outcomes = Outcomes(JOB)
    outcomes.expect([key("a")])
    unreadable = event(
        "a",
        Stage.LOADER,
        State.FAILED,
        revision=0,
        metadata=Metadata(),
        error=StatusError("too_long", "source_uri has 2,545 bytes"),
    )

    assert not outcomes.accept(replace(unreadable, key=key("another")))
    assert not outcomes.accept(replace(unreadable, metadata=Metadata(import_job="x")))
    assert outcomes.accept(unreadable)

    assert outcomes.done
    assert [failure.code for failure in outcomes.failures] == ["too_long"]


def test_a_final_state_may_be_heard_before_the_document_is_expected() -> None:
    outcomes = Outcomes(JOB)
    outcomes.accept(event("a", Stage.LOADER, State.UNCHANGED))
    outcomes.expect([key("a")])

    assert outcomes.done


def test_events_of_other_jobs_are_none_of_ours() -> None:
    outcomes = Outcomes("another")
    outcomes.expect([key("a")])

    assert not outcomes.accept(event("a", Stage.INDEXER, State.INDEXED))
    assert not outcomes.done


@given(st.randoms(), st.integers(1, 3))
def test_redeliveries_and_order_change_no_total(
    order: random.Random, repeats: int
) -> None:
    events = [*whole_way("a"), *whole_way("b")] * repeats
    order.shuffle(events)
    outcomes = Outcomes(JOB)
    outcomes.expect([key("a"), key("b")])
    for each in events:
        outcomes.accept(each)

    assert outcomes.done
    assert outcomes.stages[Stage.LOADER].documents == 2
    assert outcomes.stages[Stage.LOADER].working_ms == 10
    assert outcomes.stages[Stage.EMBEDDER].chunks == 6
    assert [outcomes.past(stage) for stage in Stage] == [2, 2, 2, 2]


def test_failures_carry_reason_and_advice() -> None:
    error = StatusError("encrypted", "the PDF has a password", "remove it")
    outcomes = Outcomes(JOB)
    outcomes.accept(event("b.pdf", Stage.LOADER, State.FAILED, error=error))
    outcomes.accept(
        event(
            "a.txt", Stage.INDEXER, State.INDEXED_WITH_ERRORS, chunks=9, failed_chunks=2
        )
    )

    partly, whole = outcomes.failures
    assert whole.as_dict() == {
        "id": "b.pdf",
        "code": "encrypted",
        "message": "the PDF has a password",
        "advice": "remove it",
        "stage": "loader",
    }
    assert partly.message == "2 of 9 chunks have no vector"


@given(st.permutations(whole_way("a")))
def test_the_overview_is_the_same_in_any_order(events: list[StatusEvent]) -> None:
    overview = Overview()
    for each in events:
        overview.accept(each)

    assert overview.documents == {"indexed": 1}
    assert overview.oldest_on_the_way(9000) is None


@pytest.mark.parametrize(
    ("stage", "expected"),
    [
        (Stage.LOADER, "at_chunker"),
        (Stage.CHUNKER, "at_embedder"),
        (Stage.EMBEDDER, "at_indexer"),
    ],
)
def test_a_document_on_the_way_is_at_the_next_stage(
    stage: Stage, expected: str
) -> None:
    overview = Overview()
    overview.accept(event("a", stage))

    assert overview.documents == {expected: 1}
    assert overview.oldest_on_the_way(31_000) == (key("a"), 30.0)


def test_a_later_arrival_replaces_a_final_state() -> None:
    overview = Overview()
    overview.accept(event("a", Stage.INDEXER, State.INDEXED))
    overview.accept(event("a", Stage.LOADER, arrival=Arrival(2000, "t", 0, 2)))

    assert overview.documents == {"at_chunker": 1}


def test_a_parked_event_is_so_until_the_loader_took_it() -> None:
    parked = event(
        "a", Stage.LOADER, revision=0, output=OutputPosition("h.parked.v1", 0, 3)
    )
    goes_back = replace(parked, output=None, at_ms=5)
    accepted = event("a", Stage.LOADER, at_ms=4)
    seen = []
    overview = Overview()
    for each in (parked, goes_back, accepted):
        overview.accept(each)
        seen.append(dict(overview.documents))

    assert seen == [{"parked": 1}, {"at_loader": 1}, {"at_chunker": 1}]
    overview.accept(goes_back)
    assert overview.documents == {"at_chunker": 1}
