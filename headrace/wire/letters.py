"""Dead letters, to Protobuf and back."""

from __future__ import annotations

from headrace.messages import DeadLetter
from headrace.v1 import dead_letter_pb2 as pb
from headrace.wire.bounds import (
    KIB,
    check_count,
    check_text,
    clip,
    invalid,
    known,
    missing,
    parse,
    too_large,
)
from headrace.wire.documents import (
    arrival_from,
    arrival_to,
    key_from,
    key_to,
    object_from,
    object_to,
)
from headrace.wire.statuses import STAGE_NUMBERS, STAGES, error_from, error_to

MAX_ORIGINAL_BYTES = 900 * KIB
"""Of an original value within its letter; larger ones are kept as an object."""
MAX_VERSION_BYTES = 64


def encode_dead_letter(value: DeadLetter) -> bytes:
    """To the bytes of a record on a ``dlq`` topic."""
    reference = value.original_object
    return pb.DeadLetter(
        stage=STAGE_NUMBERS[value.stage],
        error=error_to(value.error),
        attempts=value.attempts,
        key=None if value.key is None else key_to(value.key),
        revision=value.revision,
        arrival=None if value.arrival is None else arrival_to(value.arrival),
        fingerprint=value.fingerprint,
        first_chunk=value.first_chunk,
        end_chunk=value.end_chunk,
        origin_topic=value.origin_topic,
        origin_partition=value.origin_partition,
        origin_offset=value.origin_offset,
        origin_timestamp_ms=value.origin_timestamp_ms,
        original_key=value.original_key,
        original_value=value.original_value,
        original_object=None if reference is None else object_to(reference),
        original_headers=[
            pb.RecordHeader(key=name, value=content)
            for name, content in value.original_headers
        ],
        traceparent=value.traceparent,
        failed_at_ms=value.failed_at_ms,
        worker_version=clip(value.worker_version, MAX_VERSION_BYTES),
    ).SerializeToString()


def decode_dead_letter(data: bytes | None) -> DeadLetter:
    """From the bytes of a record on a ``dlq`` topic.

    Raises:
        Unreadable: see ``bounds``.
    """
    message = parse(pb.DeadLetter, data)
    if not message.HasField("error"):
        raise missing("error")
    for field in (
        "attempts",
        "revision",
        "first_chunk",
        "origin_partition",
        "origin_offset",
        "failed_at_ms",
    ):
        check_count(getattr(message, field), field)
    if message.end_chunk < message.first_chunk:
        raise invalid("end_chunk", "at or after first_chunk")
    if len(message.original_value) > MAX_ORIGINAL_BYTES:
        raise too_large(
            "original_value",
            len(message.original_value),
            MAX_ORIGINAL_BYTES,
            advice="Larger values belong in original_object.",
        )
    check_text(message.worker_version, MAX_VERSION_BYTES, "worker_version")
    original = message.WhichOneof("original")
    return DeadLetter(
        stage=known(STAGES, message.stage, "stage"),
        error=error_from(message.error),
        attempts=message.attempts,
        origin_topic=message.origin_topic,
        origin_partition=message.origin_partition,
        origin_offset=message.origin_offset,
        origin_timestamp_ms=message.origin_timestamp_ms,
        key=key_from(message.key) if message.HasField("key") else None,
        revision=message.revision,
        arrival=arrival_from(message.arrival) if message.HasField("arrival") else None,
        fingerprint=message.fingerprint,
        first_chunk=message.first_chunk,
        end_chunk=message.end_chunk,
        original_key=(
            message.original_key if message.HasField("original_key") else None
        ),
        original_value=message.original_value if original == "original_value" else None,
        original_object=(
            object_from(message.original_object)
            if original == "original_object"
            else None
        ),
        original_headers=tuple(
            [(header.key, header.value) for header in message.original_headers]
        ),
        traceparent=message.traceparent,
        failed_at_ms=message.failed_at_ms,
        worker_version=message.worker_version,
    )
