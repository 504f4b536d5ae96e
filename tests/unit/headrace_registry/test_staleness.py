"""Which documents are stale, and that what Kafka still holds is never queued twice."""

from __future__ import annotations

from headrace_registry.staleness import Action, Unfinished, decide, failure
from hypothesis import given
from hypothesis import strategies as st

from headrace.identity import Arrival, DocumentKey
from headrace.messages import Lane, Metadata, OutputPosition, Stage, State
from headrace.wire import decode_status, encode_status

STALE_MS = 120_000
OUTPUTS = st.none() | st.builds(
    OutputPosition,
    topic=st.sampled_from(["texts", "chunks"]),
    partition=st.integers(0, 2),
    last_offset=st.integers(0, 5),
)
UNFINISHED = st.builds(
    Unfinished,
    key=st.just(DocumentKey("t", "c", "d")),
    revision=st.integers(0, 9),
    arrival=st.just(Arrival(1, "topic", 0, 1)),
    stage=st.none() | st.sampled_from(list(Stage)[:3]),
    output=OUTPUTS,
    heard_ms=st.integers(0, 10**6),
    requeued=st.integers(0, 5),
    lane=st.sampled_from(Lane),
    metadata=st.just(Metadata(name="n")),
)
COMMITTED = st.dictionaries(
    st.tuples(st.sampled_from(["texts", "chunks"]), st.integers(0, 2)),
    st.integers(0, 8),
)


@given(UNFINISHED, COMMITTED, st.integers(0, 10**6), st.integers(0, 4))
def test_only_what_was_passed_by_in_silence_is_touched(
    document: Unfinished,
    committed: dict[tuple[str, int], int],
    now_ms: int,
    requeues: int,
) -> None:
    action = decide(
        document,
        committed=committed,
        now_ms=now_ms,
        stale_after_ms=STALE_MS,
        requeues=requeues,
    )
    silent = now_ms - document.heard_ms >= STALE_MS
    output = document.output
    passed = output is not None and any(
        (topic, partition) == (output.topic, output.partition)
        and offset > output.last_offset
        for (topic, partition), offset in committed.items()
    )
    assert (action is Action.ALIVE) == (not silent)
    assert (action in {Action.REQUEUE, Action.FAIL}) == (silent and passed)
    if action is Action.REQUEUE:
        assert document.requeued < requeues
    if action is Action.FAIL:
        assert document.requeued >= requeues


@given(UNFINISHED, st.integers(0, 10**6))
def test_a_failure_is_the_silent_stages_and_says_what_to_do(
    document: Unfinished, now_ms: int
) -> None:
    event = failure(document, why="it was queued again 3 times.", now_ms=now_ms)
    assert decode_status(encode_status(event)) == event
    assert event.state is State.FAILED
    spoken = [None, *Stage]
    assert spoken.index(event.stage) == spoken.index(document.stage) + 1
    assert (event.revision, event.arrival) == (document.revision, document.arrival)
    assert event.error is not None
    assert event.error.advice
