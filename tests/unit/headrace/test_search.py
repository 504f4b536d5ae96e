"""Search shows each document whole, in one revision, while indexers write."""

from __future__ import annotations

import asyncio
import itertools
import struct
from collections.abc import Callable, Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.identity import DocumentKey
from headrace.messages import DocumentRevision, EmbeddedSlice, Operation
from headrace.search import Hit, search
from headrace.state import ChunkSet
from headrace.store import Flip, SetLive, StoreChunks, StoredChunk
from tests.support.documents import (
    COLLECTION,
    SPEC,
    accept,
    chunk_set,
    chunk_texts,
    document_key,
    revision,
    slices,
    state_of,
)
from tests.support.fake_store import FakeStore
from tests.support.gated_store import GatedStore, Gates
from tests.unit.headrace_indexer.indexers import Indexer, delivery

QUERY = struct.pack("<4f", 1, 2, 3, 4)


async def index(store: FakeStore, *items: EmbeddedSlice) -> None:
    it = Indexer(store)
    for item in items:
        await accept(store, item.document)
        await it.handle(item)
    await it.handler.close()


async def put_live(store: FakeStore, document: DocumentRevision, count: int) -> None:
    """Chunks that are live without being visible: an update under way."""
    item = slices(document, count)[0]
    chunks = tuple(
        StoredChunk(document, each, live=True, manifest=item.manifest)
        for each in item.chunks
    )
    await store.apply(COLLECTION, [StoreChunks(chunks)])


async def find(store: FakeStore, limit: int = 100, **conditions: str) -> list[Hit]:
    return await search(
        store, COLLECTION, QUERY, limit=limit, conditions=conditions or None
    )


class TestHits:
    async def test_a_hit_says_where_its_chunk_is_from(self):
        store = FakeStore()
        document = revision(1)
        await index(store, slices(document, 1)[0])

        (hit,) = await find(store)

        assert hit.key == document_key()
        assert hit.text == chunk_texts(document, 1)[0]
        assert (hit.number, hit.page, hit.name) == (0, 1, "moby.txt")
        assert hit.metadata == {"shelf": "7"}
        assert 0 < hit.score <= 1

    async def test_the_nearest_come_first_and_no_more_than_asked_for(self):
        store = FakeStore()
        await index(store, *[slices(revision(1, name=n), 4)[0] for n in "abcd"])

        every = await find(store)
        some = await find(store, 3)

        assert [hit.score for hit in every] == sorted(
            (hit.score for hit in every), reverse=True
        )
        assert some == every[:3]

    async def test_conditions_hold_for_every_hit(self):
        store = FakeStore()
        await index(store, *[slices(revision(1, name=n), 3)[0] for n in "ab"])

        hits = await find(store, name="a.txt")

        assert {hit.key.document_id for hit in hits} == {"a"}
        assert len(hits) == 3

    async def test_nothing_stored_is_nothing_found(self):
        store = FakeStore()
        await store.ensure_collection(COLLECTION, SPEC)

        assert await find(store) == []

    async def test_documents_met_whole_are_not_asked_for_again(self):
        store = FakeStore()
        await index(store, *[slices(revision(1, name=n), 1)[0] for n in "abc"])
        store.calls.clear()
        await find(store, 2)

        assert store.calls == {"search": 1, "read_states": 1}


class TestUpdates:
    async def test_what_is_not_visible_yet_is_not_shown_and_hides_nothing(self):
        store = FakeStore()
        old = revision(1)
        await index(store, slices(old, 3)[0], slices(revision(1, name="b"), 3)[0])
        before = [await find(store, limit) for limit in (1, 2, 4, 100)]
        await accept(store, revision(2))
        await put_live(store, revision(2), 50)

        after = [await find(store, limit) for limit in (1, 2, 4, 100)]

        assert after == before

    async def test_what_was_deleted_is_gone_at_once(self):
        store = FakeStore()
        await index(store, slices(revision(1), 3)[0])
        await accept(store, revision(2, operation=Operation.DELETE))

        assert await find(store) == []

    async def test_points_without_a_state_record_are_not_shown(self):
        store = FakeStore()
        await store.ensure_collection(COLLECTION, SPEC)
        await put_live(store, revision(1), 3)

        assert await find(store) == []

    async def test_a_document_met_in_part_while_it_became_visible_is_shown_whole(self):
        """The first answer has two of three chunks; the flip comes before the check."""
        document = revision(1)
        item = slices(document, 3)[0]

        class Turning(FakeStore):
            turned = False

            async def search(self, *args: object, **options: object) -> list[object]:
                found = await super().search(*args, **options)
                if not self.turned:
                    self.turned = True
                    await put_live(self, document, 3)
                    await self.apply(
                        COLLECTION,
                        [SetLive(chunk_set(document)), Flip(chunk_set(document), 3, 0)],
                    )
                return found

        store = Turning()
        await accept(store, document)
        half = tuple(StoredChunk(document, each, live=True) for each in item.chunks[:2])
        await store.apply(COLLECTION, [StoreChunks(half)])

        assert {hit.number for hit in await find(store)} == {0, 1, 2}

    async def test_a_document_replaced_while_it_is_asked_for_is_shown_all_the_same(
        self,
    ):
        revisions = [revision(number) for number in range(1, 6)]

        class Restless(FakeStore):
            """Replaces the document and removes the old after each look at states."""

            async def read_states(self, *args: object) -> object:
                found = await super().read_states(*args)
                if self.watched and self.left:
                    self.watched = False
                    await index(self, slices(self.left.pop(0), 4)[0])
                    self.watched = True
                return found

            watched = False
            left = revisions[1:]

        store = Restless()
        await index(store, slices(revisions[0], 4)[0])
        store.watched = True
        hits = await find(store, 2)

        assert len(hits) == 2
        assert {hit.text.split("/")[3] for hit in hits} == {"5"}


Update = tuple[str, int, int]
"""Document, chunks (-1 deletes), slice size."""


@st.composite
def updates(draw: st.DrawFn) -> list[Update]:
    return draw(
        st.lists(
            st.tuples(
                st.sampled_from("ab"), st.integers(-1, 3), st.sampled_from([1, 2, 64])
            ),
            min_size=1,
            max_size=6,
        )
    )


class Race:
    """Indexers and searches, one step at a time; knows what was live when."""

    def __init__(self, choose: Callable[[int], int]) -> None:
        self.choose = choose
        self.store = FakeStore()
        self.gates = Gates()
        self.now = 0
        self.history: list[dict[DocumentKey, ChunkSet | None]] = []
        self.counts: dict[ChunkSet, int] = {}

    async def run(self, plan: list[Update], limits: Sequence[int]) -> None:
        await self.store.ensure_collection(COLLECTION, SPEC)
        keys = [document_key(name) for name in "ab"]
        work = [asyncio.create_task(self._update(name, plan)) for name in sorted("ab")]
        searches = [asyncio.create_task(self._search(limit)) for limit in limits]
        everything = [*work, *searches]
        while not all(task.done() for task in everything):
            self.history.append(
                {
                    key: record.live_set
                    if (record := await state_of(self.store, key))
                    else None
                    for key in keys
                }
            )
            self.now = len(self.history) - 1
            await self.gates.settle()
            if self.gates.waiting:
                self.gates.step(self.choose(len(self.gates.waiting)))
        for task in everything:
            task.result()

    async def _update(self, name: str, plan: list[Update]) -> None:
        it = Indexer(GatedStore(self.store, self.gates, who=name))
        for number, (named, count, size) in enumerate(plan, start=1):
            if named != name:
                continue
            operation = Operation.DELETE if count < 0 else Operation.UPSERT
            document = revision(number, name=name, operation=operation)
            self.counts[chunk_set(document)] = count
            await accept(self.store, document)
            for item in slices(document, count, size=size):
                await it.handler.handle(delivery(item))
        await it.handler.close()

    async def _search(self, limit: int) -> None:
        store = GatedStore(self.store, self.gates, who="search")
        for _ in range(3):
            await self.gates.wait("search", "before it starts")
            start = self.now
            hits = await search(store, COLLECTION, QUERY, limit=limit)
            self._judge(hits, limit, self.history[start:])

    def _judge(
        self,
        hits: list[Hit],
        limit: int,
        window: list[dict[DocumentKey, ChunkSet | None]],
    ) -> None:
        for key in window[0]:
            texts = {hit.text for hit in hits if hit.key == key}
            assert len(texts) == sum(hit.key == key for hit in hits), "twice"
            live = {moment[key] for moment in window}
            allowed = [
                set(self._texts(each, key)) if each else set[str]() for each in live
            ]
            if limit == 100:
                assert texts in allowed, "two revisions, half of one, or none"
            else:
                assert any(texts <= each for each in allowed), "two revisions"

    def _texts(self, each: ChunkSet, key: DocumentKey) -> list[str]:
        number = each.revision - revision(0).revision
        return chunk_texts(
            revision(number, name=key.document_id), max(0, self.counts[each])
        )


class TestRaces:
    @given(updates(), st.lists(st.integers(0, 5), min_size=1, max_size=80))
    @settings(max_examples=60, deadline=None)
    def test_never_two_revisions_never_half_of_one_never_none(
        self, plan: list[Update], schedule: list[int]
    ):
        turns = itertools.cycle(schedule)

        asyncio.run(Race(lambda count: next(turns) % count).run(plan, [100, 2]))
