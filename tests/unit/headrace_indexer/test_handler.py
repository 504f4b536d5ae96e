"""The indexer on a store in memory: every ending, and what each costs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import pytest

from headrace.errors import DocumentFailure, SharedFailure, Unreadable
from headrace.messages import EmbeddedSlice, Hole, Manifest, OnPartial, Operation
from headrace.store import CollectionSpec, StoreChunks
from headrace.store import Operation as StoreOperation
from tests.support.documents import (
    BASE_MS,
    COLLECTION,
    accept,
    chunk_set,
    chunk_texts,
    document_key,
    embedded,
    revision,
    slices,
    state_of,
    stored_numbers,
)
from tests.support.fake_store import FakeStore
from tests.unit.headrace_indexer.indexers import TOGETHER, delivery, indexer, since

LIVE_VECTOR = ("yes", "vector")
LIVE_HOLE = ("yes", "hole")
KEY = document_key()


def live(count: int, holes: Sequence[int] = ()) -> list[tuple[int, str, str]]:
    return [
        (number, *(LIVE_HOLE if number in holes else LIVE_VECTOR))
        for number in range(count)
    ]


class TestOneDocument:
    async def test_a_new_document_in_one_record_costs_three_calls(self):
        store = FakeStore()
        document = revision(1)
        await accept(store, document)
        async with indexer(store) as it:
            before = Counter(store.calls)
            await it.handle(*slices(document, 3))

            assert since(store.calls, before) == {"read_states": 2, "apply": 1}
            assert await stored_numbers(store, KEY) == {1: live(3)}
            assert it.states == [("moby", "indexed", 3, 0)]

        record = await state_of(store, KEY)
        assert record is not None
        assert record.live_set == chunk_set(document)
        assert (record.visible.count, record.visible.failed) == (3, 0)

    async def test_many_documents_share_the_calls(self):
        store = FakeStore()
        documents = [revision(1, name=f"book {n}") for n in range(20)]
        await accept(store, *documents)
        full = replace(TOGETHER, chunks=40, wait_s=60)
        async with indexer(store, limits=full) as it:
            before = Counter(store.calls)
            await it.handle_together(*[slices(each, 2)[0] for each in documents])

            assert since(store.calls, before) == {"read_states": 2, "apply": 1}
            assert len(it.states) == 20

    async def test_an_update_replaces_all_of_the_old(self):
        store = FakeStore()
        old, new = revision(1), revision(2)
        async with indexer(store) as it:
            await accept(store, old)
            await it.handle(*slices(old, 5))
            await accept(store, new)
            await it.handle(*slices(new, 2))

        assert await stored_numbers(store, KEY) == {2: live(2)}

    async def test_several_slices_become_visible_with_the_last_whatever_the_order(
        self,
    ):
        store = FakeStore()
        document = revision(1)
        await accept(store, document)
        async with indexer(store) as it:
            *others, first = reversed(slices(document, 7, size=2))
            await it.handle(*others)
            record = await state_of(store, KEY)
            assert record is not None
            assert record.live_set is None
            assert it.states == []

            await it.handle(first)

            assert it.states == [("moby", "indexed", 7, 0)]
        assert await stored_numbers(store, KEY) == {1: live(7)}

    async def test_in_order_the_store_is_asked_once_and_never_counted(self):
        store = FakeStore()
        document = revision(1)
        await accept(store, document)
        async with indexer(store) as it:
            await it.handle(*slices(document, 7, size=2))

        assert store.calls["read_manifest"] == 1
        assert store.calls["count"] == 0

    async def test_after_a_rebalance_completeness_is_counted_in_the_store(self):
        store = FakeStore()
        document = revision(1)
        await accept(store, document)
        async with indexer(store) as it:
            last, *others = slices(document, 6, size=2)
            await it.handle(*others)
            it.handler.assigned(0.5)
            await it.handle(last)

            assert it.states == [("moby", "indexed", 6, 0)]
        assert store.calls["count"] > 0

    async def test_a_document_without_chunks_replaces_what_was_there(self):
        store = FakeStore()
        old, new = revision(1), revision(2)
        async with indexer(store) as it:
            await accept(store, old)
            await it.handle(*slices(old, 3))
            await accept(store, new)
            await it.handle(*slices(new, 0))

            assert it.states[-1] == ("moby", "indexed", 0, 0)
        assert await stored_numbers(store, KEY) == {}
        record = await state_of(store, KEY)
        assert record is not None
        assert record.live_set == chunk_set(new)

    async def test_a_redelivery_changes_nothing_and_reports_the_same(self):
        store = FakeStore()
        document = revision(1)
        await accept(store, document)
        async with indexer(store) as it:
            await it.handle(*slices(document, 5, size=2))
            await it.handle(*slices(document, 5, size=2))

            assert set(it.states) == {("moby", "indexed", 5, 0)}
        assert await stored_numbers(store, KEY) == {1: live(5)}

    async def test_an_older_revision_that_comes_late_is_dropped(self):
        store = FakeStore()
        old, new = revision(1), revision(2)
        await accept(store, old, new)
        async with indexer(store) as it:
            await it.handle(*slices(new, 2), *slices(old, 3))

            assert it.states[-1] == ("moby", "superseded", 0, 0)
        assert await stored_numbers(store, KEY) == {2: live(2)}

    async def test_an_older_revision_becomes_visible_while_the_newer_is_on_its_way(
        self,
    ):
        store = FakeStore()
        old, new = revision(1), revision(2)
        await accept(store, old, new)
        async with indexer(store) as it:
            await it.handle(slices(new, 4, size=2)[0], *slices(old, 3))

            assert it.states == [("moby", "indexed", 3, 0)]

    async def test_what_an_unfinished_revision_left_goes_with_the_next(self):
        store = FakeStore()
        old, new = revision(1), revision(2)
        await accept(store, old)
        async with indexer(store) as it:
            await it.handle(slices(old, 4, size=2)[0])
        await accept(store, new)
        async with indexer(store) as it:
            await it.handle(*slices(new, 1))

        assert await stored_numbers(store, KEY) == {2: live(1)}

    async def test_of_two_sets_of_one_revision_the_first_that_is_complete_wins(self):
        store = FakeStore()
        one, other = revision(1), revision(1, parser="other")
        await accept(store, one)
        async with indexer(store) as it:
            late = slices(other, 4, size=2)
            await it.handle(late[0], *slices(one, 3), late[1])

            assert it.states == [("moby", "indexed", 3, 0)] * 2
        assert await stored_numbers(store, KEY) == {1: live(3)}


class TestHoles:
    async def test_a_first_revision_becomes_visible_with_its_holes(self):
        store = FakeStore()
        document = revision(1)
        await accept(store, document)
        async with indexer(store) as it:
            await it.handle(*slices(document, 4, holes=[1]))

            assert it.states == [("moby", "indexed_with_errors", 4, 1)]
            error = it.status.events[0].error
            assert error is not None
            assert (error.code, error.retryable) == ("holes_visible", True)
        assert await stored_numbers(store, KEY) == {1: live(4, holes=[1])}

    async def test_an_update_with_holes_leaves_the_old_one_visible(self):
        store = FakeStore()
        old, new = revision(1), revision(2)
        async with indexer(store) as it:
            await accept(store, old)
            await it.handle(*slices(old, 2))
            await accept(store, new)
            await it.handle(*slices(new, 3, holes=[0]))

            assert it.states[-1] == ("moby", "indexed_with_errors", 3, 1)
            error = it.status.events[-1].error
            assert error is not None
            assert error.code == "holes_not_visible"
        record = await state_of(store, KEY)
        assert record is not None
        assert record.live_set == chunk_set(old)
        assert await stored_numbers(store, KEY) == {
            1: live(2),
            2: [(0, "no", "hole"), (1, "no", "vector"), (2, "no", "vector")],
        }

    async def test_an_update_with_holes_is_published_where_the_event_says_so(self):
        store = FakeStore()
        old, new = revision(1), revision(2, on_partial=OnPartial.PUBLISH)
        async with indexer(store) as it:
            await accept(store, old)
            await it.handle(*slices(old, 2))
            await accept(store, new)
            await it.handle(*slices(new, 3, holes=[0]))

            assert it.states[-1] == ("moby", "indexed_with_errors", 3, 1)
        assert await stored_numbers(store, KEY) == {2: live(3, holes=[0])}

    @pytest.mark.parametrize("restarts", [False, True], ids=["same", "new process"])
    @pytest.mark.parametrize("before", [False, True], ids=["first", "update"])
    async def test_replaying_every_hole_publishes_the_whole(
        self, *, before: bool, restarts: bool
    ):
        store = FakeStore()
        document = revision(2)
        texts = chunk_texts(document, 3)
        replays = [
            EmbeddedSlice(document, 0, (embedded(number, texts[number]),))
            for number in (0, 1)
        ]
        async with indexer(store) as it:
            if before:
                await accept(store, revision(1))
                await it.handle(*slices(revision(1), 2))
            await accept(store, document)
            await it.handle(*slices(document, 3, holes=[0, 1]))
            if restarts:
                it.handler.assigned(1.0)
            await it.handle(replays[0])

            assert it.states[-1] == ("moby", "indexed_with_errors", 3, 1)

            await it.handle(replays[1])

            assert it.states[-1] == ("moby", "indexed", 3, 0)
        assert await stored_numbers(store, KEY) == {2: live(3)}
        record = await state_of(store, KEY)
        assert record is not None
        assert record.visible.failed == 0

    async def test_a_hole_of_what_is_visible_is_filled_live_at_once(self):
        store = FakeStore()
        document = revision(1)
        await accept(store, document)
        async with indexer(store) as it:
            await it.handle(*slices(document, 3, holes=[1]))
            store.applied.clear()
            filled = embedded(1, chunk_texts(document, 3)[1])
            await it.handle(EmbeddedSlice(document, 0, (filled,)))

        first = store.applied[0]
        assert isinstance(first, StoreChunks)
        assert [chunk.live for chunk in first.chunks] == [True]

    async def test_a_whole_record_after_one_with_holes_is_live_throughout(self):
        store = FakeStore()
        old, new = revision(1), revision(2)
        async with indexer(store) as it:
            await accept(store, old)
            await it.handle(*slices(old, 2))
            await accept(store, new)
            await it.handle(*slices(new, 3, holes=[1]), *slices(new, 3))

        assert await stored_numbers(store, KEY) == {2: live(3)}

    async def test_a_hole_never_replaces_a_vector(self):
        store = FakeStore()
        document = revision(1)
        await accept(store, document)
        async with indexer(store) as it:
            await it.handle(*slices(document, 3), *slices(document, 3, holes=[2]))

            assert it.states[-1] == ("moby", "indexed", 3, 0)
        assert await stored_numbers(store, KEY) == {1: live(3)}

    async def test_a_replay_for_a_replaced_revision_resolves_as_superseded(self):
        store = FakeStore()
        old, new = revision(1), revision(2)
        await accept(store, old, new)
        async with indexer(store) as it:
            await it.handle(*slices(old, 2, holes=[0]), *slices(new, 2))
            text = chunk_texts(old, 1)[0]
            await it.handle(EmbeddedSlice(old, 0, (embedded(0, text),)))

            assert it.states[-1] == ("moby", "superseded", 0, 0)
        assert await stored_numbers(store, KEY) == {2: live(2)}


class TestDeletes:
    async def test_a_delete_removes_the_points_and_ends_as_deleted(self):
        store = FakeStore()
        document, delete = revision(1), revision(2, operation=Operation.DELETE)
        async with indexer(store) as it:
            await accept(store, document)
            await it.handle(*slices(document, 3))
            await accept(store, delete)
            await it.handle(*slices(delete, 0))
            await it.handle(*slices(delete, 0))

            assert it.states[-2:] == [("moby", "deleted", 0, 0)] * 2
        assert await stored_numbers(store, KEY) == {}

    async def test_a_delete_ends_as_deleted_though_the_document_is_back(self):
        store = FakeStore()
        delete, again = revision(2, operation=Operation.DELETE), revision(3)
        await accept(store, revision(1), delete, again)
        async with indexer(store) as it:
            await it.handle(*slices(again, 2), *slices(delete, 0))

            assert it.states == [("moby", "indexed", 2, 0), ("moby", "deleted", 0, 0)]
        assert await stored_numbers(store, KEY) == {3: live(2)}

    async def test_what_was_deleted_is_not_stored_any_more(self):
        store = FakeStore()
        document, delete = revision(1), revision(2, operation=Operation.DELETE)
        await accept(store, document, delete)
        async with indexer(store) as it:
            await it.handle(*slices(document, 3), *slices(delete, 0))

            assert [state for _, state, _, _ in it.states] == ["superseded", "deleted"]
        assert await stored_numbers(store, KEY) == {}


class TestLostState:
    async def test_a_missing_record_is_made_from_the_message(self):
        store = FakeStore()
        document = revision(1, source_version=7)
        async with indexer(store) as it:
            await it.handle(*slices(document, 5, size=2))

            assert it.states == [("moby", "indexed", 5, 0)]
        record = await state_of(store, KEY)
        assert record is not None
        assert record.live_set == chunk_set(document)
        assert record.accepted.arrival == document.arrival
        assert record.accepted.source_version == 7

    async def test_a_delete_takes_effect_though_the_record_is_missing(self):
        store = FakeStore()
        delete = revision(2, operation=Operation.DELETE)
        async with indexer(store) as it:
            await it.handle(*slices(delete, 0), *slices(revision(1), 2))

            assert [state for _, state, _, _ in it.states] == ["deleted", "superseded"]

    async def test_a_record_restored_to_an_earlier_time_is_brought_forward(self):
        store = FakeStore()
        old, delete = revision(1), revision(2, operation=Operation.DELETE)
        await accept(store, old)
        async with indexer(store) as it:
            await it.handle(*slices(old, 2), *slices(delete, 0))

            assert it.states[-1] == ("moby", "deleted", 0, 0)
        record = await state_of(store, KEY)
        assert record is not None
        assert record.accepted.revision == delete.revision
        assert await stored_numbers(store, KEY) == {}


class PickyStore(FakeStore):
    """Refuses documents of one name, and every batch that has one of them."""

    async def apply(
        self, collection: str, operations: Sequence[StoreOperation]
    ) -> None:
        for operation in operations:
            if isinstance(operation, StoreChunks) and any(
                chunk.document.key.document_id == "bad" for chunk in operation.chunks
            ):
                raise DocumentFailure("bad_payload", "the store refuses it")
        await super().apply(collection, operations)


class TestFailures:
    @pytest.mark.parametrize("applied", [0, 1, None], ids=["none", "a part", "all"])
    @pytest.mark.parametrize("method", ["read_states", "apply", "count"])
    async def test_the_store_away_pauses_and_the_next_delivery_ends_it(
        self, method: str, applied: int | None
    ):
        store = FakeStore()
        old, new = revision(1), revision(2)
        async with indexer(store) as it:
            await accept(store, old)
            await it.handle(*slices(old, 2))
            await accept(store, new)
            part = slices(new, 3, size=2)
            it.handler.assigned(1.0)
            store.fail(method, applied=0 if method != "apply" else applied)
            with pytest.raises(SharedFailure, match="failed on command"):
                await it.handle(part[1], part[0])
            await it.handle(part[1], part[0])

            assert it.states[-1] == ("moby", "indexed", 3, 0)
        assert await stored_numbers(store, KEY) == {2: live(3)}

    async def test_a_document_the_store_refuses_does_not_fail_its_batch(self):
        store = PickyStore()
        names = ["a", "b", "bad", "c", "d"]
        documents = [revision(1, name=name) for name in names]
        await accept(store, *documents)
        async with indexer(store, limits=TOGETHER) as it:
            results = await it.handle_together(
                *[slices(each, 1)[0] for each in documents]
            )

            assert [type(each).__name__ for each in results] == [
                "NoneType",
                "NoneType",
                "DocumentFailure",
                "NoneType",
                "NoneType",
            ]
            assert {name for name, *_ in it.states} == {"a", "b", "c", "d"}

    async def test_a_collection_of_another_model_pauses_only_its_own_documents(self):
        store = FakeStore()
        await store.ensure_collection("other", CollectionSpec("else", "1", 8))
        fine, wrong = revision(1), revision(1, collection="other")
        await accept(store, fine)
        async with indexer(store, limits=TOGETHER) as it:
            results = await it.handle_together(slices(fine, 1)[0], slices(wrong, 1)[0])

            assert results[0] is None
            assert isinstance(results[1], SharedFailure)
            assert results[1].reason == "collection_mismatch"
            told = it.handler.ready() or ""
            assert told.startswith("collection_mismatch: collection 'other'")
            assert await store.read_states("other", [wrong.key]) == {}
            # Once it was dropped, to be filled again, this goes on by itself.
            await store.drop_collection("other")
            await accept(store, wrong)
            await it.handle(slices(wrong, 1)[0])
            assert it.handler.ready() is None

    async def test_an_end_that_could_not_be_reported_is_reported_the_next_time(self):
        store = FakeStore()
        document = revision(1)
        await accept(store, document)
        async with indexer(store) as it:
            it.status.fail_next(SharedFailure("broker_unavailable", "away"))
            with pytest.raises(SharedFailure):
                await it.handle(*slices(document, 1))
            await it.handle(*slices(document, 1))

            assert it.states == [("moby", "indexed", 1, 0)]

    async def test_a_record_that_vanishes_meanwhile_is_tried_again(self):
        class Forgetful(FakeStore):
            async def apply(
                self, collection: str, operations: Sequence[StoreOperation]
            ) -> None:
                await super().apply(collection, operations)
                if self.calls["apply"] == 2:
                    self._collections[collection].states.clear()

        store = Forgetful()
        document = revision(1)
        await accept(store, document)
        async with indexer(store) as it:
            with pytest.raises(SharedFailure, match="removed or restored"):
                await it.handle(*slices(document, 1))
            await it.handle(*slices(document, 1))

            assert it.states == [("moby", "indexed", 1, 0)]

    async def test_more_chunks_than_the_manifest_says_are_never_shown(self):
        store = FakeStore()
        document = revision(1)
        await accept(store, document)
        part = slices(document, 4, size=2)
        short = replace(
            part[0], chunks=part[0].chunks[:1], manifest=Manifest(1, b"m" * 32)
        )
        async with indexer(store) as it:
            await it.handle(replace(part[1], manifest=None))
            hole = replace(short.chunks[0], vector=None, hole=Hole("rejected"))
            with pytest.raises(DocumentFailure, match="manifest says 1"):
                await it.handle(replace(short, chunks=(hole,)))
        record = await state_of(store, KEY)
        assert record is not None
        assert record.live_set is None


class TestRefused:
    @pytest.mark.parametrize("value", [b"", b"\xff\xff", b"{}"])
    async def test_bytes_that_are_no_slice_are_unreadable(self, value: bytes):
        async with indexer(FakeStore()) as it:
            with pytest.raises(Unreadable):
                await it.handler.handle(
                    delivery(slices(revision(1), 1)[0], value=value)
                )

    @pytest.mark.parametrize(
        "item",
        [
            replace(
                slices(revision(1), 2)[0],
                chunks=(slices(revision(1), 2)[0].chunks[0],) * 2,
            ),
            replace(slices(revision(1), 3)[0], manifest=Manifest(2, b"m" * 32)),
            replace(
                slices(revision(1, operation=Operation.DELETE), 0)[0],
                manifest=Manifest(0, b"m" * 32),
            ),
        ],
        ids=["a number twice", "a number beyond the count", "delete with a manifest"],
    )
    async def test_slices_that_contradict_themselves_are_unreadable(
        self, item: EmbeddedSlice
    ):
        async with indexer(FakeStore()) as it:
            with pytest.raises(Unreadable, match="contradicts itself"):
                await it.handle(item)

    async def test_vectors_of_another_model_wait_for_their_indexer(self):
        store = FakeStore()
        document = revision(1)
        await accept(store, document)
        foreign = replace(document, fingerprint="-".join(["0" * 12] * 3))
        before = list(store.applied)
        async with indexer(store) as it:
            with pytest.raises(SharedFailure) as raised:
                await it.handle(*slices(foreign, 1))

            assert raised.value.reason == "model_mismatch"
            assert "HEADRACE_EMBEDDING_" in str(raised.value)
            assert (it.handler.ready() or "").startswith("model_mismatch: ")
            assert store.applied == before
            # The next of the partition is ours again.
            await it.handle(*slices(document, 1))
            assert it.handler.ready() is None

    async def test_a_new_owner_finds_out_for_itself_what_does_not_fit(self):
        store = FakeStore()
        await store.ensure_collection("other", CollectionSpec("else", "1", 8))
        foreign = replace(revision(1), fingerprint="-".join(["0" * 12] * 3))
        async with indexer(store) as it:
            for wrong in (foreign, revision(1, collection="other")):
                with pytest.raises(SharedFailure):
                    await it.handle(*slices(wrong, 1))
                assert it.handler.ready() is not None
                it.handler.assigned(1.0)
                assert it.handler.ready() is None

    async def test_a_replayed_letter_of_another_model_needs_a_reindex(self):
        store = FakeStore()
        document = replace(revision(1), fingerprint="-".join(["0" * 12] * 3))
        async with indexer(store) as it:
            again = replace(delivery(slices(document, 1)[0]), replays=1)
            with pytest.raises(DocumentFailure) as raised:
                await it.handler.handle(again)

            assert (raised.value.code, raised.value.retryable) == (
                "needs_reindex",
                False,
            )
            assert it.handler.ready() is None
        assert store.applied == []

    async def test_vectors_of_another_size_are_never_written(self):
        store = FakeStore()
        item = slices(revision(1), 1)[0]
        chunk = replace(item.chunks[0], vector=b"\0" * 12)
        async with indexer(store) as it:
            with pytest.raises(DocumentFailure) as raised:
                await it.handle(replace(item, chunks=(chunk,)))

        assert raised.value.code == "wrong_dimensions"
        assert store.applied == []


class TestSweep:
    async def test_what_a_former_owner_wrote_too_late_goes_with_the_sweep(self):
        store = FakeStore()
        old, new = revision(1), revision(2)
        async with indexer(store) as it:
            await accept(store, old)
            await it.handle(*slices(old, 2))
            await accept(store, new)
            await it.handle(*slices(new, 2))
            late = await _late_points(store, old)

            assert late == [1, 2]

            await it.sweep.sweep()
            await it.sweep.sweep()

        assert list(await stored_numbers(store, KEY)) == [2]

    async def test_documents_that_never_had_anything_to_remove_are_not_swept(self):
        store = FakeStore()
        async with indexer(store) as it:
            await accept(store, revision(1))
            await it.handle(*slices(revision(1), 2))
            before = Counter(store.calls)
            await it.sweep.sweep()
            await it.sweep.sweep()

        assert since(store.calls, before) == {}

    async def test_what_could_not_be_swept_stays_due(self):
        store = FakeStore()
        old, new = revision(1), revision(2)
        async with indexer(store) as it:
            await accept(store, old, new)
            await it.handle(*slices(new, 2))
            await it.sweep.sweep()
            await _late_points(store, old)
            store.fail("apply")
            with pytest.raises(SharedFailure):
                await it.sweep.sweep()
            await it.sweep.sweep()

        assert list(await stored_numbers(store, KEY)) == [2]


async def _late_points(store: FakeStore, document: object) -> list[int]:
    from headrace.store import StoredChunk  # noqa: PLC0415

    item = slices(document, 2)[0]
    chunks = tuple(StoredChunk(document, each, live=True) for each in item.chunks)
    await store.apply(COLLECTION, [StoreChunks(chunks)])
    return sorted(await stored_numbers(store, KEY))


def test_revisions_in_these_tests_are_times() -> None:
    assert revision(3).revision == BASE_MS + 3
