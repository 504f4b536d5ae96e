"""The domain values that travel between the stages. Pure: no I/O.

``wire`` turns them into Protobuf and back; the bounds of each field are stated in
proto/headrace/v1. Offsets count Unicode code points from the start of a document's
whole text.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from headrace.identity import Arrival, DocumentKey


class Lane(StrEnum):
    """Which queue a document travels by."""

    INTERACTIVE = "interactive"
    BULK = "bulk"


class Operation(StrEnum):
    """What an event asks for."""

    UPSERT = "upsert"
    DELETE = "delete"


class OnPartial(StrEnum):
    """What happens to an update with holes."""

    KEEP_OLD = "keep_old"
    PUBLISH = "publish"


class Stage(StrEnum):
    """The four services of the data path, in order."""

    LOADER = "loader"
    CHUNKER = "chunker"
    EMBEDDER = "embedder"
    INDEXER = "indexer"


class State(StrEnum):
    """Where a document stands; all but ``PASSED_ON`` are final."""

    PASSED_ON = "passed_on"
    INDEXED = "indexed"
    INDEXED_WITH_ERRORS = "indexed_with_errors"
    UNCHANGED = "unchanged"
    FAILED = "failed"
    DELETED = "deleted"
    SUPERSEDED = "superseded"

    @property
    def final(self) -> bool:
        """Whether nothing more will happen to this revision by itself."""
        return self is not State.PASSED_ON


class SegmentKind(StrEnum):
    """What a stretch of text is."""

    PROSE = "prose"
    HEADING = "heading"
    TABLE = "table"
    CODE = "code"


@dataclass(frozen=True, slots=True)
class Metadata:
    """Travels with the document and is stored with every chunk."""

    name: str = ""
    media_type: str = ""
    source_uri: str = ""
    user_id: str = ""
    session_id: str = ""
    import_job: str = ""
    attributes: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ObjectReference:
    """Bytes in the object store; ``size`` 0 and ``sha256`` empty where unknown."""

    uri: str
    size: int = 0
    sha256: bytes = b""


@dataclass(frozen=True, slots=True)
class DocumentEvent:
    """One upsert or delete, as a producer asked for it.

    An upsert has exactly one of ``inline``, ``uri`` and ``object``; a delete none.
    """

    key: DocumentKey
    operation: Operation = Operation.UPSERT
    source_version: int | None = None
    inline: bytes | None = None
    uri: str | None = None
    object: ObjectReference | None = None
    metadata: Metadata = field(default_factory=Metadata)
    lane: Lane | None = None
    on_partial: OnPartial = OnPartial.KEEP_OLD


@dataclass(frozen=True, slots=True)
class DocumentRevision:
    """One accepted state of a document; ``content_hash`` is empty for a delete."""

    key: DocumentKey
    revision: int
    fingerprint: str
    content_hash: bytes
    arrival: Arrival
    source_version: int | None = None
    lane: Lane = Lane.INTERACTIVE
    metadata: Metadata = field(default_factory=Metadata)
    on_partial: OnPartial = OnPartial.KEEP_OLD
    operation: Operation = Operation.UPSERT
    accepted_at_ms: int = 0


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of text with one provenance; ``end`` is exclusive, page 0 none."""

    start: int
    end: int
    kind: SegmentKind = SegmentKind.PROSE
    page: int = 0
    heading_path: tuple[str, ...] = ()
    section: str = ""
    language: str = ""
    has_header: bool = False


@dataclass(frozen=True, slots=True)
class TextPart:
    """A piece of the text (to 256 KiB of UTF-8) and the segments starting in it."""

    text: str
    segments: tuple[Segment, ...] = ()


@dataclass(frozen=True, slots=True)
class LoadedText:
    """What the loader found: ``parts`` inline, or ``object`` for a claim check.

    A delete has neither.
    """

    document: DocumentRevision
    parts: tuple[TextPart, ...] | None = None
    object: ObjectReference | None = None
    parser: str = ""
    length: int = 0


@dataclass(frozen=True, slots=True)
class Chunk:
    """What becomes one point; ``token_count`` is in the embedding model's tokens."""

    number: int
    text: str
    token_count: int
    start: int
    end: int
    page: int = 0
    heading_path: tuple[str, ...] = ()
    section: str = ""


@dataclass(frozen=True, slots=True)
class Manifest:
    """Count and hash of all chunks of a document; travels on its last slice."""

    chunk_count: int
    hash: bytes


@dataclass(frozen=True, slots=True)
class ChunkSlice:
    """Up to 64 chunks or 512 KiB of one document."""

    document: DocumentRevision
    slice_number: int
    chunks: tuple[Chunk, ...] = ()
    manifest: Manifest | None = None


@dataclass(frozen=True, slots=True)
class Hole:
    """Why a chunk has no vector."""

    reason: str
    detail: str = ""
    attempts: int = 0


@dataclass(frozen=True, slots=True)
class EmbeddedChunk:
    """A chunk with its vector (little-endian float32 bytes) or its hole."""

    chunk: Chunk
    vector: bytes | None = None
    hole: Hole | None = None


@dataclass(frozen=True, slots=True)
class EmbeddedSlice:
    """A slice after the embedder: same number, same chunks, same order."""

    document: DocumentRevision
    slice_number: int
    chunks: tuple[EmbeddedChunk, ...] = ()
    manifest: Manifest | None = None


@dataclass(frozen=True, slots=True)
class StatusError:
    """What went wrong, for programs (``code``) and people."""

    code: str
    message: str = ""
    advice: str = ""
    retryable: bool = False


@dataclass(frozen=True, slots=True)
class OutputPosition:
    """Where a stage's output for a document went."""

    topic: str
    partition: int
    last_offset: int


@dataclass(frozen=True, slots=True)
class StatusEvent:
    """The whole fact about one document at one stage.

    ``revision`` is 0 where the event never got one; its arrival identifies it then.
    """

    key: DocumentKey
    revision: int
    arrival: Arrival
    stage: Stage
    state: State
    error: StatusError | None = None
    attempts: int = 0
    chunks: int = 0
    tokens: int = 0
    failed_chunks: int = 0
    waiting_ms: int = 0
    working_ms: int = 0
    output: OutputPosition | None = None
    at_ms: int = 0
    metadata: Metadata = field(default_factory=Metadata)
    lane: Lane = Lane.INTERACTIVE


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """Somebody works on this document."""

    key: DocumentKey
    revision: int
    arrival: Arrival
    stage: Stage
    worker: str
    started_at_ms: int
    at_ms: int


@dataclass(frozen=True, slots=True)
class Pause:
    """People have paused something: who, why and when."""

    by: str
    reason: str
    at_ms: int


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """Work that could not be done, with all that is needed to do it again.

    ``key`` is ``None`` where neither the record nor its key could be read, ``arrival``
    too behind the loader. Both chunk bounds are 0 for a record that is not a slice.
    """

    stage: Stage
    error: StatusError
    attempts: int
    origin_topic: str
    origin_partition: int
    origin_offset: int
    origin_timestamp_ms: int
    key: DocumentKey | None = None
    revision: int = 0
    arrival: Arrival | None = None
    fingerprint: str = ""
    first_chunk: int = 0
    end_chunk: int = 0
    original_key: bytes | None = None
    original_value: bytes | None = None
    original_object: ObjectReference | None = None
    original_headers: tuple[tuple[str, bytes], ...] = ()
    traceparent: str = ""
    failed_at_ms: int = 0
    worker_version: str = ""
