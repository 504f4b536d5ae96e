"""What to write for a slice, and what became of it. Pure: no I/O.

docs/semantics.md has the rules: sections on slices and on becoming visible.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from headrace.messages import (
    DocumentRevision,
    EmbeddedSlice,
    OnPartial,
    Operation,
    State,
)
from headrace.state import Accepted, ChunkSet, StateRecord
from headrace.store import (
    Flip,
    RemoveObsolete,
    SetLive,
    StoreChunks,
    StoredChunk,
    WriteAccepted,
)


class Work(Enum):
    """What a slice asks for, seen against its document's state."""

    DELETE = auto()
    DROP = auto()
    """It can no longer become visible."""
    STORE = auto()
    """Its chunks are a part of the document, or come again."""
    PUBLISH = auto()
    """It is the whole document with all vectors: store and flip at once."""


@dataclass(frozen=True, slots=True)
class Writes:
    """The first writes for a slice, kept by kind so that a batch can join them."""

    work: Work
    accepted: WriteAccepted | None = None
    chunks: StoreChunks | None = None
    live: SetLive | None = None
    flip: Flip | None = None


@dataclass(frozen=True, slots=True)
class Counted:
    """A complete set: its chunks, and those of them that are holes."""

    chunks: int
    failed: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a slice.

    Attributes:
        state: final state of its revision; ``None`` while chunks are missing.
        counted: the complete set, where it is one.
        visible: whether searches show the revision now.
    """

    state: State | None = None
    counted: Counted | None = None
    visible: bool = False


def chunk_set_of(document: DocumentRevision) -> ChunkSet:
    """The set that a document's chunks belong to."""
    return ChunkSet(
        document.key, document.revision, document.fingerprint, document.content_hash
    )


def first_writes(
    item: EmbeddedSlice, record: StateRecord | None, *, known: bool
) -> Writes:
    """What to write as soon as the state is read.

    Args:
        item: the slice.
        record: the document's state record.
        known: whether this process stored chunks of the same set before.
    """
    document = item.document
    accepted = _restored(document, record)
    if document.operation is Operation.DELETE:
        return Writes(Work.DELETE, accepted)
    chunk_set = chunk_set_of(document)
    if record is not None and hopeless(chunk_set, record):
        return Writes(Work.DROP)
    manifest = item.manifest
    whole = (
        manifest is not None
        and len(item.chunks) == manifest.chunk_count
        and all(chunk.hole is None for chunk in item.chunks)
    )
    # A document that was never visible cannot have been kept back, so none of its
    # chunks are stored as not live: one insert does it all.
    fresh = whole and not known and record is not None and record.visible.revision == 0
    shown = record is not None and record.live_set == chunk_set
    last = manifest.chunk_count - 1 if manifest else None
    chunks = tuple(
        StoredChunk(
            document,
            embedded,
            live=fresh or shown,
            manifest=manifest if embedded.chunk.number == last else None,
        )
        for embedded in item.chunks
    )
    return Writes(
        Work.PUBLISH if whole else Work.STORE,
        accepted,
        chunks=StoreChunks(chunks) if chunks else None,
        live=SetLive(chunk_set) if whole and chunks and not fresh else None,
        flip=Flip(chunk_set, len(chunks), 0) if whole else None,
    )


def hopeless(chunk_set: ChunkSet, record: StateRecord) -> bool:
    """Whether a set can never become visible any more."""
    return record.obsolete(chunk_set.revision) or lost(chunk_set, record)


def lost(chunk_set: ChunkSet, record: StateRecord) -> bool:
    """Whether another set of the same revision was complete first.

    That happens where a redelivery was loaded again under other settings.
    """
    visible = record.visible
    return visible.revision == chunk_set.revision and (
        (visible.fingerprint, visible.content_hash)
        != (chunk_set.fingerprint, chunk_set.content_hash)
    )


def publishes(
    document: DocumentRevision, record: StateRecord | None, counted: Counted
) -> bool:
    """Whether a complete set becomes visible: always, but for updates with holes."""
    if counted.failed == 0 or document.on_partial is OnPartial.PUBLISH:
        return True
    live = record.live_set if record is not None else None
    return live is None or live.revision >= document.revision


def kept_back(counted: Counted) -> Outcome:
    """The outcome of a complete set that does not become visible."""
    return Outcome(State.INDEXED_WITH_ERRORS, counted)


def flipped(
    chunk_set: ChunkSet, counted: Counted, record: StateRecord | None
) -> Outcome | None:
    """The outcome of a flip, from the record read back; ``None``: it did not happen."""
    if record is None:
        return None
    if record.live_set == chunk_set:
        state = State.INDEXED_WITH_ERRORS if counted.failed else State.INDEXED
        return Outcome(state, counted, visible=True)
    return dropped(chunk_set, record) if hopeless(chunk_set, record) else None


def dropped(chunk_set: ChunkSet, record: StateRecord) -> Outcome:
    """The outcome of a set that can never become visible.

    Where another set of its revision is visible, that is how the revision ended: there
    is one status for both.
    """
    visible = record.visible
    if record.live_set is None or not lost(chunk_set, record):
        return Outcome(State.SUPERSEDED)
    state = State.INDEXED_WITH_ERRORS if visible.failed else State.INDEXED
    return Outcome(state, Counted(visible.count, visible.failed), visible=True)


def deleted(document: DocumentRevision, record: StateRecord | None) -> Outcome | None:
    """The outcome of a delete, from a record just read; ``None``: not in effect."""
    if record is None:
        return None
    if record.deleted_revision >= document.revision:
        return Outcome(State.DELETED)
    if record.accepted.revision > document.revision:
        return Outcome(State.SUPERSEDED)
    return None


def removal(record: StateRecord) -> RemoveObsolete:
    """What takes away the points that a record just read says are obsolete."""
    return RemoveObsolete(record.key, record.visible.revision, record.deleted_revision)


def _restored(
    document: DocumentRevision, record: StateRecord | None
) -> WriteAccepted | None:
    """The loader's own write, where the store has lost it since."""
    last = record.accepted if record is not None else None
    if last is not None and last.revision >= document.revision:
        return None
    floor = last.floor if last is not None else None
    accepted = Accepted(
        arrival=document.arrival,
        source_version=document.source_version,
        content_hash=document.content_hash,
        revision=document.revision,
        floor=document.arrival if document.source_version is None else floor,
        # What there was before is unknown: something, for all we know.
        previous=last.revision if last is not None else document.revision - 1,
    )
    return WriteAccepted(
        document.key,
        accepted,
        expected=last,
        deletes=document.operation is Operation.DELETE,
        name=document.metadata.name,
    )
