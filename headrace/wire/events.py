"""Document events in Protobuf."""

from __future__ import annotations

from google.protobuf.unknown_fields import UnknownFieldSet

from headrace.errors import Unreadable
from headrace.messages import DocumentEvent, ObjectReference
from headrace.v1 import document_event_pb2 as pb
from headrace.v1 import document_pb2
from headrace.wire.bounds import known, parse
from headrace.wire.documents import (
    LANE_NUMBERS,
    LANES,
    ON_PARTIAL_NUMBERS,
    ON_PARTIALS,
    OPERATION_NUMBERS,
    OPERATIONS,
    key_to,
    metadata_from,
    metadata_to,
    object_to,
)
from headrace.wire.drafts import Draft

_ADVICE = (
    "Send a headrace.v1.DocumentEvent, or JSON with the header "
    "content-type: application/json."
)


def encode_event(event: DocumentEvent) -> bytes:
    """To the bytes of a record on ``documents``."""
    return pb.DocumentEvent(
        key=key_to(event.key),
        operation=OPERATION_NUMBERS[event.operation],
        source_version=event.source_version,
        inline=event.inline,
        uri=event.uri,
        object=None if event.object is None else object_to(event.object),
        metadata=metadata_to(event.metadata),
        lane=(
            document_pb2.LANE_UNSPECIFIED
            if event.lane is None
            else LANE_NUMBERS[event.lane]
        ),
        on_partial=ON_PARTIAL_NUMBERS[event.on_partial],
    ).SerializeToString()


def draft_from_protobuf(value: bytes) -> Draft:
    """What a Protobuf event says; Confluent's framing before it is taken off.

    Raises:
        Unreadable: no Protobuf, or another message.
    """
    message = _message(value)
    key = message.key
    source = message.WhichOneof("source")
    reference = message.object
    return Draft(
        tenant=key.tenant,
        collection=key.collection,
        document_id=key.document_id,
        operation=(
            known(OPERATIONS, message.operation, "operation")
            if message.operation
            else None
        ),
        source_version=(
            message.source_version if message.HasField("source_version") else None
        ),
        inline=message.inline if source == "inline" else None,
        uri=message.uri if source == "uri" else None,
        object=(
            ObjectReference(reference.uri, reference.size, reference.sha256)
            if source == "object"
            else None
        ),
        metadata=metadata_from(message.metadata),
        lane=LANES.get(message.lane),
        on_partial=ON_PARTIALS.get(message.on_partial),
    )


def key_in_protobuf(value: bytes) -> tuple[str, str, str]:
    """Tenant, collection and document id of an event, whatever else is wrong with it.

    Raises:
        Unreadable: no Protobuf, or another message.
    """
    key = _message(value).key
    return key.tenant, key.collection, key.document_id


def _message(value: bytes) -> pb.DocumentEvent:
    message = parse(pb.DocumentEvent, _unframed(value), advice=_ADVICE)
    _refuse_other_types(message)
    return message


def _refuse_other_types(message: pb.DocumentEvent) -> None:
    """Most Protobuf bytes parse as any message; their field types give them away."""
    for part in (message, message.key, message.metadata):
        unknown = UnknownFieldSet(part)
        if not unknown:
            continue
        declared = part.DESCRIPTOR.fields_by_number
        strange = [unknown[index].field_number for index in range(len(unknown))]
        # Unknown numbers are a newer contract's. A known number of another type is not.
        if any(number in declared for number in strange) or (
            strange and part is message and not message.ListFields()
        ):
            raise Unreadable(
                "wrong_message_type",
                "the value is another Protobuf message than "
                "headrace.v1.DocumentEvent: its fields have other types",
                advice=_ADVICE,
            )


def _unframed(value: bytes) -> bytes:
    """Without the schema registry's frame: 0, schema id, path to the message's type."""
    # No Protobuf message starts with a zero: there is no field 0.
    if value[:1] != b"\0":
        return value
    # The first message of a file is written as a count of 0, or as one index, 0.
    for path in (b"\0", b"\x02\0"):
        if value[5:].startswith(path):
            return value[5 + len(path) :]
    raise Unreadable(
        "wrong_message_type",
        "the value has a schema registry's frame, but not of the first message of "
        "document_event.proto",
        advice=_ADVICE,
    )
