"""Dead letters: what identifies them, what they say, and the topics they go to."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from uuid import UUID, uuid5

from headrace.handler import Headers, Producer, Record
from headrace.headers import (
    CONTENT_TYPE,
    RECORD_ID,
    TRACEPARENT,
    arrival_of,
    content_type,
)
from headrace.identity import NAMESPACE, Arrival, DocumentKey, InvalidKeyError
from headrace.messages import (
    DeadLetter,
    DocumentRevision,
    Lane,
    Metadata,
    ObjectReference,
    Stage,
    StatusError,
)
from headrace.topology import Topology
from headrace.wire import (
    decode_chunk_slice,
    decode_embedded_slice,
    decode_event,
    decode_loaded_text,
    encode_dead_letter,
)
from headrace.wire.letters import MAX_ORIGINAL_BYTES
from headrace.wire.named import named_document

KeepObject = Callable[[str, bytes], Awaitable[ObjectReference]]
"""``Objects.put``: keeps bytes below a key."""

LETTER = "headrace-letter"
"""Header of a replayed record: key of the letter that it was replayed from."""
KEPT = "headrace-kept"
"""Header in a letter without its record's key and headers: the object with both."""

_VERSION = version("headrace")
_MAX_ENVELOPE_BYTES = 900 * 1024
"""Of the original key and headers within a letter; with the largest value it still
fits a record, which it must: a letter that cannot be sent stops its partition."""
_HEADER_FRAME = 16
"""What a header takes beside its name and value, or more."""
_MAX_TRACEPARENT = 64
"""W3C's has 55 characters."""


class DeadLetterTopics:
    """See ``handler.DeadLetters``: one compacted topic a stage."""

    def __init__(
        self, producer: Producer, *, topology: Topology, keep: KeepObject | None = None
    ) -> None:
        self._producer = producer
        self._topology = topology
        self._keep = keep

    async def put(self, letter: DeadLetter) -> None:
        """See ``handler.DeadLetters``."""
        key = letter_key(letter)
        if _envelope_bytes(letter) > _MAX_ENVELOPE_BYTES:
            letter = await self._without_envelope(letter, key)
        value = letter.original_value
        if value is not None and len(value) > MAX_ORIGINAL_BYTES and self._keep:
            kept = await self._keep(f"letters/{letter.stage}/{key}", value)
            letter = replace(letter, original_value=None, original_object=kept)
        await self._producer.send(
            self._topology.dlq(letter.stage),
            key=key.encode(),
            value=encode_dead_letter(letter),
            headers=letter_headers(letter),
        )

    async def _without_envelope(self, letter: DeadLetter, key: str) -> DeadLetter:
        """Keep the original key and headers apart, as a letter without its value.

        A replay then goes without them: nothing that Headrace understands is as large.
        """
        headers: list[tuple[str, bytes]] = []
        if self._keep:
            whole = encode_dead_letter(replace(letter, original_value=None))
            kept = await self._keep(f"letters/{letter.stage}/{key}-envelope", whole)
            headers.append((KEPT, kept.uri.encode()))
        return replace(letter, original_key=None, original_headers=tuple(headers))


def _envelope_bytes(letter: DeadLetter) -> int:
    return len(letter.original_key or b"") + sum(
        _HEADER_FRAME + len(name.encode()) + len(value or b"")
        for name, value in letter.original_headers
    )


def letter_key(letter: DeadLetter) -> str:
    """The same for the same failure, however often it is met.

    Not for the place of the record, where anything else names it: an upstream
    redelivery has another one.
    """
    which: object = letter.revision or letter.arrival
    if letter.stage is not Stage.LOADER and not letter.revision:
        if replayed := _replayed_from(letter):
            return replayed
        which = _record_name(letter)
    name = "#".join(
        (
            letter.stage,
            str(letter.key),
            str(which),
            letter.fingerprint,
            f"{letter.first_chunk}-{letter.end_chunk}",
        )
    )
    return str(uuid5(NAMESPACE, name))


def _replayed_from(letter: DeadLetter) -> str:
    """The letter that an unreadable record behind the loader was replayed from."""
    value = dict(letter.original_headers).get(LETTER) or b""
    try:
        return str(UUID(value.decode("ascii")))
    except ValueError:
        return ""


def _record_name(letter: DeadLetter) -> str:
    """What tells an unreadable record behind the loader from others of its document.

    All have the document's arrival; our stages number them.
    """
    if value := dict(letter.original_headers).get(RECORD_ID):
        return value.hex()
    # The time too: a topic that was made again begins at the same offsets.
    place = (letter.origin_partition, letter.origin_offset, letter.origin_timestamp_ms)
    return "/".join((letter.origin_topic, *map(str, place)))


def letter_headers(letter: DeadLetter) -> Headers:
    """What people see of a letter without decoding it."""
    headers = [
        (CONTENT_TYPE, content_type("DeadLetter")),
        ("headrace-stage", letter.stage.value.encode()),
        ("headrace-reason", letter.error.code.encode()),
        ("headrace-attempts", str(letter.attempts).encode()),
        ("headrace-origin-topic", letter.origin_topic.encode()),
        ("headrace-origin-partition", str(letter.origin_partition).encode()),
        ("headrace-origin-offset", str(letter.origin_offset).encode()),
    ]
    if letter.traceparent:
        headers.append((TRACEPARENT, letter.traceparent.encode()))
    return headers


@dataclass(frozen=True, slots=True)
class Subject:
    """What could be read of a record: whose it is and which part."""

    key: DocumentKey | None = None
    revision: int = 0
    arrival: Arrival | None = None
    fingerprint: str = ""
    first_chunk: int = 0
    end_chunk: int = 0
    metadata: Metadata = field(default_factory=Metadata)
    lane: Lane | None = None


def subject_of(stage: Stage, record: Record) -> Subject:
    """Read as much of a stage's input as can be read; never raises for bad bytes.

    Not even by a fault of the reader: a record without a letter stops its partition.
    """
    try:
        return _READERS[stage](record)
    except Exception:  # noqa: BLE001  the letter says what failed
        return _unreadable(stage, record)


def letter_of(  # noqa: D417  the rest names itself
    stage: Stage,
    record: Record,
    subject: Subject,
    *,
    error: StatusError,
    attempts: int,
    failed_at_ms: int,
) -> DeadLetter:
    """The letter of a whole record, byte for byte as it was read.

    Args:
        subject: may be narrowed to some of the chunks.
    """
    trace = record.header(TRACEPARENT)
    return DeadLetter(
        stage=stage,
        error=error,
        attempts=attempts,
        origin_topic=record.topic,
        origin_partition=record.partition,
        origin_offset=record.offset,
        origin_timestamp_ms=record.timestamp_ms,
        key=subject.key,
        revision=subject.revision,
        arrival=subject.arrival,
        fingerprint=subject.fingerprint,
        first_chunk=subject.first_chunk,
        end_chunk=subject.end_chunk,
        original_key=record.key,
        original_value=record.value,
        original_headers=record.headers,
        traceparent=(trace or b"").decode("ascii", errors="ignore")[:_MAX_TRACEPARENT],
        failed_at_ms=failed_at_ms,
        worker_version=_VERSION,
    )


def _unreadable(stage: Stage, record: Record) -> Subject:
    if stage is Stage.LOADER:
        # An event has an arrival, whatever it says.
        return Subject(key=named_document(record), arrival=arrival_of(record))
    try:
        key = DocumentKey.from_record_key(record.key or b"")
    except InvalidKeyError:
        return Subject()
    return Subject(key=key, arrival=arrival_of(record))


def _of_event(record: Record) -> Subject:
    event = decode_event(record)
    return Subject(
        key=event.key,
        arrival=arrival_of(record),
        metadata=event.metadata,
        lane=event.lane,
    )


def _of_text(record: Record) -> Subject:
    return _of_document(decode_loaded_text(record.value).document)


def _of_chunks(record: Record) -> Subject:
    read = decode_chunk_slice(record.value)
    numbers = [chunk.number for chunk in read.chunks]
    return _of_document(read.document, numbers)


def _of_vectors(record: Record) -> Subject:
    read = decode_embedded_slice(record.value)
    numbers = [embedded.chunk.number for embedded in read.chunks]
    return _of_document(read.document, numbers)


def _of_document(
    document: DocumentRevision, numbers: list[int] | None = None
) -> Subject:
    return Subject(
        key=document.key,
        revision=document.revision,
        arrival=document.arrival,
        fingerprint=document.fingerprint,
        first_chunk=min(numbers, default=0) if numbers else 0,
        end_chunk=max(numbers) + 1 if numbers else 0,
        metadata=document.metadata,
        lane=document.lane,
    )


_READERS: dict[Stage, Callable[[Record], Subject]] = {
    Stage.LOADER: _of_event,
    Stage.CHUNKER: _of_text,
    Stage.EMBEDDER: _of_chunks,
    Stage.INDEXER: _of_vectors,
}
