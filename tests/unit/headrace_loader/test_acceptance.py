"""Acceptance against a store that fails, races and loses answers."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest
from headrace_loader.acceptance import Acceptance, Batching
from hypothesis import given
from hypothesis import strategies as st

from headrace.errors import DocumentFailure, SharedFailure
from headrace.identity import Arrival, DocumentKey
from headrace.state import Accepted, Candidate, Decision, StateRecord, Verdict
from headrace.store import CollectionSpec, Operation, WriteAccepted
from tests.support.fake_store import FakeStore
from tests.support.gated_store import GatedStore, Gates

SPEC = CollectionSpec("model", "1", 3)
KEY = DocumentKey("t", "c", "d")
FINGERPRINT = "0" * 12 + "-" + "1" * 12 + "-" + "2" * 12


def candidate(
    offset: int = 1,
    *,
    text: str = "one",
    version: int | None = None,
    key: DocumentKey = KEY,
) -> Candidate:
    content_hash = text.encode().ljust(32, b".") if text else b""
    arrival = Arrival(1_000_000 + offset, "topic", 0, offset)
    return Candidate(key, arrival, version, content_hash, FINGERPRINT)


async def ready(store: FakeStore, *collections: str) -> Acceptance:
    acceptance = Acceptance(store, spec=SPEC)
    for collection in collections or ("c",):
        await acceptance.ensure(collection)
    return acceptance


async def record(store: FakeStore, key: DocumentKey = KEY) -> StateRecord | None:
    return (await store.read_states(key.collection, [key])).get(key)


async def accepted(acceptance: Acceptance, event: Candidate) -> Accepted:
    decision = await acceptance.accept(event)
    assert decision.accepted is not None
    return decision.accepted


async def test_a_new_document_is_written_and_then_acted_on() -> None:
    store = FakeStore()
    acceptance = await ready(store)

    decision = await acceptance.accept(candidate(), name="file")

    assert decision.verdict is Verdict.NEW
    found = await record(store)
    assert found is not None
    assert found.accepted == decision.accepted
    assert found.name == "file"


async def test_the_same_event_again_keeps_its_revision() -> None:
    store = FakeStore()
    acceptance = await ready(store)
    first = await accepted(acceptance, candidate())

    decision = await acceptance.accept(candidate())

    assert decision == Decision(Verdict.REDELIVERY, first)


async def test_revisions_rise_and_what_is_older_is_superseded() -> None:
    acceptance = await ready(FakeStore())
    first = await accepted(acceptance, candidate(5))
    second = await accepted(acceptance, candidate(6, text="two"))

    assert second.revision > first.revision
    assert (await acceptance.accept(candidate(4))).verdict is Verdict.SUPERSEDED
    assert (await acceptance.accept(candidate(5))).verdict is Verdict.SUPERSEDED


async def test_a_delete_takes_a_revision_and_holds_at_once() -> None:
    store = FakeStore()
    acceptance = await ready(store)
    await acceptance.accept(candidate(1))

    deleted = await accepted(acceptance, candidate(2, text=""))

    found = await record(store)
    assert found is not None
    assert found.deleted_revision == deleted.revision
    assert (await acceptance.accept(candidate(1))).verdict is Verdict.SUPERSEDED


async def test_a_superseded_delete_deletes_nothing() -> None:
    store = FakeStore()
    acceptance = await ready(store)
    await acceptance.accept(candidate(5, version=7))
    await acceptance.accept(candidate(3, text=""))

    found = await record(store)

    assert found is not None
    assert found.deleted_revision == 0


@pytest.mark.parametrize("applied", [0, None])
async def test_after_a_failed_write_the_next_try_has_the_same_revision(
    applied: int | None,
) -> None:
    store = FakeStore()
    acceptance = await ready(store)
    store.fail("apply", applied=applied)

    with pytest.raises(SharedFailure):
        await acceptance.accept(candidate())
    first = await accepted(acceptance, candidate())

    assert first == await accepted(acceptance, candidate())
    assert first.revision == candidate().arrival.append_time_ms


async def test_a_lost_race_is_decided_again_by_what_the_winner_wrote() -> None:
    class Racing(FakeStore):
        """Another loader writes between our read and our write."""

        raced = False

        async def apply(self, collection: str, operations: Sequence[Operation]) -> None:
            if not self.raced:
                self.raced = True
                other = candidate(9, text="theirs")
                theirs = Accepted(other.arrival, None, other.content_hash, 2_000_000)
                await super().apply(collection, [WriteAccepted(KEY, theirs, None)])
            await super().apply(collection, operations)

    older, newer = Racing(), Racing()

    assert (
        await (await ready(older)).accept(candidate(3))
    ).verdict is Verdict.SUPERSEDED
    won = await accepted(await ready(newer), candidate(20))
    assert won.revision == 2_000_001
    found = await record(newer)
    assert found is not None
    assert found.accepted == won


@pytest.mark.parametrize("first", [0, 1])
async def test_two_loaders_that_write_at_once_never_share_a_revision(
    first: int,
) -> None:
    """A former owner of the partition is at work; both have read that there is none."""
    store, gates = FakeStore(), Gates()
    await ready(store)
    loaders = [
        Acceptance(GatedStore(store, gates, who=name), spec=SPEC)
        for name in ("owner", "former")
    ]
    # In one millisecond, so that each alone would take the same revision.
    arrivals = [Arrival(1_000_000, "topic", partition, 1) for partition in (0, 1)]
    events = [
        replace(candidate(text=text), arrival=arrival)
        for text, arrival in zip(("mine", "theirs"), arrivals, strict=True)
    ]
    tasks = [
        asyncio.create_task(loader.accept(event))
        for loader, event in zip(loaders, events, strict=True)
    ]
    while not all(gate.what == "before WriteAccepted" for gate in gates.waiting) or (
        len(gates.waiting) < len(loaders)
    ):
        await gates.settle()
        for gate in list(gates.waiting):
            if gate.what != "before WriteAccepted":
                gates.step(gates.waiting.index(gate))
    gates.step(first)
    gates.open_all()
    decisions = await asyncio.gather(*tasks)

    found = await record(store)
    assert found is not None
    passed_on = [each for each in decisions if each.verdict is Verdict.NEW]
    revisions = {each.accepted.revision for each in passed_on if each.accepted}
    assert len(revisions) == len(passed_on)
    assert found.accepted == max(
        (each.accepted for each in passed_on if each.accepted),
        key=lambda accepted: accepted.revision,
    )


async def test_a_race_without_end_is_given_up() -> None:
    class Contended(FakeStore):
        async def apply(self, collection: str, operations: Sequence[Operation]) -> None:
            for operation in operations:
                assert isinstance(operation, WriteAccepted)
                other = replace(
                    operation.accepted,
                    arrival=Arrival(1, "topic", 0, 0),
                    content_hash=b"x" * 32,
                    revision=operation.accepted.revision + 1,
                    floor=None,
                )
                await super().apply(collection, [replace(operation, accepted=other)])

    acceptance = await ready(Contended())

    with pytest.raises(DocumentFailure) as raised:
        await acceptance.accept(candidate())
    assert (raised.value.code, raised.value.retryable) == ("contended", True)


async def test_many_documents_cost_few_calls() -> None:
    store = FakeStore()
    batching = Batching(max_items=100, max_wait_s=60)
    acceptance = Acceptance(store, spec=SPEC, batching=batching)
    await acceptance.ensure("c")
    keys = [DocumentKey("t", "c", f"d{n}") for n in range(100)]

    decisions = await asyncio.gather(
        *(acceptance.accept(candidate(n, key=key)) for n, key in enumerate(keys))
    )

    assert {decision.verdict for decision in decisions} == {Verdict.NEW}
    assert store.calls["apply"] == 1
    assert store.calls["read_states"] == 2
    # Each caller has its own answer.
    states = await store.read_states("c", keys)
    assert [d.accepted for d in decisions] == [states[key].accepted for key in keys]


async def test_a_collection_that_is_being_filled_is_written_without_looking() -> None:
    store = FakeStore()
    acceptance = await ready(store)

    async def calls(*numbers: int) -> tuple[int, int]:
        before = store.calls.copy()
        for n in numbers:
            key = DocumentKey("t", "c", f"d{n}")
            decision = await acceptance.accept(candidate(n + 1, key=key))
            assert decision.verdict in {Verdict.NEW, Verdict.REDELIVERY}
        spent = store.calls - before
        return spent["read_states"], spent["apply"]

    assert await calls(*range(100)) == (200, 100)
    assert await calls(100, 101) == (2, 2)
    assert await calls(100) == (1, 1)  # a redelivery finds its own write
    # One that has a record ends the guessing, at the price of one call more.
    assert (
        await acceptance.accept(candidate(300, key=DocumentKey("t", "c", "d5")))
    ).verdict is Verdict.NEW
    assert await calls(102) == (2, 1)


EVENTS = st.lists(
    st.tuples(
        st.sampled_from("de"),
        st.integers(1, 6),
        st.sampled_from(["", "one", "two"]),
        st.none() | st.integers(1, 2),
    ),
    max_size=8,
)


@given(EVENTS)
async def test_guessing_that_a_document_is_new_decides_nothing(
    events: list[tuple[str, int, str, int | None]],
) -> None:
    async def outcomes(filling: int) -> tuple[list[Decision], list[StateRecord | None]]:
        store = FakeStore()
        acceptance = Acceptance(store, spec=SPEC, batching=Batching(max_wait_s=0))
        await acceptance.ensure("c")
        decisions = []
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("headrace_loader.acceptance._FILLING", filling)
            for name, offset, text, version in events:
                key = DocumentKey("t", "c", name)
                decision = await acceptance.accept(
                    candidate(offset, text=text, version=version, key=key)
                )
                if decision.verdict is Verdict.REDELIVERY:  # the same to all others
                    decision = replace(decision, verdict=Verdict.NEW)
                decisions.append(decision)
        records = [await record(store, DocumentKey("t", "c", name)) for name in "de"]
        return decisions, records

    assert await outcomes(0) == await outcomes(1000)


@pytest.mark.parametrize("culprit", [0, 6, 19])
async def test_a_refused_write_fails_its_own_event_only(culprit: int) -> None:
    keys = [DocumentKey("t", "c", f"d{n}") for n in range(20)]

    class Refusing(FakeStore):
        """Takes what comes before the culprit, then refuses the call."""

        async def apply(self, collection: str, operations: Sequence[Operation]) -> None:
            for operation in operations:
                assert isinstance(operation, WriteAccepted)
                if operation.key == keys[culprit]:
                    raise DocumentFailure("store_refused", "not this one")
                await super().apply(collection, [operation])

    store = Refusing()
    batching = Batching(max_items=20, max_wait_s=60)
    acceptance = Acceptance(store, spec=SPEC, batching=batching)
    await acceptance.ensure("c")

    results = await asyncio.gather(
        *(acceptance.accept(candidate(n, key=key)) for n, key in enumerate(keys)),
        return_exceptions=True,
    )

    failure = results.pop(culprit)
    assert isinstance(failure, DocumentFailure)
    assert failure.code == "store_refused"
    others = [result for result in results if isinstance(result, Decision)]
    assert len(others) == 19
    assert {decision.verdict for decision in others} == {Verdict.NEW}
    assert set(await store.read_states("c", keys)) == set(keys) - {keys[culprit]}


async def test_a_collection_that_fails_leaves_the_others_alone() -> None:
    class Half(FakeStore):
        async def apply(self, collection: str, operations: Sequence[Operation]) -> None:
            if collection == "bad":
                raise SharedFailure("store_unavailable", "half")
            await super().apply(collection, operations)

    acceptance = Acceptance(Half(), spec=SPEC, batching=Batching(max_wait_s=0.05))
    for collection in ("good", "bad"):
        await acceptance.ensure(collection)

    good, bad = await asyncio.gather(
        acceptance.accept(candidate(key=DocumentKey("t", "good", "d"))),
        acceptance.accept(candidate(key=DocumentKey("t", "bad", "d"))),
        return_exceptions=True,
    )

    assert isinstance(good, Decision)
    assert isinstance(bad, SharedFailure)


async def test_a_collection_of_another_model_pauses_with_a_way_out() -> None:
    store = FakeStore()
    await ready(store)
    other = Acceptance(store, spec=replace(SPEC, dimensions=4))

    with pytest.raises(SharedFailure) as raised:
        await other.ensure("c")

    assert raised.value.reason == "collection_mismatch"
    assert other.problem == f"collection_mismatch: {raised.value}"
    for part in ("'c'", "dimensions is 3 there and 4 here", "another collection"):
        assert part in other.problem
    # It goes on by itself once the collection was dropped, to be filled again.
    await store.drop_collection("c")
    await other.ensure("c")
    assert other.problem is None


async def test_a_problem_goes_with_the_documents_that_met_it() -> None:
    store = FakeStore()
    await ready(store)
    other = Acceptance(store, spec=replace(SPEC, model="other"))
    with pytest.raises(SharedFailure):
        await other.ensure("c")
    await other.ensure("d")
    assert other.problem is not None

    other.forget_problem()

    assert other.problem is None
