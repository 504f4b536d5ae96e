"""What headrace.store.Store promises, as tests for whatever implements it.

Subclasses give a fixture ``store``. Every test has a collection of its own.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest

from headrace.errors import DocumentFailure, SharedFailure
from headrace.identity import DocumentKey
from headrace.messages import Chunk, EmbeddedChunk, Hole, Manifest, Metadata
from headrace.state import ChunkSet, StateRecord, Visible
from headrace.store import (
    CollectionMismatch,
    Flip,
    Operation,
    RemoveObsolete,
    SetLive,
    Store,
    StoreChunks,
    StoredChunk,
    StoredPoint,
    WriteAccepted,
)
from tests.support.store_values import (
    HASH,
    SPEC,
    accept,
    accepted,
    arrival,
    chunk,
    chunks,
    document,
    floats,
    set_of,
    unpacked,
)

HOLE = Hole("rejected", "the provider refused it", 5)


@pytest.fixture
async def collection(store: Store) -> AsyncIterator[str]:
    name = f"c-{uuid4().hex[:12]}"
    await store.ensure_collection(name, SPEC)
    yield name
    await store.drop_collection(name)


@pytest.fixture
def key(collection: str) -> DocumentKey:
    return DocumentKey("default", collection, "doc")


async def state(store: Store, key: DocumentKey) -> StateRecord | None:
    return (await store.read_states(key.collection, [key])).get(key)


async def points(
    store: Store, collection: str, key: DocumentKey | None = None
) -> list[StoredPoint]:
    found = [point async for point in store.scroll_points(collection, key=key)]
    return sorted(found, key=lambda point: point.payload["number"])


async def numbers(
    store: Store, collection: str, *vector: float, **arguments: object
) -> list[int]:
    hits = await store.search(
        collection,
        floats(*(vector or (1.0, 0.0, 0.0, 0.0))),
        **{"limit": 10, **arguments},  # type: ignore[arg-type]
    )
    return [hit.payload["number"] for hit in hits]


class StoreContract:
    # Collections

    async def test_a_collection_is_found_with_its_spec(
        self, store: Store, collection: str
    ) -> None:
        found = await store.collections()
        assert found[collection] == SPEC

    async def test_making_a_collection_again_keeps_what_is_in_it(
        self, store: Store, collection: str, key: DocumentKey
    ) -> None:
        await store.apply(collection, [chunks(document(key), 3), accept(key, 1)])
        await store.ensure_collection(collection, SPEC)
        assert len(await points(store, collection)) == 3

    @pytest.mark.parametrize(
        "change",
        [
            {"model": "other"},
            {"model_revision": "2"},
            {"dimensions": 8},
            {"document_prefix": ""},
            {"query_prefix": "query: "},
        ],
    )
    async def test_a_collection_of_another_model_is_refused_with_the_way_out(
        self, store: Store, collection: str, change: dict[str, Any]
    ) -> None:
        with pytest.raises(CollectionMismatch) as caught:
            await store.ensure_collection(collection, replace(SPEC, **change))
        message = str(caught.value)
        assert collection in message
        assert next(iter(change)) in message
        assert "another collection" in message
        await store.ensure_collection(collection, SPEC)

    async def test_a_dropped_collection_is_gone_and_can_be_made_anew(
        self, store: Store, collection: str, key: DocumentKey
    ) -> None:
        await store.apply(collection, [chunks(document(key), 1), accept(key, 1)])
        await store.drop_collection(collection)
        assert collection not in await store.collections()
        await store.drop_collection(collection)
        await store.ensure_collection(collection, replace(SPEC, dimensions=2))
        assert await points(store, collection) == []
        assert await state(store, key) is None

    async def test_a_collection_that_is_missing_pauses(self, store: Store) -> None:
        missing = f"missing-{uuid4().hex}"
        wanted = DocumentKey("default", missing, "doc")
        with pytest.raises(SharedFailure) as caught:
            await store.read_states(missing, [wanted])
        assert caught.value.reason == "collection_missing"
        with pytest.raises(SharedFailure):
            await store.apply(missing, [accept(wanted, 1)])

    # State records: acceptance

    async def test_a_record_is_read_back_as_it_was_written(
        self, store: Store, key: DocumentKey
    ) -> None:
        first = accepted(5, source_version=-7, floor=arrival(3), previous=4)
        await store.apply(
            key.collection, [WriteAccepted(key, first, None, name="a.pdf")]
        )
        assert await state(store, key) == StateRecord(key, first, name="a.pdf")

    async def test_only_keys_with_a_record_are_answered(
        self, store: Store, collection: str, key: DocumentKey
    ) -> None:
        other = DocumentKey("other", collection, "doc")
        await store.apply(collection, [accept(key, 1)])
        assert set(await store.read_states(collection, [key, other, key])) == {key}
        assert await store.read_states(collection, []) == {}

    async def test_the_first_acceptance_is_inserted_only_where_there_is_none(
        self, store: Store, key: DocumentKey
    ) -> None:
        first, late = accepted(5), accepted(9)
        await store.apply(key.collection, [WriteAccepted(key, first, None)])
        await store.apply(key.collection, [WriteAccepted(key, late, None)])
        record = await state(store, key)
        assert record is not None
        assert record.accepted == first

    async def test_an_acceptance_replaces_only_the_one_it_expects(
        self, store: Store, key: DocumentKey
    ) -> None:
        first, second, third = accepted(5), accepted(6), accepted(7)
        await store.apply(key.collection, [WriteAccepted(key, first, None)])
        await store.apply(key.collection, [WriteAccepted(key, second, first)])
        await store.apply(key.collection, [WriteAccepted(key, third, first)])
        record = await state(store, key)
        assert record is not None
        assert record.accepted == second

    @pytest.mark.parametrize(
        "differs", [{"revision": 6}, {"offset": 6}, {"floor": arrival(1)}]
    )
    async def test_arrival_revision_and_floor_must_be_as_expected(
        self, store: Store, key: DocumentKey, differs: dict[str, Any]
    ) -> None:
        first = accepted(5, offset=5)
        expected = accepted(**{"revision": 5, "offset": 5, **differs})
        await store.apply(key.collection, [WriteAccepted(key, first, None)])
        await store.apply(key.collection, [WriteAccepted(key, accepted(9), expected)])
        record = await state(store, key)
        assert record is not None
        assert record.accepted == first

    async def test_an_acceptance_without_a_record_to_replace_writes_nothing(
        self, store: Store, key: DocumentKey
    ) -> None:
        await store.apply(
            key.collection, [WriteAccepted(key, accepted(6), accepted(5))]
        )
        assert await state(store, key) is None

    async def test_a_source_version_can_be_set_and_taken_away(
        self, store: Store, key: DocumentKey
    ) -> None:
        without, with_one = accepted(5), accepted(6, source_version=2**53)
        last = accepted(7)
        await store.apply(
            key.collection,
            [
                WriteAccepted(key, without, None),
                WriteAccepted(key, with_one, without),
            ],
        )
        record = await state(store, key)
        assert record is not None
        assert record.accepted.source_version == 2**53
        await store.apply(key.collection, [WriteAccepted(key, last, with_one)])
        record = await state(store, key)
        assert record is not None
        assert record.accepted.source_version is None

    async def test_a_floor_is_raised_on_what_was_accepted(
        self, store: Store, key: DocumentKey
    ) -> None:
        first = accepted(5)
        raised = replace(first, floor=arrival(9))
        again = replace(first, floor=arrival(8))
        await store.apply(key.collection, [WriteAccepted(key, first, None)])
        await store.apply(key.collection, [WriteAccepted(key, raised, first)])
        await store.apply(key.collection, [WriteAccepted(key, again, first)])
        record = await state(store, key)
        assert record is not None
        assert record.accepted == raised

    async def test_a_delete_sets_the_deleted_revision_and_leaves_the_rest(
        self, store: Store, key: DocumentKey
    ) -> None:
        first, deleted = accepted(5), accepted(6, content_hash=b"")
        await store.apply(
            key.collection,
            [
                WriteAccepted(key, first, None, name="a.pdf"),
                Flip(set_of(document(key, 5)), 1, 0),
                WriteAccepted(key, deleted, first, deletes=True),
            ],
        )
        record = await state(store, key)
        assert record is not None
        assert record.accepted == deleted
        assert record.deleted_revision == 6
        assert record.visible.revision == 5
        assert record.live_set is None
        assert record.name == "a.pdf"

    async def test_a_delete_of_what_is_not_there_leaves_a_record(
        self, store: Store, key: DocumentKey
    ) -> None:
        deleted = accepted(6, content_hash=b"")
        await store.apply(
            key.collection, [WriteAccepted(key, deleted, None, deletes=True)]
        )
        assert await state(store, key) == StateRecord(key, deleted, deleted_revision=6)

    # State records: the flip

    async def test_a_flip_makes_a_set_visible(
        self, store: Store, key: DocumentKey
    ) -> None:
        wanted = set_of(document(key, 5))
        await store.apply(key.collection, [accept(key, 5), Flip(wanted, 3, 1)])
        record = await state(store, key)
        assert record is not None
        assert record.visible == Visible(
            wanted.revision, wanted.fingerprint, wanted.content_hash, count=3, failed=1
        )
        assert record.live_set == wanted
        assert record.accepted == accepted(5)

    async def test_a_flip_without_a_record_writes_nothing(
        self, store: Store, key: DocumentKey
    ) -> None:
        await store.apply(key.collection, [Flip(set_of(document(key, 5)), 1, 0)])
        assert await state(store, key) is None

    @pytest.mark.parametrize(
        ("visible", "deleted", "flips"),
        [(5, 0, 6), (5, 4, 6), (0, 5, 6), (None, None, 1)],
    )
    async def test_a_flip_holds_above_both_revisions(
        self,
        store: Store,
        key: DocumentKey,
        visible: int | None,
        deleted: int | None,
        flips: int,
    ) -> None:
        await self._with_revisions(store, key, visible or 0, deleted or 0)
        await store.apply(key.collection, [Flip(set_of(document(key, flips)), 1, 0)])
        record = await state(store, key)
        assert record is not None
        assert record.visible.revision == flips

    @pytest.mark.parametrize(
        ("visible", "deleted", "flips"), [(7, 0, 6), (0, 7, 6), (0, 6, 6), (5, 6, 6)]
    )
    async def test_a_flip_at_or_below_either_revision_changes_nothing(
        self,
        store: Store,
        key: DocumentKey,
        visible: int,
        deleted: int,
        flips: int,
    ) -> None:
        await self._with_revisions(store, key, visible, deleted)
        before = await state(store, key)
        await store.apply(key.collection, [Flip(set_of(document(key, flips)), 9, 9)])
        assert await state(store, key) == before

    async def _with_revisions(
        self, store: Store, key: DocumentKey, visible: int, deleted: int
    ) -> None:
        first = accepted(1)
        await store.apply(key.collection, [WriteAccepted(key, first, None)])
        if visible:
            flip = Flip(set_of(document(key, visible)), 2, 0)
            await store.apply(key.collection, [flip])
        if deleted:
            delete = WriteAccepted(
                key, accepted(deleted, content_hash=b""), first, deletes=True
            )
            await store.apply(key.collection, [delete])

    @pytest.mark.parametrize(
        "other", [{"fingerprint": "d-e-f"}, {"content_hash": b"other"}]
    )
    async def test_at_an_equal_revision_the_first_complete_set_wins(
        self, store: Store, key: DocumentKey, other: dict[str, object]
    ) -> None:
        first = set_of(document(key, 5))
        second = set_of(document(key, 5, **other))  # type: ignore[arg-type]
        await store.apply(key.collection, [accept(key, 5), Flip(first, 2, 1)])
        await store.apply(key.collection, [Flip(second, 3, 0)])
        record = await state(store, key)
        assert record is not None
        assert record.live_set == first
        assert (record.visible.count, record.visible.failed) == (2, 1)

    async def test_the_very_same_set_again_writes_its_failed_count_only(
        self, store: Store, key: DocumentKey
    ) -> None:
        same = set_of(document(key, 5))
        await store.apply(key.collection, [accept(key, 5), Flip(same, 3, 2)])
        await store.apply(key.collection, [Flip(same, 99, 0)])
        record = await state(store, key)
        assert record is not None
        assert (record.visible.count, record.visible.failed) == (3, 0)

    async def test_the_same_set_after_its_delete_is_left_alone(
        self, store: Store, key: DocumentKey
    ) -> None:
        await self._with_revisions(store, key, 5, 6)
        before = await state(store, key)
        await store.apply(key.collection, [Flip(set_of(document(key, 5)), 2, 7)])
        assert await state(store, key) == before

    # Points, inserted

    async def test_a_point_says_all_that_is_known_of_its_chunk(
        self, store: Store, key: DocumentKey
    ) -> None:
        metadata = Metadata(
            name="Bericht.pdf",
            media_type="application/pdf",
            source_uri="https://example.org/b.pdf",
            user_id="u1",
            session_id="s1",
            import_job="j1",
            attributes={"team": "red", "größe": "XL"},
        )
        owner = document(key, 7, metadata=metadata, source_version=3)
        stored = StoredChunk(
            document=owner,
            embedded=EmbeddedChunk(
                Chunk(4, "Grüße 🌊", 9, 100, 108, 12, ("A", "B"), "s.1"),
                vector=floats(0, 1, 0, 0),
            ),
            live=True,
            manifest=Manifest(5, b"\x01" * 32),
        )
        await store.apply(key.collection, [StoreChunks((stored,))])
        [point] = await points(store, key.collection)
        assert point.payload == {
            "key": str(key.uuid),
            "tenant": "default",
            "document_id": "doc",
            "revision": 7,
            "fingerprint": owner.fingerprint,
            "content_hash": HASH.hex(),
            "source_version": 3,
            "name": "Bericht.pdf",
            "media_type": "application/pdf",
            "source_uri": "https://example.org/b.pdf",
            "user_id": "u1",
            "session_id": "s1",
            "import_job": "j1",
            "attributes": {"team": "red", "größe": "XL"},
            "number": 4,
            "text": "Grüße 🌊",
            "token_count": 9,
            "start": 100,
            "end": 108,
            "page": 12,
            "headings": ["A", "B"],
            "section": "s.1",
            "live": "yes",
            "state": "vector",
            "chunk_count": 5,
            "manifest_hash": "01" * 32,
        }

    async def test_vectors_are_read_back_in_their_direction(
        self, store: Store, key: DocumentKey
    ) -> None:
        owner = document(key)
        await store.apply(
            key.collection,
            [
                StoreChunks(
                    (
                        chunk(owner, 0, vector=(3.0, 4.0, 0.0, 0.0)),
                        chunk(owner, 1, hole=HOLE),
                    )
                )
            ],
        )
        found = {
            point.payload["number"]: point.vector
            async for point in store.scroll_points(key.collection, with_vectors=True)
        }
        assert found[1] is None
        assert found[0] is not None
        vector = unpacked(found[0])
        length = math.hypot(*vector)
        assert [part / length for part in vector] == pytest.approx([0.6, 0.8, 0, 0])
        assert all(
            point.vector is None for point in await points(store, key.collection)
        )

    async def test_a_chunk_stored_again_changes_nothing(
        self, store: Store, key: DocumentKey
    ) -> None:
        owner = document(key)
        await store.apply(key.collection, [chunks(owner, 3), SetLive(set_of(owner))])
        before = await points(store, key.collection)
        await store.apply(key.collection, [chunks(owner, 3, text="other")])
        await store.apply(
            key.collection,
            [chunks(owner, 3, text="other"), chunks(owner, 3, text="another")],
        )
        assert await points(store, key.collection) == before

    async def test_a_vector_replaces_a_hole(
        self, store: Store, key: DocumentKey
    ) -> None:
        owner = document(key)
        hole = chunk(owner, 0, hole=HOLE)
        await store.apply(key.collection, [StoreChunks((hole, chunk(owner, 1)))])
        [point, _] = await points(store, key.collection)
        assert point.payload["state"] == "hole"
        assert point.payload["hole_reason"] == "rejected"
        assert point.payload["hole_detail"] == "the provider refused it"
        assert await store.count(key.collection, set_of(owner), holes=True) == 1
        await store.apply(
            key.collection, [StoreChunks((chunk(owner, 0), chunk(owner, 1)))]
        )
        [point, _] = await points(store, key.collection)
        assert point.payload["state"] == "vector"
        assert "hole_reason" not in point.payload
        assert await store.count(key.collection, set_of(owner), holes=True) == 0
        assert await store.count(key.collection, set_of(owner)) == 2

    async def test_a_hole_never_replaces_a_vector(
        self, store: Store, key: DocumentKey
    ) -> None:
        owner = document(key)
        await store.apply(key.collection, [StoreChunks((chunk(owner, 0),))])
        before = await points(store, key.collection)
        await store.apply(key.collection, [StoreChunks((chunk(owner, 0, hole=HOLE),))])
        assert await points(store, key.collection) == before

    @pytest.mark.parametrize("hole_first", [True, False])
    async def test_hole_and_vector_in_one_call_end_as_the_vector(
        self, store: Store, key: DocumentKey, *, hole_first: bool
    ) -> None:
        owner = document(key)
        both = [
            StoreChunks((chunk(owner, 0, hole=HOLE),)),
            StoreChunks((chunk(owner, 0),)),
        ]
        await store.apply(key.collection, both if hole_first else both[::-1])
        [point] = await points(store, key.collection)
        assert point.payload["state"] == "vector"
        assert await numbers(store, key.collection, chunk_sets=[set_of(owner)]) == [0]

    async def test_revisions_and_contents_never_share_a_point(
        self, store: Store, key: DocumentKey
    ) -> None:
        owners = [
            document(key, 1),
            document(key, 2),
            document(key, 1, fingerprint="x-y-z"),
            document(key, 1, content_hash=b"other"),
            document(replace(key, tenant="t2"), 1),
        ]
        await store.apply(key.collection, [chunks(owner, 1) for owner in owners])
        assert len(await points(store, key.collection)) == len(owners)
        for owner in owners:
            assert await store.count(key.collection, set_of(owner)) == 1

    async def test_a_vector_of_other_dimensions_is_refused_for_good(
        self, store: Store, key: DocumentKey
    ) -> None:
        wrong = chunk(document(key), 0, vector=(1.0, 2.0))
        with pytest.raises(DocumentFailure) as caught:
            await store.apply(key.collection, [StoreChunks((wrong,))])
        assert caught.value.code == "store_refused"
        assert not caught.value.retryable
        assert await points(store, key.collection) == []

    async def test_no_operations_and_no_chunks_do_nothing(
        self, store: Store, collection: str
    ) -> None:
        await store.apply(collection, [])
        await store.apply(collection, [StoreChunks(())])
        assert await points(store, collection) == []

    async def test_thousands_of_points_go_in_at_once(
        self, store: Store, key: DocumentKey
    ) -> None:
        owner = document(key)
        count = 2000
        await store.apply(key.collection, [chunks(owner, count, text="x" * 3000)])
        assert await store.count(key.collection, set_of(owner)) == count
        found = await points(store, key.collection, key)
        assert [point.payload["number"] for point in found] == list(range(count))
        assert await store.read_manifest(key.collection, set_of(owner)) == Manifest(
            count, b"m" * 32
        )

    async def test_a_large_text_is_kept_whole(
        self, store: Store, key: DocumentKey
    ) -> None:
        text = "ü" * 3_000_000
        await store.apply(
            key.collection, [StoreChunks((chunk(document(key), text=text),))]
        )
        [point] = await points(store, key.collection)
        assert point.payload["text"] == text

    @pytest.mark.parametrize(
        "document_id",
        ["a/b c", "ключ/文書/🌊", "x" * 1024, '"; {"a": 1}', "\x00null", " "],
    )
    async def test_any_document_id_is_kept_apart(
        self, store: Store, collection: str, document_id: str
    ) -> None:
        key = DocumentKey("мир", collection, document_id)
        other = DocumentKey("мир", collection, document_id + "/")
        if len(other.document_id) > 1024:
            other = DocumentKey("мир", collection, document_id[:-1])
        owner = document(key)
        await store.apply(
            collection,
            [
                accept(key, 1),
                chunks(owner, 2),
                SetLive(set_of(owner)),
                Flip(set_of(owner), 2, 0),
                chunks(document(other), 1),
            ],
        )
        record = await state(store, key)
        assert record is not None
        assert record.key == key
        assert record.live_set == set_of(owner)
        found = await points(store, collection, key)
        assert [point.payload["document_id"] for point in found] == [document_id] * 2
        assert len(await numbers(store, collection)) == 2

    # Points: live, counts, manifest, removal

    async def test_only_the_set_asked_for_becomes_live(
        self, store: Store, key: DocumentKey
    ) -> None:
        old, new = document(key, 1), document(key, 2)
        twin = document(key, 2, content_hash=b"other")
        await store.apply(
            key.collection,
            [chunks(old, 1), chunks(new, 2), chunks(twin, 1), SetLive(set_of(new))],
        )
        await store.apply(key.collection, [SetLive(set_of(new))])
        live = [
            point.payload["revision"]
            for point in await points(store, key.collection)
            if point.payload["live"] == "yes"
        ]
        assert live == [2, 2]

    async def test_counts_are_exact_and_of_one_set(
        self, store: Store, key: DocumentKey
    ) -> None:
        owner, other = document(key, 1), document(key, 2)
        holes = StoreChunks(
            tuple(chunk(owner, number, hole=HOLE) for number in range(70, 75))
        )
        await store.apply(key.collection, [chunks(owner, 70), holes, chunks(other, 9)])
        assert await store.count(key.collection, set_of(owner)) == 75
        assert await store.count(key.collection, set_of(owner), holes=True) == 5
        assert await store.count(key.collection, set_of(document(key, 3))) == 0

    async def test_the_manifest_is_read_once_the_last_chunk_is_stored(
        self, store: Store, key: DocumentKey
    ) -> None:
        owner = document(key)
        last = chunk(owner, 1, hole=HOLE, manifest=Manifest(2, b"h" * 32))
        await store.apply(key.collection, [StoreChunks((chunk(owner, 0),))])
        assert await store.read_manifest(key.collection, set_of(owner)) is None
        await store.apply(key.collection, [StoreChunks((last,))])
        assert await store.read_manifest(key.collection, set_of(owner)) == Manifest(
            2, b"h" * 32
        )
        other = set_of(document(key, 2))
        assert await store.read_manifest(key.collection, other) is None

    @pytest.mark.parametrize(
        ("visible", "deleted", "left"),
        [
            (0, 0, [1, 2, 3]),
            (2, 0, [2, 3]),
            (2, 1, [2, 3]),
            (2, 2, [3]),
            (0, 1, [2, 3]),
            (1, 3, []),
            (9, 0, []),
        ],
    )
    async def test_removal_is_relative_to_the_revisions_given(
        self,
        store: Store,
        key: DocumentKey,
        visible: int,
        deleted: int,
        left: list[int],
    ) -> None:
        other = replace(key, document_id="other")
        await store.apply(
            key.collection,
            [chunks(document(key, revision), 1) for revision in (1, 2, 3)]
            + [chunks(document(other, 1), 1)],
        )
        remove = RemoveObsolete(key, visible, deleted)
        await store.apply(key.collection, [remove])
        await store.apply(key.collection, [remove])
        found = await points(store, key.collection, key)
        assert sorted(point.payload["revision"] for point in found) == left
        assert len(await points(store, key.collection, other)) == 1

    async def test_points_are_deleted_by_id(
        self, store: Store, key: DocumentKey
    ) -> None:
        await store.apply(key.collection, [chunks(document(key), 3)])
        found = await points(store, key.collection)
        unknown = str(uuid4())
        await store.delete_points(key.collection, [found[0].id, unknown, found[2].id])
        await store.delete_points(key.collection, [])
        left = await points(store, key.collection)
        assert [point.id for point in left] == [found[1].id]

    # Batches over many documents

    async def test_a_batch_keeps_each_documents_order(
        self, store: Store, collection: str
    ) -> None:
        keys = [DocumentKey("default", collection, f"d{n}") for n in range(40)]
        operations: list[Operation] = []
        for key in keys:
            old, new = document(key, 1), document(key, 2)
            operations += [
                accept(key, 1),
                chunks(old, 2),
                SetLive(set_of(old)),
                Flip(set_of(old), 2, 0),
                WriteAccepted(key, accepted(2), accepted(1)),
                chunks(new, 1),
                SetLive(set_of(new)),
                Flip(set_of(new), 1, 0),
                RemoveObsolete(key, 2, 0),
            ]
        await store.apply(collection, operations)
        states = await store.read_states(collection, keys)
        assert all(states[key].live_set == set_of(document(key, 2)) for key in keys)
        found = await points(store, collection)
        assert len(found) == len(keys)
        assert {point.payload["live"] for point in found} == {"yes"}
        # All of it once more, as after a crash before the commit: the old points come
        # back for a moment and are removed again, the new ones stay as they are.
        await store.apply(collection, operations)
        assert await store.read_states(collection, keys) == states
        assert await points(store, collection) == found

    # Search

    async def test_search_answers_the_nearest_first(
        self, store: Store, key: DocumentKey
    ) -> None:
        owner = document(key)
        vectors = [(1, 3), (1, 0), (1, 1), (-1, 0)]
        stored = tuple(
            chunk(owner, number, vector=(*vector, 0.0, 0.0), live=True)
            for number, vector in enumerate(vectors)
        )
        await store.apply(key.collection, [StoreChunks(stored)])
        query = floats(2.0, 0.0, 0.0, 0.0)
        hits = await store.search(key.collection, query, limit=10)
        assert [hit.payload["number"] for hit in hits] == [1, 2, 0, 3]
        scores = [hit.score for hit in hits]
        assert scores == pytest.approx([1, 2**-0.5, 10**-0.5, -1], abs=1e-5)
        assert hits[0].payload["text"] == "text 1"
        assert len(await store.search(key.collection, query, limit=2)) == 2

    async def test_search_shows_live_points_with_vectors_only(
        self, store: Store, key: DocumentKey
    ) -> None:
        owner = document(key)
        stored = (
            chunk(owner, 0, live=True),
            chunk(owner, 1),
            chunk(owner, 2, hole=HOLE, live=True),
        )
        await store.apply(key.collection, [StoreChunks(stored)])
        assert await numbers(store, key.collection) == [0]
        await store.apply(key.collection, [SetLive(set_of(owner))])
        assert await numbers(store, key.collection) == [0, 1]

    async def test_search_by_sets_looks_at_nothing_else(
        self, store: Store, key: DocumentKey
    ) -> None:
        old, new = document(key, 1), document(key, 2)
        other = document(replace(key, document_id="other"), 1)
        await store.apply(
            key.collection,
            [
                StoreChunks((chunk(old, 1, live=True),)),
                StoreChunks((chunk(new, 2),)),
                StoreChunks((chunk(other, 3),)),
            ],
        )

        async def among(*sets: ChunkSet) -> list[int]:
            return sorted(await numbers(store, key.collection, chunk_sets=sets))

        assert await among(set_of(new)) == [2]
        assert await among(set_of(new), set_of(other)) == [2, 3]
        assert await among(set_of(document(key, 9))) == []
        assert await among() == []

    async def test_search_conditions_must_all_be_equal(
        self, store: Store, key: DocumentKey
    ) -> None:
        red = document(
            key, 1, metadata=Metadata(user_id="u", attributes={"team": "red"})
        )
        blue = document(
            replace(key, tenant="t2"),
            1,
            metadata=Metadata(user_id="u", attributes={"team": "blue"}),
        )
        await store.apply(
            key.collection,
            [
                StoreChunks((chunk(red, 1, live=True), chunk(red, 2, live=True))),
                StoreChunks((chunk(blue, 3, live=True),)),
            ],
        )

        async def where(**conditions: str | int) -> list[int]:
            return sorted(await numbers(store, key.collection, conditions=conditions))

        assert await where(user_id="u") == [1, 2, 3]
        assert await where(tenant="t2") == [3]
        assert await where(user_id="u", number=2) == [2]
        assert await where(user_id="nobody") == []
        assert await where(**{"attributes.team": "red"}) == [1, 2]

    # Scrolling

    async def test_scrolling_goes_beyond_a_page(
        self, store: Store, collection: str
    ) -> None:
        keys = [DocumentKey("default", collection, f"d{n}") for n in range(1100)]
        await store.apply(collection, [accept(key, 1) for key in keys])
        await store.apply(
            collection, [WriteAccepted(keys[0], accepted(2), accepted(1), deletes=True)]
        )
        found = [record async for record in store.scroll_states(collection)]
        assert sorted(record.key for record in found) == sorted(keys)
        assert len(await store.read_states(collection, keys)) == len(keys)

    async def test_scrolling_answers_one_document_where_asked(
        self, store: Store, key: DocumentKey
    ) -> None:
        other = replace(key, document_id="other")
        await store.apply(
            key.collection,
            [
                chunks(document(key, 1), 2),
                chunks(document(key, 2), 1),
                chunks(document(other, 1), 4),
            ],
        )
        assert len(await points(store, key.collection, key)) == 3
        assert len(await points(store, key.collection)) == 7

    # Concurrency

    async def test_of_many_conditional_writes_one_holds(
        self, store: Store, key: DocumentKey
    ) -> None:
        first = accepted(1)
        await store.apply(key.collection, [WriteAccepted(key, first, None)])
        rivals = [accepted(revision) for revision in range(2, 10)]
        await asyncio.gather(
            *(
                store.apply(key.collection, [WriteAccepted(key, rival, first)])
                for rival in rivals
            )
        )
        record = await state(store, key)
        assert record is not None
        assert record.accepted in rivals
