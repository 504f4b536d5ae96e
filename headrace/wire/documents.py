"""What every message says about its document, to Protobuf and back.

Enums of which a wrong guess is harmless fall back where the number is unknown: an
unknown lane counts as none given, an unknown ``on_partial`` keeps the old revision, an
unknown kind of segment is prose. An unknown operation, stage or state is unreadable.

What is given to a message's constructor is copied; ``write_x`` fills a new message
where it is, as a part of another.
"""

from __future__ import annotations

import re

from headrace.errors import Unreadable
from headrace.identity import Arrival, DocumentKey, InvalidKeyError
from headrace.messages import (
    DocumentRevision,
    Lane,
    Metadata,
    ObjectReference,
    OnPartial,
    Operation,
)
from headrace.v1 import document_pb2 as pb
from headrace.wire.bounds import (
    KIB,
    check_attributes,
    check_count,
    check_hash,
    check_text,
    invalid,
    known,
    missing,
)

LANE_NUMBERS = {Lane.INTERACTIVE: pb.LANE_INTERACTIVE, Lane.BULK: pb.LANE_BULK}
LANES = {int(number): lane for lane, number in LANE_NUMBERS.items()}
ON_PARTIAL_NUMBERS = {
    OnPartial.KEEP_OLD: pb.ON_PARTIAL_KEEP_OLD,
    OnPartial.PUBLISH: pb.ON_PARTIAL_PUBLISH,
}
ON_PARTIALS = {int(number): value for value, number in ON_PARTIAL_NUMBERS.items()}
OPERATION_NUMBERS = {
    Operation.UPSERT: pb.OPERATION_UPSERT,
    Operation.DELETE: pb.OPERATION_DELETE,
}
OPERATIONS = {int(number): value for value, number in OPERATION_NUMBERS.items()}

MAX_MEDIA_TYPE = 255
MAX_URI = 2 * KIB
MAX_WHO = 256
"""Of user, session and import job."""

_FINGERPRINT = re.compile(r"[0-9a-f]{12}-[0-9a-f]{12}-[0-9a-f]{12}")


def key_to(key: DocumentKey) -> pb.DocumentKey:
    """To Protobuf."""
    message = pb.DocumentKey()
    write_key(key, message)
    return message


def write_key(key: DocumentKey, message: pb.DocumentKey) -> None:
    """Into a new message."""
    message.tenant = key.tenant
    message.collection = key.collection
    message.document_id = key.document_id


def key_from(message: pb.DocumentKey) -> DocumentKey:
    """From Protobuf; every part must be there."""
    key = DocumentKey(message.tenant, message.collection, message.document_id)
    validate_key(key)
    return key


def validate_key(key: DocumentKey) -> None:
    """As ``DocumentKey.validate``, raising ``Unreadable`` of the same code."""
    try:
        key.validate()
    except InvalidKeyError as error:
        raise Unreadable(
            error.code,
            str(error),
            advice="Give tenant, collection and document id within their bounds.",
        ) from error


def arrival_to(arrival: Arrival) -> pb.Arrival:
    """To Protobuf."""
    message = pb.Arrival()
    write_arrival(arrival, message)
    return message


def write_arrival(arrival: Arrival, message: pb.Arrival) -> None:
    """Into a new message."""
    message.append_time_ms = arrival.append_time_ms
    message.topic_id = arrival.topic_id
    message.partition = arrival.partition
    message.offset = arrival.offset


def arrival_from(message: pb.Arrival) -> Arrival:
    """From Protobuf."""
    arrival = Arrival(
        message.append_time_ms, message.topic_id, message.partition, message.offset
    )
    check_count(arrival.append_time_ms, "arrival.append_time_ms")
    check_count(arrival.partition, "arrival.partition")
    check_count(arrival.offset, "arrival.offset")
    return arrival


def metadata_to(metadata: Metadata) -> pb.Metadata:
    """To Protobuf."""
    message = pb.Metadata()
    write_metadata(metadata, message)
    return message


def write_metadata(metadata: Metadata, message: pb.Metadata) -> None:
    """Into a new message."""
    message.name = metadata.name
    message.media_type = metadata.media_type
    message.source_uri = metadata.source_uri
    message.user_id = metadata.user_id
    message.session_id = metadata.session_id
    message.import_job = metadata.import_job
    if metadata.attributes:
        message.attributes.update(metadata.attributes)


def metadata_from(message: pb.Metadata) -> Metadata:
    """From Protobuf."""
    metadata = Metadata(
        name=message.name,
        media_type=message.media_type,
        source_uri=message.source_uri,
        user_id=message.user_id,
        session_id=message.session_id,
        import_job=message.import_job,
        attributes=dict(message.attributes),
    )
    check_metadata(metadata)
    return metadata


def check_metadata(metadata: Metadata) -> None:
    """Refuse metadata beyond its bounds."""
    check_text(metadata.name, KIB, "name")
    check_text(metadata.media_type, MAX_MEDIA_TYPE, "media_type")
    check_text(metadata.source_uri, MAX_URI, "source_uri")
    check_text(metadata.user_id, MAX_WHO, "user_id")
    check_text(metadata.session_id, MAX_WHO, "session_id")
    check_text(metadata.import_job, MAX_WHO, "import_job")
    check_attributes(metadata.attributes)


def object_to(reference: ObjectReference) -> pb.ObjectReference:
    """To Protobuf."""
    return pb.ObjectReference(
        uri=reference.uri, size=reference.size, sha256=reference.sha256
    )


def object_from(message: pb.ObjectReference) -> ObjectReference:
    """From Protobuf."""
    reference = ObjectReference(message.uri, message.size, message.sha256)
    check_object(reference)
    return reference


def check_object(reference: ObjectReference) -> None:
    """Refuse an object reference beyond its bounds."""
    if not reference.uri:
        raise invalid("object.uri", "a key or a URL; it is empty")
    check_text(reference.uri, KIB, "object.uri")
    check_count(reference.size, "object.size")
    check_hash(reference.sha256, "object.sha256", optional=True)


def document_to(document: DocumentRevision) -> pb.DocumentRevision:
    """To Protobuf."""
    message = pb.DocumentRevision()
    write_document(document, message)
    return message


def write_document(document: DocumentRevision, message: pb.DocumentRevision) -> None:
    """Into a new message."""
    write_key(document.key, message.key)
    message.revision = document.revision
    message.fingerprint = document.fingerprint
    message.content_hash = document.content_hash
    write_arrival(document.arrival, message.arrival)
    if document.source_version is not None:
        message.source_version = document.source_version
    message.lane = LANE_NUMBERS[document.lane]
    write_metadata(document.metadata, message.metadata)
    message.on_partial = ON_PARTIAL_NUMBERS[document.on_partial]
    message.operation = OPERATION_NUMBERS[document.operation]
    message.accepted_at_ms = document.accepted_at_ms


def document_from(message: pb.DocumentRevision) -> DocumentRevision:
    """From Protobuf."""
    if not message.HasField("key"):
        raise missing("document.key")
    if not message.HasField("arrival"):
        raise missing("document.arrival")
    document = DocumentRevision(
        key=key_from(message.key),
        revision=message.revision,
        fingerprint=message.fingerprint,
        content_hash=message.content_hash,
        arrival=arrival_from(message.arrival),
        source_version=(
            message.source_version if message.HasField("source_version") else None
        ),
        lane=LANES.get(message.lane, Lane.INTERACTIVE),
        metadata=metadata_from(message.metadata),
        on_partial=ON_PARTIALS.get(message.on_partial, OnPartial.KEEP_OLD),
        operation=known(OPERATIONS, message.operation, "document.operation"),
        accepted_at_ms=message.accepted_at_ms,
    )
    if document.revision < 1:
        raise invalid("document.revision", "1 or more")
    check_count(document.accepted_at_ms, "document.accepted_at_ms")
    if document.operation is Operation.DELETE:
        if document.content_hash:
            raise invalid("document.content_hash", "empty for a delete")
        return document
    # A fingerprint nobody can match would keep the stages waiting for its model.
    if not _FINGERPRINT.fullmatch(document.fingerprint):
        raise invalid("document.fingerprint", "<parser>-<chunker>-<model>")
    check_hash(document.content_hash, "document.content_hash")
    return document
