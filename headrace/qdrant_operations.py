"""The port's operations as Qdrant's: which calls, in which order. Pure: no I/O."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from headrace import qdrant_payload as payloads
from headrace import qdrant_wire as wire
from headrace.identity import DocumentKey, PointIds
from headrace.messages import DocumentRevision
from headrace.qdrant_messages import qdrant
from headrace.state import ChunkSet, StateRecord, Visible
from headrace.store import (
    Flip,
    Operation,
    RemoveObsolete,
    SetLive,
    StoreChunks,
    WriteAccepted,
)

_STATE_OPERATIONS = (Flip, WriteAccepted)

_EXPECTED = ("accepted_arrival", "accepted_revision", "accepted_floor")
"""What differs between any two acceptances of a document."""


@dataclass(frozen=True, slots=True)
class Step:
    """Operations of one kind that no other operation comes between."""

    kind: type[Operation]
    operations: list[Operation]

    @property
    def on_states(self) -> bool:
        """Whether it changes state records, not points."""
        return issubclass(self.kind, _STATE_OPERATIONS)


def plan(operations: Iterable[Operation]) -> list[Step]:
    """Group operations, keeping the order of those of any one document.

    A batch of many documents becomes as few calls as one of a single document.
    """
    steps: list[Step] = []
    last_of: dict[DocumentKey, int] = {}
    for operation in operations:
        keys = _keys(operation)
        if not keys:
            continue
        position = max(last_of.get(key, 0) for key in keys)
        while position < len(steps) and steps[position].kind is not type(operation):
            position += 1
        if position == len(steps):
            steps.append(Step(type(operation), []))
        steps[position].operations.append(operation)
        for key in keys:
            last_of[key] = position
    return steps


def _keys(operation: Operation) -> set[DocumentKey]:
    match operation:
        case StoreChunks():
            return {stored.document.key for stored in operation.chunks}
        case SetLive() | Flip():
            return {operation.chunk_set.key}
        case RemoveObsolete() | WriteAccepted():
            return {operation.key}


@dataclass(frozen=True, slots=True)
class Call:
    """One batched update of one of the two collections."""

    on_states: bool
    operations: list[wire.Parts]


def calls(operations: Sequence[Operation], *, max_bytes: int) -> Iterator[Call]:
    """The calls to make, one after the other.

    A call is larger than ``max_bytes`` only where a single point is.
    """
    current = Call(on_states=False, operations=[])
    size = 0
    for step in plan(operations):
        for encoded in _encode(step, max_bytes):
            length = wire.size(encoded)
            full = size + length > max_bytes
            if current.operations and (full or current.on_states != step.on_states):
                yield current
                current, size = Call(on_states=step.on_states, operations=[]), 0
            if not current.operations:
                current = Call(on_states=step.on_states, operations=[])
            current.operations.append(encoded)
            size += length
    if current.operations:
        yield current


def _encode(step: Step, max_bytes: int) -> Iterator[wire.Parts]:
    """The operations of a step, each of at most ``max_bytes`` if it can be split."""
    if step.kind is StoreChunks:
        yield from _store(step.operations, max_bytes)
    elif step.kind is WriteAccepted:
        yield from _write_accepted(step.operations, max_bytes)
    else:
        for operation in step.operations:
            yield from _single(operation)


def _single(operation: Operation) -> Iterator[wire.Parts]:
    match operation:
        case SetLive():
            fields = payloads.chunk_set_fields(operation.chunk_set)
            waiting = [wire.equal(*one) for one in fields.items()]
            waiting.append(wire.equal("live", payloads.NOT_LIVE))
            yield wire.set_payload(waiting, {"live": payloads.LIVE})
        case Flip():
            yield from _flip(operation)
        case RemoveObsolete():
            below = max(operation.visible_revision, operation.deleted_revision + 1)
            obsolete = qdrant.Filter(
                must=[
                    of_document(operation.key),
                    qdrant.Condition.FromString(wire.less("revision", below)),
                ]
            )
            selector = qdrant.PointsSelector(filter=obsolete)
            removal = qdrant.PointsUpdateOperation(
                delete_points=qdrant.PointsUpdateOperation.DeletePoints(points=selector)
            )
            yield [removal.SerializeToString()]


def _flip(flip: Flip) -> Iterator[wire.Parts]:
    wanted = flip.chunk_set
    record = wire.has_id(wanted.key.uuid)
    not_deleted = wire.less("deleted_revision", wanted.revision)
    visible = payloads.visible_fields(
        Visible(
            revision=wanted.revision,
            fingerprint=wanted.fingerprint,
            content_hash=wanted.content_hash,
            count=flip.count,
            failed=flip.failed,
        )
    )
    # The refresh first: after the flip it would match, and write the same again.
    same = [
        wire.equal(name, visible[name])
        for name in ("visible_revision", "visible_fingerprint", "visible_hash")
    ]
    yield wire.set_payload(
        [record, not_deleted, *same], {"visible_failed": flip.failed}
    )
    lower = wire.less("visible_revision", wanted.revision)
    yield wire.set_payload([record, not_deleted, lower], visible)


def _store(operations: Iterable[Operation], max_bytes: int) -> Iterator[wire.Parts]:
    vectors: dict[str, wire.Parts] = {}
    holes: dict[str, wire.Parts] = {}
    shared: dict[int, _Shared] = {}
    for operation in operations:
        assert isinstance(operation, StoreChunks)  # noqa: S101  one kind to a step
        for stored in operation.chunks:
            document = shared.get(id(stored.document))
            if document is None:
                document = _Shared.of(stored.document)
                shared[id(stored.document)] = document
            vector = stored.embedded.vector
            points = holes if vector is None else vectors
            identity = document.ids.of(stored.embedded.chunk.number)
            # What was there first stays, in one call as in two.
            if identity not in points:
                own = wire.payload(payloads.chunk_fields(stored))
                points[identity] = wire.point(identity, document.fields + own, vector)
    is_hole = wire.all_of([wire.equal("state", payloads.HOLE)])
    for page in _pages(vectors.values(), max_bytes):
        yield wire.upsert(page, mode=qdrant.UpdateMode.Upsert, update_filter=is_hole)
    for page in _pages(holes.values(), max_bytes):
        yield wire.upsert(page, mode=qdrant.UpdateMode.InsertOnly)


@dataclass(frozen=True, slots=True)
class _Shared:
    """What is made once for all chunks of a document in a call."""

    ids: PointIds
    fields: bytes

    @classmethod
    def of(cls, document: DocumentRevision) -> _Shared:
        ids = PointIds(
            document.key,
            revision=document.revision,
            fingerprint=document.fingerprint,
            content_hash=document.content_hash,
        )
        return cls(ids, wire.payload(payloads.document_fields(document)))


def _write_accepted(
    operations: Iterable[Operation], max_bytes: int
) -> Iterator[wire.Parts]:
    inserts: dict[str, wire.Parts] = {}
    for operation in operations:
        assert isinstance(operation, WriteAccepted)  # noqa: S101  one kind to a step
        identity = operation.key.uuid
        if operation.expected is None:
            inserts.setdefault(identity, wire.point(identity, _new_record(operation)))
            continue
        yield from _insert_all(inserts, max_bytes)
        inserts = {}
        expected = payloads.accepted_fields(operation.expected)
        holds = [wire.equal(name, expected[name]) for name in _EXPECTED]
        written = payloads.accepted_fields(
            operation.accepted, deletes=operation.deletes, name=operation.name
        )
        yield wire.set_payload([wire.has_id(identity), *holds], written)
    yield from _insert_all(inserts, max_bytes)


def _new_record(write: WriteAccepted) -> bytes:
    record = StateRecord(
        write.key,
        write.accepted,
        deleted_revision=write.accepted.revision if write.deletes else 0,
        name=write.name,
    )
    return wire.payload(payloads.state_fields(record))


def _insert_all(
    inserts: Mapping[str, wire.Parts], max_bytes: int
) -> Iterator[wire.Parts]:
    for page in _pages(inserts.values(), max_bytes):
        yield wire.upsert(page, mode=qdrant.UpdateMode.InsertOnly)


def _pages(points: Iterable[wire.Parts], max_bytes: int) -> Iterator[list[wire.Parts]]:
    page: list[wire.Parts] = []
    size = 0
    for point in points:
        length = wire.size(point)
        if page and size + length > max_bytes:
            yield page
            page, size = [], 0
        page.append(point)
        size += length
    if page:
        yield page


def equal(name: str, value: str | int) -> qdrant.Condition:
    """A field holds exactly this."""
    condition: qdrant.Condition = qdrant.Condition.FromString(wire.equal(name, value))
    return condition


def has_id(*ids: str) -> qdrant.Condition:
    """One of these points."""
    condition: qdrant.Condition = qdrant.Condition.FromString(wire.has_id(*ids))
    return condition


def of_document(key: DocumentKey) -> qdrant.Condition:
    """Points of one document, all revisions."""
    return equal("key", key.uuid)


def in_set(chunk_set: ChunkSet) -> qdrant.Filter:
    """The points of one set."""
    fields = payloads.chunk_set_fields(chunk_set)
    return qdrant.Filter(must=[equal(*one) for one in fields.items()])
