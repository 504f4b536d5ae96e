"""Judges one document: do its state record, points, letters and status agree?

Pure: no I/O. docs/semantics.md has the rules that are checked.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from headrace.identity import DocumentKey
from headrace.messages import DeadLetter, Manifest, Stage, State, StatusEvent
from headrace.state import ChunkSet, StateRecord
from headrace.store import Flip, SetLive, WriteAccepted
from headrace.verify.findings import Finding, Kind

_SEND_AGAIN = "Send the document again."


@dataclass(slots=True)
class StoredSet:
    """The points of one set, by chunk number."""

    ids: dict[int, str] = field(default_factory=dict)
    holes: set[int] = field(default_factory=set)
    not_live: set[int] = field(default_factory=set)
    digests: dict[int, bytes] = field(default_factory=dict)
    """SHA-256 of each text."""
    manifest: Manifest | None = None
    foreign: list[str] = field(default_factory=list)
    """Points under another id than their chunk's."""

    @property
    def everything(self) -> tuple[str, ...]:
        """Ids of all points."""
        return (*self.ids.values(), *self.foreign)

    @property
    def complete(self) -> bool:
        """Whether exactly the manifest's chunks are there."""
        return self.manifest is not None and self.ids.keys() == set(
            range(self.manifest.chunk_count)
        )


def judge(
    record: StateRecord,
    sets: Mapping[ChunkSet, StoredSet],
    *,
    letters: Sequence[DeadLetter] | None = None,
    statuses: Mapping[int, StatusEvent] | None = None,
    texts: Sequence[str] | None = None,
) -> Iterator[Finding]:
    """What is wrong with a document that has a state record.

    Args:
        record: the state record.
        sets: all its points.
        letters: its dead letters; ``None`` where they were not read.
        statuses: the indexer's last status by revision; ``None`` likewise.
        texts: the chunks its newest content is cut into, where that is known.
    """
    live = record.live_set
    for chunk_set, stored in sets.items():
        if stored.foreign:
            yield _found(
                Kind.FOREIGN,
                record.key,
                f"{len(stored.foreign)} points have another id than their chunk",
                points=stored.foreign,
            )
        if chunk_set == live or not _obsolete(chunk_set, record):
            continue
        yield _found(
            Kind.STALE,
            record.key,
            f"{len(stored.everything)} points of revision {chunk_set.revision}; "
            f"visible is {record.visible.revision}, deleted up to "
            f"{record.deleted_revision}",
            points=stored.everything,
        )
    if live is not None:
        yield from _visible(record, live, sets.get(live, StoredSet()), letters, texts)
    yield from _pending(record, sets, letters)
    if statuses is not None and live is not None:
        yield from _status(record, statuses.get(live.revision))


def orphan(key: DocumentKey, sets: Iterable[StoredSet]) -> Finding:
    """Points whose document has no state record."""
    points = [point for stored in sets for point in stored.everything]
    return _found(
        Kind.ORPHAN, key, f"{len(points)} points without a state record", points=points
    )


def _obsolete(chunk_set: ChunkSet, record: StateRecord) -> bool:
    revision = chunk_set.revision
    return record.obsolete(revision) or revision == record.visible.revision


def _visible(
    record: StateRecord,
    live: ChunkSet,
    stored: StoredSet,
    letters: Sequence[DeadLetter] | None,
    texts: Sequence[str] | None,
) -> Iterator[Finding]:
    key, visible = record.key, record.visible
    missing = set(range(visible.count)) - stored.ids.keys()
    if missing or len(stored.ids) > visible.count:
        yield _found(
            Kind.MISSING_CHUNKS,
            key,
            f"{len(stored.ids)} of {visible.count} chunks of revision "
            f"{live.revision} are stored. {_SEND_AGAIN}",
        )
    elif visible.failed != len(stored.holes):
        yield _found(
            Kind.WRONG_FAILED_COUNT,
            key,
            f"{len(stored.holes)} holes are stored, the state record says "
            f"{visible.failed}",
            operations=[Flip(live, visible.count, len(stored.holes))],
        )
    if not missing and (problem := _content(stored, visible.count, texts)):
        yield _found(Kind.WRONG_CONTENT, key, f"{problem}. {_SEND_AGAIN}")
    if stored.not_live:
        yield _found(
            Kind.NOT_LIVE,
            key,
            f"{len(stored.not_live)} visible chunks are not marked as live",
            operations=[SetLive(live)],
        )
    yield from _holes(key, live, stored, letters)


def _content(stored: StoredSet, count: int, texts: Sequence[str] | None) -> str | None:
    if count == 0:
        return "it has chunks where its text has none" if texts else None
    if stored.manifest is None:
        return "its last chunk has no manifest"
    whole = hashlib.sha256()
    for number in range(count):
        whole.update(stored.digests[number])
    if stored.manifest != Manifest(count, whole.digest()):
        return "its chunks are not those of its manifest"
    if texts is None:
        return None
    wanted = [hashlib.sha256(text.encode()).digest() for text in texts]
    if wanted != [stored.digests[number] for number in range(count)]:
        return "its chunks are not those of its text"
    return None


def _pending(
    record: StateRecord,
    sets: Mapping[ChunkSet, StoredSet],
    letters: Sequence[DeadLetter] | None,
) -> Iterator[Finding]:
    """What was accepted and is not visible."""
    key, last = record.key, record.accepted
    if not last.content_hash and record.deleted_revision < last.revision:
        yield _found(
            Kind.DELETE_NOT_APPLIED,
            key,
            f"the delete of revision {last.revision} is not in effect",
            operations=[WriteAccepted(key, last, expected=last, deletes=True)],
        )
        return
    waiting = {
        chunk_set: stored
        for chunk_set, stored in sets.items()
        if not _obsolete(chunk_set, record)
    }
    ready = [
        (chunk_set, stored)
        for chunk_set, stored in waiting.items()
        # Whether an update with holes was to be published is not stored: its holes
        # keep it back unless there is nothing that it would replace.
        if stored.complete and (not stored.holes or record.live_set is None)
    ]
    if ready:
        chunk_set, stored = max(ready, key=lambda each: each[0].revision)
        yield _found(
            Kind.NOT_FLIPPED,
            key,
            f"revision {chunk_set.revision} is complete and not visible",
            operations=[
                SetLive(chunk_set),
                Flip(chunk_set, len(stored.ids), len(stored.holes)),
            ],
        )
        return
    for chunk_set, stored in waiting.items():
        early = len(stored.ids) - len(stored.not_live)
        if early:
            yield _found(
                Kind.LIVE_TOO_EARLY,
                key,
                f"{early} chunks of revision {chunk_set.revision}, which is not "
                f"visible, are marked as live. {_SEND_AGAIN}",
            )
        if stored.complete:
            yield from _holes(key, chunk_set, stored, letters)
    yield from _lost(record, waiting, letters)


def _lost(
    record: StateRecord,
    waiting: Mapping[ChunkSet, StoredSet],
    letters: Sequence[DeadLetter] | None,
) -> Iterator[Finding]:
    last = record.accepted
    ended = record.obsolete(last.revision) or record.visible.revision == last.revision
    kept_back = any(
        chunk_set.revision == last.revision and stored.complete
        for chunk_set, stored in waiting.items()
    )
    if ended or kept_back or letters is None:
        return
    if any(_accounts(letter, record) for letter in letters):
        return
    yield _found(
        Kind.LOST,
        record.key,
        f"revision {last.revision} was accepted and is neither visible nor among the "
        f"dead letters. {_SEND_AGAIN}",
    )


def _accounts(letter: DeadLetter, record: StateRecord) -> bool:
    last = record.accepted
    return letter.revision == last.revision or letter.arrival == last.arrival


def _holes(
    key: DocumentKey,
    chunk_set: ChunkSet,
    stored: StoredSet,
    letters: Sequence[DeadLetter] | None,
) -> Iterator[Finding]:
    if letters is None:
        return
    ranges = [
        (letter.first_chunk, letter.end_chunk)
        for letter in letters
        if letter.stage is Stage.EMBEDDER and letter.revision == chunk_set.revision
    ]
    alone = sorted(
        number
        for number in stored.holes
        if not any(first <= number < end or not end for first, end in ranges)
    )
    if alone:
        yield _found(
            Kind.HOLE_WITHOUT_LETTER,
            key,
            f"{len(alone)} holes of revision {chunk_set.revision} have no dead "
            f"letter, the first is chunk {alone[0]}. {_SEND_AGAIN}",
        )


def _status(record: StateRecord, status: StatusEvent | None) -> Iterator[Finding]:
    visible = record.visible
    wanted = State.INDEXED_WITH_ERRORS if visible.failed else State.INDEXED
    if status is None:
        said = "nothing"
    else:
        said = f"{status.state}, {status.failed_chunks} of {status.chunks} failed"
    if status is None or (status.state, status.chunks, status.failed_chunks) != (
        wanted,
        visible.count,
        visible.failed,
    ):
        yield _found(
            Kind.WRONG_STATUS,
            record.key,
            f"revision {visible.revision} is {wanted}, {visible.failed} of "
            f"{visible.count} failed; its status says {said}. {_SEND_AGAIN}",
        )


def _found(
    kind: Kind,
    key: DocumentKey,
    detail: str,
    *,
    operations: Sequence[SetLive | Flip | WriteAccepted] = (),
    points: Sequence[str] = (),
) -> Finding:
    return Finding(kind, key, detail, tuple(operations), tuple(points))
