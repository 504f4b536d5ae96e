"""Reads everything there is to compare, and repairs what can be."""

from __future__ import annotations

import hashlib
import math
import struct
from collections import Counter
from collections.abc import (
    AsyncIterator,
    Callable,
    Collection,
    Iterator,
    Sequence,
)

from headrace.identity import DocumentKey, point_id
from headrace.messages import DeadLetter, Operation, Stage, StatusEvent
from headrace.qdrant_payload import HOLE, LIVE, chunk_set_of, manifest_of
from headrace.state import ChunkSet, StateRecord
from headrace.store import Store, StoredPoint
from headrace.verify.documents import StoredSet, judge, orphan
from headrace.verify.findings import Finding, Kind, Report
from headrace.verify.ports import (
    LedgerEntry,
    LettersReader,
    OffsetsReader,
    ParkedReader,
    StatusReader,
)

PASSES = 3
"""A repair may show the next: what a late flip replaces is stale only then."""

Chunker = Callable[[DocumentKey], Sequence[str] | None]
"""The chunks a document's newest text is cut into; ``None``: not known here."""


class Oracle:
    """Compares what is there with what must be; see the package.

    Args:
        store: the points and state records.
        offsets: where given, waiting records are found.
        letters: where given, lost documents and holes without a letter are found.
        statuses: where given, wrong and missing statuses are found.
        parked: where given, what waits because its collection is paused is counted,
            and is not lost.
        ledger: where given, everything in it must have come to its end.
        chunk: where given, chunks must be those of the text.
        embed: where given, vectors must be those of their texts; for providers that
            always give the same ones.
    """

    def __init__(
        self,
        store: Store,
        *,
        offsets: OffsetsReader | None = None,
        letters: LettersReader | None = None,
        statuses: StatusReader | None = None,
        parked: ParkedReader | None = None,
        ledger: Sequence[LedgerEntry] | None = None,
        chunk: Chunker | None = None,
        embed: Callable[[str], bytes] | None = None,
    ) -> None:
        self._store = store
        self._offsets = offsets
        self._letters_reader = letters
        self._statuses_reader = statuses
        self._parked_reader = parked
        self._ledger = ledger
        self._chunk = chunk
        self._embed = embed

    async def verify(self) -> Report:
        """Look at everything once.

        Raises:
            SharedFailure: something that it reads is away.
        """
        counts: Counter[str] = Counter()
        findings = [finding async for finding in self._flow(counts)]
        letters = await self._read_letters(counts)
        statuses = await self._read_statuses()
        parked = await self._read_parked(counts)
        records: dict[DocumentKey, StateRecord] = {}
        for collection in sorted(await self._store.collections()):
            found = [
                finding
                async for finding in self._collection(
                    collection, counts, records, letters, statuses
                )
            ]
            findings += found
        if self._ledger is not None:
            explained = parked.union(letters or ())
            findings += _unended(self._ledger, records, explained)
        counts.update(f"found_{finding.kind}" for finding in findings)
        return Report(findings, counts)

    async def repair(self) -> Report:
        """Repair what can be, then look again; the report is of what is left.

        Flips go only upwards and only points that can never become visible are
        removed, so that it does no harm while the stages work; but counts of holes
        that change meanwhile may need another run.
        """
        report = await self.verify()
        repaired = 0
        for _ in range(PASSES):
            wanted = [each for each in report.findings if each.repairable]
            if not wanted:
                break
            for finding in wanted:
                repaired += await self._repair(finding)
            report = await self.verify()
        return Report(report.findings, report.counts, repaired)

    async def _repair(self, finding: Finding) -> bool:
        key = finding.key
        if key is None:
            return False
        if finding.operations:
            await self._store.apply(key.collection, finding.operations)
        if finding.points:
            states = await self._store.read_states(key.collection, [key])
            if finding.kind is Kind.ORPHAN and states:
                return False  # accepted since it was found
            await self._store.delete_points(key.collection, finding.points)
        return True

    async def _flow(self, counts: Counter[str]) -> AsyncIterator[Finding]:
        if self._offsets is None:
            return
        for each in await self._offsets.offsets():
            where = f"{each.topic} partition {each.partition}"
            committed = each.begin if each.committed is None else each.committed
            if committed > each.end:
                yield Finding(
                    Kind.COMMITTED_BEYOND_END,
                    None,
                    f"{where}: the {each.stage} committed {committed}, the end is "
                    f"{each.end}. Send again what was sent since the topic was made.",
                )
            elif committed < each.end:
                waiting = each.end - max(committed, each.begin)
                counts["waiting"] += waiting
                if waiting:
                    yield Finding(
                        Kind.WAITING,
                        None,
                        f"{where}: {waiting} records wait for the {each.stage}. Let "
                        "it finish and verify again.",
                    )

    async def _read_letters(
        self, counts: Counter[str]
    ) -> dict[DocumentKey, list[DeadLetter]] | None:
        if self._letters_reader is None:
            return None
        letters: dict[DocumentKey, list[DeadLetter]] = {}
        async for letter in self._letters_reader.letters():
            counts["dead_letters"] += 1
            if letter.key is not None:
                letters.setdefault(letter.key, []).append(letter)
        return letters

    async def _read_statuses(self) -> dict[DocumentKey, dict[int, StatusEvent]] | None:
        if self._statuses_reader is None:
            return None
        statuses: dict[DocumentKey, dict[int, StatusEvent]] = {}
        async for event in self._statuses_reader.statuses():
            if event.stage is Stage.INDEXER:
                statuses.setdefault(event.key, {})[event.revision] = event
        return statuses

    async def _read_parked(self, counts: Counter[str]) -> set[DocumentKey]:
        parked: set[DocumentKey] = set()
        if self._parked_reader is not None:
            async for key in self._parked_reader.parked():
                counts["parked"] += 1
                parked.add(key)
        return parked

    async def _collection(
        self,
        collection: str,
        counts: Counter[str],
        records: dict[DocumentKey, StateRecord],
        letters: dict[DocumentKey, list[DeadLetter]] | None,
        statuses: dict[DocumentKey, dict[int, StatusEvent]] | None,
    ) -> AsyncIterator[Finding]:
        documents: dict[DocumentKey, dict[ChunkSet, StoredSet]] = {}
        # Points first: a state record is then never older than the points compared.
        points = self._store.scroll_points(
            collection, with_vectors=self._embed is not None
        )
        async for point in points:
            counts["points"] += 1
            chunk_set = chunk_set_of(collection, point.payload)
            sets = documents.setdefault(chunk_set.key, {})
            _add(sets.setdefault(chunk_set, StoredSet()), chunk_set, point)
            if finding := self._vector(chunk_set.key, point):
                yield finding
        found = 0
        async for record in self._store.scroll_states(collection):
            found += 1
            records[record.key] = record
            _count(counts, record)
            for finding in judge(
                record,
                documents.pop(record.key, {}),
                letters=None if letters is None else letters.get(record.key, []),
                statuses=None if statuses is None else statuses.get(record.key, {}),
                texts=self._chunk(record.key) if self._chunk else None,
            ):
                yield finding
        if documents and not found:
            yield Finding(
                Kind.RECORDS_MISSING,
                None,
                f"collection {collection!r} has points of {len(documents)} documents "
                "and no state records: restore them from a backup, or drop the "
                "collection and ingest its documents again.",
            )
            return
        for key, sets in documents.items():
            yield orphan(key, sets.values())

    def _vector(self, key: DocumentKey, point: StoredPoint) -> Finding | None:
        if self._embed is None or point.payload["state"] == HOLE:
            return None
        text = point.payload["text"]
        if point.vector is not None and _same(point.vector, self._embed(text)):
            return None
        return Finding(
            Kind.WRONG_VECTOR,
            key,
            f"chunk {point.payload['number']} of revision "
            f"{point.payload['revision']} has another text's vector. Send the "
            "document again.",
        )


def _add(stored: StoredSet, chunk_set: ChunkSet, point: StoredPoint) -> None:
    payload = point.payload
    number = payload["number"]
    expected = point_id(
        chunk_set.key,
        revision=chunk_set.revision,
        fingerprint=chunk_set.fingerprint,
        content_hash=chunk_set.content_hash,
        number=number,
    )
    if point.id != expected:
        stored.foreign.append(point.id)
        return
    stored.ids[number] = point.id
    stored.digests[number] = hashlib.sha256(payload["text"].encode()).digest()
    if payload["state"] == HOLE:
        stored.holes.add(number)
    if payload["live"] != LIVE:
        stored.not_live.add(number)
    stored.manifest = manifest_of(payload) or stored.manifest


def _count(counts: Counter[str], record: StateRecord) -> None:
    counts["documents"] += 1
    if record.live_set is not None:
        counts["visible"] += 1
        counts["chunks"] += record.visible.count
        counts["holes"] += record.visible.failed
    elif record.deleted_revision:
        counts["deleted"] += 1


def _same(one: bytes, other: bytes) -> bool:
    """Whether two vectors point the same way: stores may keep them normalised."""
    if len(one) != len(other):
        return False
    count = len(one) // 4
    left = struct.unpack(f"<{count}f", one)
    right = struct.unpack(f"<{count}f", other)
    norms = math.hypot(*left) * math.hypot(*right)
    product = sum(a * b for a, b in zip(left, right, strict=True))
    return norms > 0 and product / norms > 0.9999


def _unended(
    ledger: Sequence[LedgerEntry],
    records: dict[DocumentKey, StateRecord],
    explained: Collection[DocumentKey],
) -> Iterator[Finding]:
    """Events that came to no end; each document is judged by its newest.

    Not those of documents that are explained otherwise: by a letter, or they wait.
    """
    newest: dict[DocumentKey, LedgerEntry] = {}
    for entry in ledger:
        if _replaces(entry, newest.get(entry.key)):
            newest[entry.key] = entry
    for key, entry in newest.items():
        if key in explained or _ended(entry, records.get(key)):
            continue
        yield Finding(
            Kind.LOST,
            key,
            f"its last {entry.operation} was acknowledged and came to no end. Send it "
            "again.",
        )


def _replaces(entry: LedgerEntry, last: LedgerEntry | None) -> bool:
    """Acceptance (``state.decide``) for events in order of arrival."""
    if last is None or last.source_version is None or entry.source_version is None:
        return True
    if entry.source_version == last.source_version:
        return entry.operation is Operation.DELETE
    return entry.source_version > last.source_version


def _ended(entry: LedgerEntry, record: StateRecord | None) -> bool:
    if record is None:
        return False
    last = record.accepted
    if entry.operation is Operation.DELETE:
        return not last.content_hash and record.live_set is None
    newer = record.live_set is not None or not last.content_hash
    return newer and (
        entry.source_version is None
        or last.source_version is None
        or last.source_version >= entry.source_version
    )
