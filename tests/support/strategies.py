"""Hypothesis strategies for every message, within the bounds of the contract."""

from __future__ import annotations

from hypothesis import strategies as st

from headrace.identity import Arrival, DocumentKey
from headrace.messages import (
    Chunk,
    ChunkSlice,
    DeadLetter,
    DocumentEvent,
    DocumentRevision,
    EmbeddedChunk,
    EmbeddedSlice,
    Heartbeat,
    Hole,
    Lane,
    LoadedText,
    Manifest,
    Metadata,
    ObjectReference,
    OnPartial,
    Operation,
    OutputPosition,
    Pause,
    Segment,
    SegmentKind,
    Stage,
    State,
    StatusError,
    StatusEvent,
    TextPart,
)

INT32 = st.integers(0, 2**31 - 1)
INT64 = st.integers(0, 2**63 - 1)
HASHES = st.binary(min_size=32, max_size=32)


def texts(max_bytes: int, *, min_size: int = 0) -> st.SearchStrategy[str]:
    """Any Unicode text that UTF-8 can hold, of at most that many bytes."""
    return st.text(min_size=min_size, max_size=max(min_size, min(max_bytes // 4, 40)))


DOCUMENT_KEYS = st.builds(
    DocumentKey,
    tenant=texts(128, min_size=1),
    collection=st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,29}", fullmatch=True),
    document_id=texts(1024, min_size=1),
)
ARRIVALS = st.builds(
    Arrival,
    append_time_ms=INT64,
    topic_id=st.from_regex(r"[A-Za-z0-9._-]{1,40}", fullmatch=True),
    partition=INT32,
    offset=INT64,
)
METADATA = st.builds(
    Metadata,
    name=texts(1024),
    media_type=texts(255),
    source_uri=texts(2048),
    user_id=texts(256),
    session_id=texts(256),
    import_job=texts(256),
    attributes=st.dictionaries(texts(128), texts(1024), max_size=4),
)
OBJECT_REFERENCES = st.builds(
    ObjectReference,
    uri=texts(1024, min_size=1),
    size=INT64,
    sha256=HASHES | st.just(b""),
)
URIS = st.builds(
    "{}://{}".format,
    st.sampled_from(["http", "https", "file", "s3", "gs", "az"]),
    texts(200),
)
SOURCE_VERSIONS = st.none() | st.integers(-(2**63), 2**63 - 1)
FINGERPRINTS = st.from_regex(r"[0-9a-f]{12}-[0-9a-f]{12}-[0-9a-f]{12}", fullmatch=True)


@st.composite
def document_events(draw: st.DrawFn) -> DocumentEvent:
    """Upserts from each kind of source, and deletes."""
    source = draw(st.sampled_from(["inline", "uri", "object", "delete"]))
    return DocumentEvent(
        key=draw(DOCUMENT_KEYS),
        operation=Operation.DELETE if source == "delete" else Operation.UPSERT,
        source_version=draw(SOURCE_VERSIONS),
        inline=draw(st.binary(max_size=200)) if source == "inline" else None,
        uri=draw(URIS) if source == "uri" else None,
        object=draw(OBJECT_REFERENCES) if source == "object" else None,
        metadata=draw(METADATA),
        lane=draw(st.none() | st.sampled_from(Lane)),
        on_partial=draw(st.sampled_from(OnPartial)),
    )


def document_revisions(
    operation: Operation | None = None,
) -> st.SearchStrategy[DocumentRevision]:
    """Accepted states; of one operation where that is given."""
    upserts = _revisions(Operation.UPSERT, FINGERPRINTS, HASHES)
    deletes = _revisions(Operation.DELETE, FINGERPRINTS | st.just(""), st.just(b""))
    if operation is None:
        return upserts | deletes
    return upserts if operation is Operation.UPSERT else deletes


def _revisions(
    operation: Operation,
    fingerprints: st.SearchStrategy[str],
    hashes: st.SearchStrategy[bytes],
) -> st.SearchStrategy[DocumentRevision]:
    return st.builds(
        DocumentRevision,
        key=DOCUMENT_KEYS,
        revision=st.integers(1, 2**63 - 1),
        fingerprint=fingerprints,
        content_hash=hashes,
        arrival=ARRIVALS,
        source_version=SOURCE_VERSIONS,
        lane=st.sampled_from(Lane),
        metadata=METADATA,
        on_partial=st.sampled_from(OnPartial),
        operation=st.just(operation),
        accepted_at_ms=INT64,
    )


_HEADING_PATHS = st.lists(texts(256), max_size=4).map(tuple)


@st.composite
def _spans(draw: st.DrawFn) -> tuple[int, int]:
    start = draw(st.integers(0, 2**62))
    return start, start + draw(st.integers(0, 2**40))


@st.composite
def segments(draw: st.DrawFn) -> Segment:
    """Stretches of text."""
    start, end = draw(_spans())
    return Segment(
        start=start,
        end=end,
        kind=draw(st.sampled_from(SegmentKind)),
        page=draw(INT32),
        heading_path=draw(_HEADING_PATHS),
        section=draw(texts(256)),
        language=draw(st.sampled_from(["", "python", "go"])),
        has_header=draw(st.booleans()),
    )


TEXT_PARTS = st.builds(
    TextPart,
    text=st.text(max_size=200),
    segments=st.lists(segments(), max_size=4).map(tuple),
)


@st.composite
def loaded_texts(draw: st.DrawFn) -> LoadedText:
    """Inline texts, claim checks and deletes."""
    body = draw(st.sampled_from(["parts", "object", "delete"]))
    operation = Operation.DELETE if body == "delete" else Operation.UPSERT
    return LoadedText(
        document=draw(document_revisions(operation)),
        parts=(
            draw(st.lists(TEXT_PARTS, max_size=3).map(tuple))
            if body == "parts"
            else None
        ),
        object=draw(OBJECT_REFERENCES) if body == "object" else None,
        parser=draw(texts(128)),
        length=draw(INT64),
    )


@st.composite
def chunks(draw: st.DrawFn) -> Chunk:
    """Chunks of any place in a document."""
    start, end = draw(_spans())
    return Chunk(
        number=draw(INT32),
        text=draw(st.text(min_size=1, max_size=80).filter(lambda text: text.strip())),
        token_count=draw(INT32),
        start=start,
        end=end,
        page=draw(INT32),
        heading_path=draw(_HEADING_PATHS),
        section=draw(texts(256)),
    )


MANIFESTS = st.builds(Manifest, chunk_count=INT32, hash=HASHES)
CHUNK_SLICES = st.builds(
    ChunkSlice,
    document=document_revisions(),
    slice_number=INT32,
    chunks=st.lists(chunks(), max_size=4).map(tuple),
    manifest=st.none() | MANIFESTS,
)
HOLES = st.builds(
    Hole, reason=texts(64, min_size=1), detail=texts(1024), attempts=INT32
)
_VECTORS = st.integers(1, 16).flatmap(
    lambda dimensions: st.binary(min_size=4 * dimensions, max_size=4 * dimensions)
)
EMBEDDED_CHUNKS = st.builds(EmbeddedChunk, chunk=chunks(), vector=_VECTORS) | st.builds(
    EmbeddedChunk, chunk=chunks(), hole=HOLES
)
EMBEDDED_SLICES = st.builds(
    EmbeddedSlice,
    document=document_revisions(),
    slice_number=INT32,
    chunks=st.lists(EMBEDDED_CHUNKS, max_size=4).map(tuple),
    manifest=st.none() | MANIFESTS,
)
STATUS_ERRORS = st.builds(
    StatusError,
    code=texts(64, min_size=1),
    message=texts(1024),
    advice=texts(512),
    retryable=st.booleans(),
)
STATUS_EVENTS = st.builds(
    StatusEvent,
    key=DOCUMENT_KEYS,
    revision=INT64,
    arrival=ARRIVALS,
    stage=st.sampled_from(Stage),
    state=st.sampled_from(State),
    error=st.none() | STATUS_ERRORS,
    attempts=INT32,
    chunks=INT32,
    tokens=INT64,
    failed_chunks=INT32,
    waiting_ms=INT64,
    working_ms=INT64,
    output=st.none()
    | st.builds(OutputPosition, topic=texts(200), partition=INT32, last_offset=INT64),
    at_ms=INT64,
    metadata=METADATA,
    lane=st.sampled_from(Lane),
)
HEARTBEATS = st.builds(
    Heartbeat,
    key=DOCUMENT_KEYS,
    revision=INT64,
    arrival=ARRIVALS,
    stage=st.sampled_from(Stage),
    worker=texts(256),
    started_at_ms=INT64,
    at_ms=INT64,
)

PAUSES = st.builds(Pause, by=texts(256), reason=texts(1024), at_ms=INT64.filter(bool))


@st.composite
def dead_letters(draw: st.DrawFn) -> DeadLetter:
    """Letters of records read and unreadable, of whole records and of chunks."""
    first = draw(st.integers(0, 1000))
    original = draw(st.sampled_from(["value", "object", "none"]))
    return DeadLetter(
        stage=draw(st.sampled_from(Stage)),
        error=draw(STATUS_ERRORS),
        attempts=draw(INT32),
        origin_topic=draw(texts(200)),
        origin_partition=draw(INT32),
        origin_offset=draw(INT64),
        origin_timestamp_ms=draw(st.integers(-1, 2**62)),
        key=draw(st.none() | DOCUMENT_KEYS),
        revision=draw(INT64),
        arrival=draw(st.none() | ARRIVALS),
        fingerprint=draw(FINGERPRINTS | st.just("")),
        first_chunk=first,
        end_chunk=first + draw(st.integers(0, 64)),
        original_key=draw(st.none() | st.binary(max_size=50)),
        original_value=draw(st.binary(max_size=100)) if original == "value" else None,
        original_object=draw(OBJECT_REFERENCES) if original == "object" else None,
        original_headers=draw(
            st.lists(st.tuples(texts(40), st.binary(max_size=40)), max_size=4).map(
                tuple
            )
        ),
        traceparent=draw(st.just("") | st.just(f"00-{'1' * 32}-{'2' * 16}-01")),
        failed_at_ms=draw(INT64),
        worker_version=draw(texts(64)),
    )
