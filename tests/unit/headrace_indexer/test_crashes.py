"""Indexers that die, lose their partitions and write too late, in every interleaving.

A state machine plays the loader, the log, one owner of the partition after another and
the former owners that have not noticed yet. At every step between two calls to the
store a search must show each visible document whole, in one revision; in the end there
must be what a single indexer that handles the log once, in order, leaves behind.
"""

from __future__ import annotations

import asyncio
import math
import struct
from collections.abc import Coroutine
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from headrace.errors import SharedFailure
from headrace.identity import DocumentKey
from headrace.messages import EmbeddedSlice, OnPartial, Operation, State
from headrace.qdrant_payload import HOLE, LIVE, chunk_set_of
from headrace.search import search
from headrace.state import ChunkSet, StateRecord
from headrace.store import StoredPoint
from headrace.verify import Oracle
from tests.support.documents import (
    BASE_MS,
    COLLECTION,
    SPEC,
    accept,
    chunk_set,
    chunk_texts,
    document_key,
    embedded,
    revision,
    slices,
    state_of,
)
from tests.support.fake_producer import FakeStatusReporter
from tests.support.fake_store import FakeStore
from tests.support.gated_store import GatedStore, Gates
from tests.unit.headrace_indexer.indexers import Indexer, delivery

T = TypeVar("T")

NAMES = ("one", "two")
QUERY = struct.pack("<4f", 1, 2, 3, 4)


@dataclass
class Reference:
    """What handling a document's log once, in order, comes to."""

    chunks: dict[ChunkSet, dict[int, bool]] = field(default_factory=dict)
    """By set and number: whether it has a vector."""
    counts: dict[ChunkSet, int] = field(default_factory=dict)
    visible: ChunkSet | None = None
    visible_revision: int = 0
    deleted: int = 0

    @property
    def live(self) -> ChunkSet | None:
        return self.visible if self.visible_revision > self.deleted else None

    def handle(self, item: EmbeddedSlice) -> None:
        document, these = item.document, chunk_set(item.document)
        if document.operation is Operation.DELETE:
            self.deleted = max(self.deleted, document.revision)
            return
        if document.revision <= self.deleted or (
            document.revision <= self.visible_revision and these != self.visible
        ):
            return
        chunks = self.chunks.setdefault(these, {})
        for each in item.chunks:
            number = each.chunk.number
            chunks[number] = chunks.get(number, False) or each.hole is None
        if item.manifest is not None:
            self.counts[these] = item.manifest.chunk_count
        if self.counts.get(these) != len(chunks):
            return
        partial = not all(chunks.values())
        keeps = self.live is not None and document.on_partial is OnPartial.KEEP_OLD
        if these != self.visible and not (partial and keeps):
            self.visible, self.visible_revision = these, document.revision


@dataclass
class Process:
    """An indexer, and the records it has in hand."""

    name: str
    indexer: Indexer
    running: dict[DocumentKey, asyncio.Task[None]] = field(default_factory=dict)


class Indexers(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.store = FakeStore()
        self.gates = Gates()
        self.status = FakeStatusReporter()
        self.log: dict[DocumentKey, list[EmbeddedSlice]] = {}
        self.committed: dict[DocumentKey, int] = {}
        self.zombies: list[Process] = []
        self.had_zombies = False
        self.processes = 0
        self.last_revision = 0
        self.visible: dict[DocumentKey, int] = {}
        self.owner = self._run(self._new_process())

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(work)

    async def _new_process(self) -> Process:
        self.processes += 1
        name = f"indexer-{self.processes}"
        store = GatedStore(self.store, self.gates, who=name)
        return Process(name, Indexer(store, status=self.status))

    @initialize()
    def start(self) -> None:
        self._run(self.store.ensure_collection(COLLECTION, SPEC))
        for name in NAMES:
            key = document_key(name)
            self.log[key] = []
            self.committed[key] = 0

    # The loader, and what the stages between make of it.

    @rule(
        name=st.sampled_from(NAMES),
        count=st.integers(0, 4),
        size=st.sampled_from([1, 2, 64]),
        holes=st.sets(st.integers(0, 3), max_size=2),
        on_partial=st.sampled_from(OnPartial),
        data=st.data(),
    )
    def upsert(
        self,
        *,
        name: str,
        count: int,
        size: int,
        holes: set[int],
        on_partial: OnPartial,
        data: st.DataObject,
    ) -> None:
        self.last_revision += 1
        document = revision(self.last_revision, name=name, on_partial=on_partial)
        self._run(accept(self.store, document))
        records = slices(document, count, size=size, holes=holes)
        records = data.draw(st.permutations(records), label="order of slices")
        if len(records) > 1 and data.draw(st.integers(0, 5), label="lost?") == 0:
            records.pop()  # dead-lettered on the way
        self.log[document.key] += records

    @rule(name=st.sampled_from(NAMES))
    def delete(self, name: str) -> None:
        self.last_revision += 1
        document = revision(self.last_revision, name=name, operation=Operation.DELETE)
        self._run(accept(self.store, document))
        self.log[document.key] += slices(document, 0)

    @rule(name=st.sampled_from(NAMES), data=st.data())
    def deliver_something_again(self, name: str, data: st.DataObject) -> None:
        """An upstream redelivery: the embedder may fare better or worse this time."""
        log = self.log[document_key(name)]
        if not log:
            return
        again = data.draw(st.sampled_from(log), label="again")
        texts = {each.chunk.number: each.chunk.text for each in again.chunks}
        worse = data.draw(st.booleans(), label="worse")
        chunks = tuple(
            embedded(
                number, text, hole=worse and data.draw(st.booleans(), label="hole")
            )
            for number, text in texts.items()
        )
        log.append(replace(again, chunks=chunks))

    @rule(name=st.sampled_from(NAMES), data=st.data())
    def replay_a_hole(self, name: str, data: st.DataObject) -> None:
        log = self.log[document_key(name)]
        holes = [
            (item, each)
            for item in log
            for each in item.chunks
            if each.hole is not None
        ]
        if not holes:
            return
        item, hole = data.draw(st.sampled_from(holes), label="hole")
        number = hole.chunk.number
        last = item.manifest is not None and number == item.manifest.chunk_count - 1
        log.append(
            replace(
                item,
                chunks=(embedded(number, hole.chunk.text),),
                manifest=item.manifest if last else None,
            )
        )

    @rule(name=st.sampled_from(NAMES))
    def load_again_under_other_settings(self, name: str) -> None:
        """A redelivery to the loader after a release: same revision, other chunks."""
        log = self.log[document_key(name)]
        upserts = [each for each in log if each.manifest is not None]
        if not upserts or upserts[-1].document.revision != self._accepted(name):
            return
        document = replace(
            upserts[-1].document,
            fingerprint=revision(1, parser="other").fingerprint,
        )
        # The same settings always make the same chunks.
        log += slices(document, 1 + document.revision % 3, size=2)

    def _accepted(self, name: str) -> int:
        record = self._run(state_of(self.store, document_key(name)))
        return record.accepted.revision if record else 0

    # The owner, its end, and those who write too late.

    @rule(name=st.sampled_from(NAMES))
    def start_next(self, name: str) -> None:
        self._start(document_key(name))

    def _start(self, key: DocumentKey) -> None:
        position = self.committed[key]
        if key in self.owner.running or position >= len(self.log[key]):
            return
        handler = self.owner.indexer.handler
        work = handler.handle(delivery(self.log[key][position]))
        self.owner.running[key] = self.loop.create_task(work)
        self._run(self._settle())

    async def _settle(self) -> None:
        await self.gates.settle()
        for process in (self.owner, *self.zombies):
            for key, task in list(process.running.items()):
                if not task.done():
                    continue
                del process.running[key]
                error = task.exception()
                if error is not None:
                    assert isinstance(error, SharedFailure), error
                elif process is self.owner:
                    self.committed[key] += 1

    @precondition(lambda self: self.gates.waiting)
    @rule(position=st.integers(0, 10), steps=st.integers(1, 6))
    def step(self, position: int, steps: int) -> None:
        for _ in range(steps):
            if not self.gates.waiting:
                break
            self.gates.step(position)
            self._run(self._settle())
            self.check_search()

    @rule(answered=st.booleans())
    def store_fails(self, *, answered: bool) -> None:
        self.gates.fails = "after" if answered else "before"

    @rule()
    def crash(self) -> None:
        self._run(self._kill(self.owner))
        self.owner = self._run(self._new_process())

    async def _kill(self, process: Process) -> None:
        for task in process.running.values():
            task.cancel()
        await asyncio.gather(*process.running.values(), return_exceptions=True)
        await process.indexer.handler.close()

    @precondition(lambda self: len(self.zombies) < 2)
    @rule()
    def lose_the_partitions_unnoticed(self) -> None:
        self.zombies.append(self.owner)
        self.had_zombies = True
        self.owner = self._run(self._new_process())

    @rule()
    def rebalance(self) -> None:
        """Partitions go and come back: running work is cancelled."""

        async def revoke() -> None:
            for task in self.owner.running.values():
                task.cancel()
            await asyncio.gather(*self.owner.running.values(), return_exceptions=True)
            self.owner.running.clear()
            self.owner.indexer.handler.assigned(1.0)

        self._run(revoke())

    # What must hold.

    @invariant()
    def check_search(self) -> None:
        self._run(self._check_search())

    async def _check_search(self) -> None:
        records = {key: await state_of(self.store, key) for key in self.log}
        points = await self._points()
        expected: list[tuple[float, str]] = []
        for key, record in records.items():
            live = record.live_set if record else None
            self._never_goes_back(key, record)
            if record is None or live is None:
                continue
            shown = [point for point in points if _set(point) == live]
            numbers = sorted(point.payload["number"] for point in shown)
            assert numbers == list(range(record.visible.count)), "half a document"
            expected += [
                (_score(point), point.payload["text"])
                for point in shown
                if point.payload["state"] != HOLE
            ]
        expected.sort(reverse=True)
        for limit in (100, 2):
            hits = await search(self.store, COLLECTION, QUERY, limit=limit)
            found = [(hit.score, hit.text) for hit in hits]
            assert [round(score, 6) for score, _ in found] == [
                round(score, 6) for score, _ in expected[:limit]
            ]
            if limit == 100:
                assert sorted(text for _, text in found) == sorted(
                    text for _, text in expected
                )

    def _never_goes_back(self, key: DocumentKey, record: StateRecord | None) -> None:
        now = record.visible.revision if record else 0
        assert now >= self.visible.get(key, 0)
        self.visible[key] = now

    async def _points(self) -> list[StoredPoint]:
        return [
            point
            async for point in self.store.scroll_points(COLLECTION, with_vectors=True)
        ]

    def teardown(self) -> None:
        try:
            self._run(self._finish())
        finally:
            self._run(self._close())
            self.loop.close()

    async def _finish(self) -> None:
        self.gates.open_all()
        while any(self.committed[key] < len(self.log[key]) for key in self.log):
            for key in self.log:
                if key not in self.owner.running and self.committed[key] < len(
                    self.log[key]
                ):
                    item = self.log[key][self.committed[key]]
                    work = self.owner.indexer.handler.handle(delivery(item))
                    self.owner.running[key] = self.loop.create_task(work)
            await self._settle()
        while any(zombie.running for zombie in self.zombies):
            await self._settle()
        if self.had_zombies:
            report = await Oracle(self.store).repair()
            assert [each for each in report.findings if each.repairable] == []
        for key, log in self.log.items():
            await self._check_end(key, log)

    async def _check_end(self, key: DocumentKey, log: list[EmbeddedSlice]) -> None:
        reference = Reference()
        for item in log:
            reference.handle(item)
        record = await state_of(self.store, key)
        live = record.live_set if record else None
        assert live == reference.live
        floor = max(reference.deleted, reference.visible_revision)
        for point in await self._points():
            if _set(point).key != key:
                continue
            if _set(point) == live:
                assert point.payload["live"] == LIVE
            else:
                assert point.payload["revision"] > floor, "something old is left"
                assert point.payload["live"] != LIVE
        if record is not None and live is not None:
            chunks = reference.chunks.get(live, {})
            assert record.visible.count == len(chunks)
            assert record.visible.failed == sum(not each for each in chunks.values())
        self._check_status(key, live, record)

    def _check_status(
        self, key: DocumentKey, live: ChunkSet | None, record: StateRecord | None
    ) -> None:
        if live is None or record is None:
            return
        said = [
            event
            for event in self.status.events
            if event.key == key and event.revision == live.revision
        ]
        states = {event.state for event in said} - {State.SUPERSEDED}
        assert states <= {State.INDEXED, State.INDEXED_WITH_ERRORS}
        assert said
        if not self.had_zombies:
            fails = [e.failed_chunks for e in said if e.state is not State.SUPERSEDED]
            assert fails[-1] == record.visible.failed

    async def _close(self) -> None:
        self.gates.open_all()
        for process in (self.owner, *self.zombies):
            await self._kill(process)


def _set(point: StoredPoint) -> ChunkSet:
    return chunk_set_of(COLLECTION, point.payload)


def _score(point: StoredPoint) -> float:
    assert point.vector is not None
    one, other = struct.unpack("<4f", QUERY), struct.unpack("<4f", point.vector)
    product = sum(a * b for a, b in zip(one, other, strict=True))
    return product / (math.hypot(*one) * math.hypot(*other))


TestIndexers = Indexers.TestCase
TestIndexers.settings = settings(
    max_examples=30,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


def test_texts_differ_between_revisions() -> None:
    one, other = chunk_texts(revision(1), 1), chunk_texts(revision(2), 1)

    assert one != other
    assert revision(1).revision == BASE_MS + 1
