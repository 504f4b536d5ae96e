from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from headrace import qdrant_wire as wire
from headrace.identity import DocumentKey
from headrace.qdrant_messages import qdrant
from headrace.qdrant_operations import Call, calls, plan
from headrace.store import (
    Flip,
    Operation,
    RemoveObsolete,
    SetLive,
    StoreChunks,
    WriteAccepted,
)
from tests.support.store_values import accept, accepted, chunks, document, set_of

KEYS = [DocumentKey("t", "c", f"d{number}") for number in range(4)]


def operation(kind: int, key: DocumentKey, revision: int) -> Operation:
    owner = document(key, revision)
    return (
        chunks(owner, 2),
        SetLive(set_of(owner)),
        Flip(set_of(owner), 2, 0),
        RemoveObsolete(key, revision, 0),
        WriteAccepted(key, accepted(revision + 1), accepted(revision)),
    )[kind]


OPERATIONS = st.lists(
    st.builds(operation, st.integers(0, 4), st.sampled_from(KEYS), st.integers(1, 9)),
    max_size=30,
)


def key_of(one: Operation) -> DocumentKey:
    match one:
        case StoreChunks():
            return one.chunks[0].document.key
        case SetLive() | Flip():
            return one.chunk_set.key
    return one.key


@given(OPERATIONS)
def test_a_plan_has_every_operation_in_its_documents_order(
    operations: list[Operation],
) -> None:
    planned = [one for step in plan(operations) for one in step.operations]
    for key in KEYS:
        wanted = [one for one in operations if key_of(one) == key]
        assert [one for one in planned if key_of(one) == key] == wanted
    assert len(planned) == len(operations)


@given(OPERATIONS)
def test_a_step_has_one_kind(operations: list[Operation]) -> None:
    for step in plan(operations):
        assert {type(one) for one in step.operations} == {step.kind}


def test_many_documents_take_as_many_calls_as_one() -> None:
    def whole(key: DocumentKey) -> list[Operation]:
        owner = document(key)
        return [
            chunks(owner, 3),
            SetLive(set_of(owner)),
            Flip(set_of(owner), 3, 0),
            RemoveObsolete(key, 1, 0),
        ]

    one = list(calls(whole(KEYS[0]), max_bytes=10**6))
    many = list(
        calls(
            [each for key in KEYS for each in whole(key)],
            max_bytes=10**6,
        )
    )
    assert [call.on_states for call in one] == [False, True, False]
    assert [call.on_states for call in many] == [False, True, False]


def test_operations_for_several_documents_come_after_all_of_theirs() -> None:
    both = StoreChunks(
        (
            *chunks(document(KEYS[0]), 1).chunks,
            *chunks(document(KEYS[1]), 1).chunks,
        )
    )
    flip = Flip(set_of(document(KEYS[0])), 1, 0)
    remove = RemoveObsolete(KEYS[1], 1, 0)
    planned = [one for step in plan([flip, remove, both]) for one in step.operations]
    assert planned[-1] is both


@given(st.integers(1, 60), st.integers(500, 4000))
def test_calls_are_bounded_and_complete(count: int, max_bytes: int) -> None:
    owner = document(KEYS[0])
    made = list(calls([chunks(owner, count, text="x" * 200)], max_bytes=max_bytes))
    ids = [point.id.uuid for call in made for point in points_of(call)]
    assert len(set(ids)) == len(ids) == count
    for call in made:
        several = len(points_of(call)) > 1
        assert not several or sum(map(wire.size, call.operations)) <= max_bytes + 200


def test_first_acceptances_share_one_operation() -> None:
    [call] = calls([accept(key, 1) for key in KEYS], max_bytes=10**6)
    assert call.on_states
    assert len(call.operations) == 1
    assert len(points_of(call)) == len(KEYS)


def test_a_chunk_twice_in_a_call_is_sent_once_as_first_given() -> None:
    owner = document(KEYS[0])
    first, second = chunks(owner, 1, text="first"), chunks(owner, 1, text="second")
    [call] = calls([first, second], max_bytes=10**6)
    [point] = points_of(call)
    assert point.payload["text"].string_value == "first"


def points_of(call: Call) -> list[qdrant.PointStruct]:
    operations = map(b"".join, call.operations)
    parsed = map(qdrant.PointsUpdateOperation.FromString, operations)
    return list(itertools.chain.from_iterable(one.upsert.points for one in parsed))
