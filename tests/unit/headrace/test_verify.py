"""Every kind of damage is found, what can be repaired is, and health is never ill."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from headrace.identity import DocumentKey
from headrace.messages import (
    DeadLetter,
    DocumentRevision,
    OnPartial,
    Operation,
    Stage,
    State,
    StatusError,
    StatusEvent,
)
from headrace.state import StateRecord
from headrace.store import Flip, StoreChunks, StoredChunk
from headrace.verify import Kind, LedgerEntry, Oracle, PartitionOffsets, Report
from tests.support.documents import (
    COLLECTION,
    accept,
    chunk_set,
    chunk_texts,
    document_key,
    embed,
    embedded,
    revision,
    slices,
    state_of,
)
from tests.support.fake_producer import FakeStatusReporter
from tests.support.fake_store import FakeStore
from tests.unit.headrace_indexer.indexers import Indexer

KEY = document_key()


@dataclass
class World:
    """A store, a log of what happened to it, and an oracle over all that."""

    store: FakeStore = field(default_factory=FakeStore)
    kept: list[DeadLetter] = field(default_factory=list)
    places: list[PartitionOffsets] = field(default_factory=list)
    status: FakeStatusReporter = field(default_factory=FakeStatusReporter)
    options: dict[str, Any] = field(default_factory=dict)

    async def offsets(self) -> Sequence[PartitionOffsets]:
        return self.places

    async def letters(self) -> AsyncIterator[DeadLetter]:
        for letter in self.kept:
            yield letter

    async def statuses(self) -> AsyncIterator[StatusEvent]:
        for event in self.status.events:
            yield event

    async def index(
        self,
        document: DocumentRevision,
        count: int = 3,
        *,
        holes: Sequence[int] = (),
    ) -> None:
        it = Indexer(self.store, status=self.status)
        await accept(self.store, document)
        await it.handle(*slices(document, count, size=2, holes=holes))
        await it.handler.close()
        self.kept += [
            letter(document, Stage.EMBEDDER, first=each, end=each + 1) for each in holes
        ]

    @property
    def oracle(self) -> Oracle:
        return Oracle(
            self.store,
            offsets=self,
            letters=self,
            statuses=self,
            **self.options,
        )

    async def report(self) -> Report:
        return await self.oracle.verify()

    async def kinds(self) -> list[Kind]:
        return [finding.kind for finding in (await self.report()).findings]

    def points(self, number: int = 1) -> dict[int, Any]:
        """Of the document and revision, by chunk number, as they are kept."""
        points = self.store._collections[COLLECTION].points
        return {
            point.payload["number"]: point
            for point in points.values()
            if point.payload["key"] == str(KEY.uuid)
            and point.payload["revision"] == revision(number).revision
        }

    def drop(self, number: int) -> None:
        points = self.store._collections[COLLECTION].points
        dropped = self.points()[number]
        for identity, point in list(points.items()):
            if point is dropped:
                del points[identity]

    def change_record(self, **changes: object) -> None:
        states = self.store._collections[COLLECTION].states
        states[KEY] = replace(states[KEY], **changes)

    def say(self, **changes: Any) -> None:
        said = [each for each in self.status.events if each.key == KEY]
        self.status.events.append(replace(said[-1], **changes))

    def record(self) -> StateRecord:
        return self.store._collections[COLLECTION].states[KEY]


def letter(
    document: DocumentRevision, stage: Stage, *, first: int = 0, end: int = 0
) -> DeadLetter:
    return DeadLetter(
        stage=stage,
        error=StatusError("rejected"),
        attempts=3,
        origin_topic="t",
        origin_partition=0,
        origin_offset=0,
        origin_timestamp_ms=0,
        key=document.key,
        revision=document.revision,
        arrival=document.arrival,
        first_chunk=first,
        end_chunk=end,
    )


async def put(store: FakeStore, document: DocumentRevision, *, live: bool) -> None:
    item = slices(document, 2)[0]
    chunks = tuple(
        StoredChunk(document, each, live=live, manifest=item.manifest)
        for each in item.chunks
    )
    await store.apply(COLLECTION, [StoreChunks(chunks)])


class TestHealth:
    async def test_a_healthy_pipeline_has_no_findings(self):
        it = World()
        await it.index(revision(1))
        await it.index(revision(2), 5)
        await it.index(revision(1, name="empty"), 0)
        await it.index(revision(1, name="holed"), 3, holes=[1])
        await it.index(revision(1, name="gone"))
        await it.index(revision(2, name="gone", operation=Operation.DELETE), 0)
        await it.index(revision(1, name="kept"))
        await it.index(revision(2, name="kept"), 3, holes=[0])
        await it.index(revision(1, name="partial"))
        await it.index(
            revision(2, name="partial", on_partial=OnPartial.PUBLISH), 3, holes=[2]
        )
        await accept(it.store, revision(1, name="refused"))
        it.kept.append(letter(revision(1, name="refused"), Stage.CHUNKER))
        it.places.append(PartitionOffsets(Stage.LOADER, "t", 0, 3, 9, 9))
        it.places.append(PartitionOffsets(Stage.LOADER, "t", 1, 3, 3, None))
        it.options = {"embed": embed, "chunk": lambda _: None}

        report = await it.report()

        assert report.findings == []
        assert report.counts == {
            "documents": 7,
            "visible": 5,
            "deleted": 1,
            "chunks": 14,
            "holes": 2,
            "points": 17,
            "dead_letters": 4,
        }
        assert (await it.oracle.repair()).repaired == 0

    async def test_an_empty_store_has_no_findings(self):
        assert (await Oracle(FakeStore()).verify()).clean


Damage = Callable[[World], None]


def _digit(it: World) -> None:
    it.points()[1].payload["text"] += "!"


def _not_live(it: World) -> None:
    it.points()[1].payload["live"] = "no"


def _failed(it: World) -> None:
    it.change_record(visible=replace(it.record().visible, failed=2))


def _lose_manifest(it: World) -> None:
    del it.points()[2].payload["chunk_count"]


def _never_flipped(it: World) -> None:
    visible = it.record().visible
    it.change_record(visible=type(visible)())


def _lose_chunk(it: World) -> None:
    it.drop(1)


def _too_many(it: World) -> None:
    it.change_record(visible=replace(it.record().visible, count=2))


def _wrong_id(it: World) -> None:
    points = it.store._collections[COLLECTION].points
    points["00000000-0000-0000-0000-000000000000"] = it.points()[0]


def _hole(it: World) -> None:
    it.points()[0].payload["state"] = "hole"
    it.change_record(visible=replace(it.record().visible, failed=1))
    it.say(state=State.INDEXED_WITH_ERRORS, failed_chunks=1)


def _no_status(it: World) -> None:
    it.status.events = [each for each in it.status.events if each.key != KEY]


def _other_status(it: World) -> None:
    it.say(chunks=9)


class TestDamage:
    @pytest.mark.parametrize(
        ("damage", "kind", "repairable"),
        [
            (_digit, Kind.WRONG_CONTENT, False),
            (_lose_manifest, Kind.WRONG_CONTENT, False),
            (_lose_chunk, Kind.MISSING_CHUNKS, False),
            (_too_many, Kind.MISSING_CHUNKS, False),
            (_hole, Kind.HOLE_WITHOUT_LETTER, False),
            (_no_status, Kind.WRONG_STATUS, False),
            (_other_status, Kind.WRONG_STATUS, False),
            (_not_live, Kind.NOT_LIVE, True),
            (_failed, Kind.WRONG_FAILED_COUNT, True),
            (_never_flipped, Kind.NOT_FLIPPED, True),
            (_wrong_id, Kind.FOREIGN, True),
        ],
        ids=lambda value: getattr(value, "__name__", None),
    )
    async def test_it_is_found_and_repaired_where_it_can_be(
        self, damage: Damage, kind: Kind, *, repairable: bool
    ):
        it = World()
        await it.index(revision(1))
        await it.index(revision(1, name="other"))
        damage(it)

        findings = [each for each in (await it.report()).findings if each.kind == kind]

        assert [each.repairable for each in findings] == [repairable]
        assert findings[0].key == KEY

        report = await it.oracle.repair()

        assert report.clean is repairable
        assert bool(report.repaired) is repairable

    @pytest.mark.parametrize("live", [True, False])
    async def test_what_was_replaced_or_deleted_is_removed(self, *, live: bool):
        it = World()
        await it.index(revision(2))
        await it.index(revision(1, name="gone"))
        await it.index(revision(3, name="gone", operation=Operation.DELETE), 0)
        await put(it.store, revision(1), live=live)
        await put(it.store, revision(2, parser="other"), live=live)
        await put(it.store, revision(2, name="gone"), live=live)

        assert await it.kinds() == [Kind.STALE] * 3
        assert (await it.oracle.repair()).clean
        assert len(it.store._collections[COLLECTION].points) == 3

    async def test_points_without_a_record_are_removed_unless_all_records_are_gone(
        self,
    ):
        it = World()
        await it.index(revision(1))
        await put(it.store, revision(1, name="stray"), live=True)

        assert await it.kinds() == [Kind.ORPHAN]
        assert (await it.oracle.repair()).clean

        it.store._collections[COLLECTION].states.clear()

        assert await it.kinds() == [Kind.RECORDS_MISSING]
        assert (await it.oracle.repair()).repaired == 0
        assert len(it.points()) == 3

    async def test_a_newer_complete_revision_is_flipped_and_the_old_removed(self):
        it = World()
        await it.index(revision(1))
        await accept(it.store, revision(2))
        await put(it.store, revision(2), live=False)

        assert Kind.NOT_FLIPPED in await it.kinds()

        await it.oracle.repair()
        record = await state_of(it.store, KEY)

        assert record is not None
        assert record.live_set == chunk_set(revision(2))
        assert len(it.points(1)) == 0
        assert {each.payload["live"] for each in it.points(2).values()} == {"yes"}

    async def test_an_accepted_document_that_is_nowhere_is_lost(self):
        it = World()
        await accept(it.store, revision(1))

        assert await it.kinds() == [Kind.LOST]

        it.kept.append(letter(revision(1), Stage.EMBEDDER))

        assert await it.kinds() == []

    async def test_an_update_of_which_a_slice_is_missing_is_lost(self):
        it = World()
        await it.index(revision(1))
        await accept(it.store, revision(2))
        await Indexer(it.store).handle(slices(revision(2), 4, size=2)[0])

        assert await it.kinds() == [Kind.LOST]

    async def test_chunks_that_are_live_without_being_visible_are_found(self):
        it = World()
        await it.index(revision(1))
        await accept(it.store, revision(2))
        it.kept.append(letter(revision(2), Stage.EMBEDDER))
        part = slices(revision(2), 4, size=2)[0]
        chunks = tuple(StoredChunk(part.document, e, live=True) for e in part.chunks)
        await it.store.apply(COLLECTION, [StoreChunks(chunks)])

        assert await it.kinds() == [Kind.LIVE_TOO_EARLY]

    async def test_a_delete_that_does_not_hide_is_put_into_effect(self):
        it = World()
        await it.index(revision(1))
        await accept(it.store, revision(2, operation=Operation.DELETE))
        it.change_record(deleted_revision=0)

        assert Kind.DELETE_NOT_APPLIED in await it.kinds()

        assert (await it.oracle.repair()).clean
        assert it.record().live_set is None
        assert it.points() == {}

    async def test_swapped_vectors_are_found(self):
        it = World(options={"embed": embed})
        await it.index(revision(1))
        points = it.points()
        points[0].vector, points[1].vector = points[1].vector, points[0].vector

        assert await it.kinds() == [Kind.WRONG_VECTOR] * 2

    async def test_chunks_of_another_text_are_found(self):
        texts: list[str] = chunk_texts(revision(1), 3)
        it = World(options={"chunk": lambda _: texts})
        await it.index(revision(1))

        assert await it.kinds() == []

        texts.append("one more")

        assert await it.kinds() == [Kind.WRONG_CONTENT]

    async def test_waiting_and_vanished_records_are_found(self):
        it = World()
        it.places = [
            PartitionOffsets(Stage.LOADER, "a", 0, 2, 9, 7),
            PartitionOffsets(Stage.LOADER, "a", 1, 2, 9, None),
            PartitionOffsets(Stage.LOADER, "a", 2, 5, 5, 3),
            PartitionOffsets(Stage.INDEXER, "b", 0, 0, 4, 9),
        ]

        report = await it.report()

        assert [each.kind for each in report.findings] == [
            Kind.WAITING,
            Kind.WAITING,
            Kind.COMMITTED_BEYOND_END,
        ]
        assert report.counts["waiting"] == 9


class TestLedger:
    @pytest.mark.parametrize(
        ("entries", "lost"),
        [
            ([("upsert", None)], False),
            ([("upsert", 1)], False),
            ([("upsert", 2)], True),
            ([("upsert", 2), ("upsert", 1)], True),
            ([("upsert", 1), ("delete", None)], True),
            ([("upsert", 1), ("delete", 1)], True),
            ([("delete", 0), ("upsert", 1)], False),
            ([("delete", None), ("upsert", 1)], False),
        ],
        ids=str,
    )
    async def test_the_newest_of_each_document_must_have_ended(
        self, entries: list[tuple[str, int | None]], *, lost: bool
    ):
        it = World()
        await it.index(revision(1, source_version=1))
        it.options = {
            "ledger": [
                LedgerEntry(KEY, Operation(operation), version)
                for operation, version in entries
            ]
        }

        assert await it.kinds() == ([Kind.LOST] if lost else [])

    async def test_a_deleted_and_a_refused_document_have_ended(self):
        it = World()
        await it.index(revision(1))
        await it.index(revision(2, operation=Operation.DELETE), 0)
        refused = revision(1, name="refused")
        it.kept.append(letter(refused, Stage.LOADER))
        it.options = {
            "ledger": [
                LedgerEntry(KEY, Operation.UPSERT),
                LedgerEntry(KEY, Operation.DELETE),
                LedgerEntry(refused.key, Operation.UPSERT),
            ]
        }

        assert await it.kinds() == []

    async def test_a_document_nobody_heard_of_is_lost(self):
        it = World(options={"ledger": [LedgerEntry(_other(), Operation.UPSERT)]})

        assert await it.kinds() == [Kind.LOST]

    async def test_what_is_parked_is_counted_and_not_lost(self):
        class Parked:
            async def parked(self) -> AsyncIterator[DocumentKey]:
                yield _other()
                yield _other()

        entry = LedgerEntry(_other(), Operation.UPSERT)
        it = World(options={"ledger": [entry], "parked": Parked()})

        report = await it.report()

        assert report.findings == []
        assert report.counts["parked"] == 2


def _other() -> DocumentKey:
    return document_key("never seen")


class TestRepairWhileAtWork:
    async def test_an_orphan_that_was_accepted_meanwhile_is_kept(self):
        it = World()
        await it.index(revision(1, name="other"))
        await put(it.store, revision(1), live=False)
        orphan = (await it.report()).findings[0]
        await accept(it.store, revision(1))

        assert not await it.oracle._repair(orphan)
        assert len(it.points()) == 2

    async def test_a_flip_found_too_late_changes_nothing(self):
        it = World()
        await it.index(revision(3))
        late = Flip(chunk_set(revision(2)), 2, 0)
        await it.store.apply(COLLECTION, [late])

        assert it.record().live_set == chunk_set(revision(3))


def test_findings_carry_what_people_need() -> None:
    names = {each.name for each in dataclasses.fields(Report)}

    assert names == {"findings", "counts", "repaired"}
    assert embedded(0, "text").vector == embed("text")
