"""What the points and state records say, as payloads. Pure: no I/O.

docs/store.md describes these fields to those who read Qdrant directly; their names are
part of what a release promises. Hashes are in hexadecimal. There are no booleans: they
are keywords, since not every store matches a boolean. Empty values are left out of
points, so that ``is_empty`` finds them. A conditional write merges fields, and null
removes one: a state record without source version lacks the field.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Final
from uuid import uuid5

from headrace.identity import NAMESPACE, Arrival, DocumentKey, point_id
from headrace.messages import DocumentRevision, Manifest
from headrace.state import Accepted, ChunkSet, StateRecord, Visible
from headrace.store import CollectionSpec, StoredChunk

LIVE: Final = "yes"
NOT_LIVE: Final = "no"
VECTOR: Final = "vector"
HOLE: Final = "hole"

COLLECTION_RECORD_ID: Final = str(uuid5(NAMESPACE, "collection"))
"""Id of the collection's own record among the state records."""

KEYWORD_INDEXES: Final = (
    "key",
    "tenant",
    "document_id",
    "fingerprint",
    "content_hash",
    "live",
    "state",
)
INTEGER_INDEXES: Final = ("revision",)


def chunk_id(stored: StoredChunk) -> str:
    """Id of a chunk's point."""
    document = stored.document
    return point_id(
        document.key,
        revision=document.revision,
        fingerprint=document.fingerprint,
        content_hash=document.content_hash,
        number=stored.embedded.chunk.number,
    )


def document_fields(document: DocumentRevision) -> dict[str, Any]:
    """The fields that all chunks of a document share."""
    metadata = document.metadata
    return {
        "key": document.key.uuid,
        "tenant": document.key.tenant,
        "document_id": document.key.document_id,
        "revision": document.revision,
        "fingerprint": document.fingerprint,
        "content_hash": document.content_hash.hex(),
        **_present(
            ("name", metadata.name),
            ("media_type", metadata.media_type),
            ("source_uri", metadata.source_uri),
            ("user_id", metadata.user_id),
            ("session_id", metadata.session_id),
            ("import_job", metadata.import_job),
            ("attributes", metadata.attributes),
        ),
        **(
            {}
            if document.source_version is None
            else {"source_version": document.source_version}
        ),
    }


def chunk_fields(stored: StoredChunk) -> dict[str, Any]:
    """The fields of one chunk."""
    chunk, hole, manifest = stored.embedded.chunk, stored.embedded.hole, stored.manifest
    fields: dict[str, Any] = {
        "number": chunk.number,
        "text": chunk.text,
        "token_count": chunk.token_count,
        "start": chunk.start,
        "end": chunk.end,
        "live": LIVE if stored.live else NOT_LIVE,
        "state": VECTOR if hole is None else HOLE,
        **_present(
            ("page", chunk.page),
            ("headings", list(chunk.heading_path)),
            ("section", chunk.section),
        ),
    }
    if hole is not None:
        fields["hole_reason"] = hole.reason
        fields["hole_detail"] = hole.detail
    if manifest is not None:
        fields["chunk_count"] = manifest.chunk_count
        fields["manifest_hash"] = manifest.hash.hex()
    return fields


def _present(*fields: tuple[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields if value}


def chunk_set_fields(chunk_set: ChunkSet) -> dict[str, str | int]:
    """The fields by which a set's points are found."""
    return {
        "key": chunk_set.key.uuid,
        "revision": chunk_set.revision,
        "fingerprint": chunk_set.fingerprint,
        "content_hash": chunk_set.content_hash.hex(),
    }


def chunk_set_of(collection: str, payload: Mapping[str, Any]) -> ChunkSet:
    """The set that a point belongs to."""
    return ChunkSet(
        key=DocumentKey(payload["tenant"], collection, payload["document_id"]),
        revision=payload["revision"],
        fingerprint=payload["fingerprint"],
        content_hash=bytes.fromhex(payload["content_hash"]),
    )


def manifest_of(payload: Mapping[str, Any]) -> Manifest | None:
    """The manifest, where this is the last chunk's point."""
    if "chunk_count" not in payload:
        return None
    return Manifest(payload["chunk_count"], bytes.fromhex(payload["manifest_hash"]))


def accepted_fields(
    accepted: Accepted, *, deletes: bool = False, name: str = ""
) -> dict[str, Any]:
    """What an acceptance writes; an empty name leaves the old one."""
    fields: dict[str, Any] = {
        "accepted_arrival": str(accepted.arrival),
        "accepted_source_version": accepted.source_version,
        "accepted_hash": accepted.content_hash.hex(),
        "accepted_revision": accepted.revision,
        "accepted_floor": str(accepted.floor) if accepted.floor else "",
        "accepted_previous": accepted.previous,
    }
    if deletes:
        fields["deleted_revision"] = accepted.revision
    if name:
        fields["name"] = name
    return fields


def visible_fields(visible: Visible) -> dict[str, Any]:
    """What a flip writes."""
    return {
        "visible_revision": visible.revision,
        "visible_fingerprint": visible.fingerprint,
        "visible_hash": visible.content_hash.hex(),
        "visible_count": visible.count,
        "visible_failed": visible.failed,
    }


def state_fields(record: StateRecord) -> dict[str, Any]:
    """A whole state record."""
    return {
        "tenant": record.key.tenant,
        "document_id": record.key.document_id,
        **accepted_fields(record.accepted),
        **visible_fields(record.visible),
        "deleted_revision": record.deleted_revision,
        "name": record.name,
    }


def state_of(collection: str, payload: Mapping[str, Any]) -> StateRecord:
    """The inverse of ``state_fields``."""
    return StateRecord(
        key=DocumentKey(payload["tenant"], collection, payload["document_id"]),
        accepted=Accepted(
            arrival=Arrival.parse(payload["accepted_arrival"]),
            source_version=payload.get("accepted_source_version"),
            content_hash=bytes.fromhex(payload["accepted_hash"]),
            revision=payload["accepted_revision"],
            floor=_arrival(payload["accepted_floor"]),
            previous=payload["accepted_previous"],
        ),
        visible=Visible(
            revision=payload["visible_revision"],
            fingerprint=payload["visible_fingerprint"],
            content_hash=bytes.fromhex(payload["visible_hash"]),
            count=payload["visible_count"],
            failed=payload["visible_failed"],
        ),
        deleted_revision=payload["deleted_revision"],
        name=payload["name"],
    )


def _arrival(text: str) -> Arrival | None:
    return Arrival.parse(text) if text else None


def spec_fields(spec: CollectionSpec) -> dict[str, Any]:
    """The collection's own record."""
    return {"record": "collection", **asdict(spec)}


def spec_of(payload: Mapping[str, Any]) -> CollectionSpec:
    """The inverse of ``spec_fields``."""
    return CollectionSpec(
        model=payload["model"],
        model_revision=payload["model_revision"],
        dimensions=payload["dimensions"],
        document_prefix=payload["document_prefix"],
        query_prefix=payload["query_prefix"],
    )


def mismatch(
    collection: str, *, found: Mapping[str, Any], wanted: CollectionSpec
) -> str | None:
    """What to tell people where a collection was made with other settings."""
    differences = [
        f"{name} is {found[name]!r} there and {value!r} here"
        for name, value in asdict(wanted).items()
        if name in found and found[name] != value
    ]
    if not differences:
        return None
    return (
        f"collection {collection!r} exists with other settings: "
        f"{'; '.join(differences)}. Its vectors cannot be compared with new ones. "
        "Either set the embedding settings back to the collection's, ingest into "
        "another collection, or drop this one and ingest its documents again."
    )
