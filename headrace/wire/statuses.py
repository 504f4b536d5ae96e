"""Status events and heartbeats, to Protobuf and back."""

from __future__ import annotations

from headrace.messages import (
    Heartbeat,
    Lane,
    OutputPosition,
    Stage,
    State,
    StatusError,
    StatusEvent,
)
from headrace.v1 import status_pb2 as pb
from headrace.wire.bounds import (
    KIB,
    check_count,
    check_text,
    clip,
    known,
    missing,
    parse,
)
from headrace.wire.documents import (
    LANE_NUMBERS,
    LANES,
    arrival_from,
    arrival_to,
    key_from,
    key_to,
    metadata_from,
    write_arrival,
    write_key,
    write_metadata,
)

MAX_CODE_BYTES = 64
MAX_ADVICE_BYTES = 512
MAX_WORKER_BYTES = 256

STAGE_NUMBERS = {
    Stage.LOADER: pb.STAGE_LOADER,
    Stage.CHUNKER: pb.STAGE_CHUNKER,
    Stage.EMBEDDER: pb.STAGE_EMBEDDER,
    Stage.INDEXER: pb.STAGE_INDEXER,
}
STAGES = {int(number): stage for stage, number in STAGE_NUMBERS.items()}
_STATE_NUMBERS = {
    State.PASSED_ON: pb.STATE_PASSED_ON,
    State.INDEXED: pb.STATE_INDEXED,
    State.INDEXED_WITH_ERRORS: pb.STATE_INDEXED_WITH_ERRORS,
    State.UNCHANGED: pb.STATE_UNCHANGED,
    State.FAILED: pb.STATE_FAILED,
    State.DELETED: pb.STATE_DELETED,
    State.SUPERSEDED: pb.STATE_SUPERSEDED,
}
_STATES = {int(number): state for state, number in _STATE_NUMBERS.items()}


def encode_status(value: StatusEvent) -> bytes:
    """To the bytes of a record on ``status``."""
    message = pb.StatusEvent(
        revision=value.revision,
        stage=STAGE_NUMBERS[value.stage],
        state=_STATE_NUMBERS[value.state],
        error=None if value.error is None else error_to(value.error),
        attempts=value.attempts,
        chunks=value.chunks,
        tokens=value.tokens,
        failed_chunks=value.failed_chunks,
        waiting_ms=value.waiting_ms,
        working_ms=value.working_ms,
        at_ms=value.at_ms,
        lane=LANE_NUMBERS[value.lane],
    )
    write_key(value.key, message.key)
    write_arrival(value.arrival, message.arrival)
    write_metadata(value.metadata, message.metadata)
    output = value.output
    if output is not None:
        message.output.topic = output.topic
        message.output.partition = output.partition
        message.output.last_offset = output.last_offset
    return message.SerializeToString()


def decode_status(data: bytes | None) -> StatusEvent:
    """From the bytes of a record on ``status``.

    Raises:
        Unreadable: see ``bounds``.
    """
    message = parse(pb.StatusEvent, data)
    _check_subject(message)
    for field in (
        "attempts",
        "chunks",
        "tokens",
        "failed_chunks",
        "waiting_ms",
        "working_ms",
        "at_ms",
    ):
        check_count(getattr(message, field), field)
    return StatusEvent(
        key=key_from(message.key),
        revision=message.revision,
        arrival=arrival_from(message.arrival),
        stage=known(STAGES, message.stage, "stage"),
        state=known(_STATES, message.state, "state"),
        error=error_from(message.error) if message.HasField("error") else None,
        attempts=message.attempts,
        chunks=message.chunks,
        tokens=message.tokens,
        failed_chunks=message.failed_chunks,
        waiting_ms=message.waiting_ms,
        working_ms=message.working_ms,
        output=_output_from(message.output) if message.HasField("output") else None,
        at_ms=message.at_ms,
        metadata=metadata_from(message.metadata),
        lane=LANES.get(message.lane, Lane.INTERACTIVE),
    )


def encode_heartbeat(value: Heartbeat) -> bytes:
    """To the bytes of a record on ``heartbeats``."""
    return pb.Heartbeat(
        key=key_to(value.key),
        revision=value.revision,
        arrival=arrival_to(value.arrival),
        stage=STAGE_NUMBERS[value.stage],
        worker=clip(value.worker, MAX_WORKER_BYTES),
        started_at_ms=value.started_at_ms,
        at_ms=value.at_ms,
    ).SerializeToString()


def decode_heartbeat(data: bytes | None) -> Heartbeat:
    """From the bytes of a record on ``heartbeats``.

    Raises:
        Unreadable: see ``bounds``.
    """
    message = parse(pb.Heartbeat, data)
    _check_subject(message)
    check_text(message.worker, MAX_WORKER_BYTES, "worker")
    check_count(message.started_at_ms, "started_at_ms")
    check_count(message.at_ms, "at_ms")
    return Heartbeat(
        key=key_from(message.key),
        revision=message.revision,
        arrival=arrival_from(message.arrival),
        stage=known(STAGES, message.stage, "stage"),
        worker=message.worker,
        started_at_ms=message.started_at_ms,
        at_ms=message.at_ms,
    )


def error_to(error: StatusError) -> pb.StatusError:
    """To Protobuf, cut to its bounds: other people's errors are of any length."""
    return pb.StatusError(
        code=clip(error.code, MAX_CODE_BYTES),
        message=clip(error.message, KIB),
        advice=clip(error.advice, MAX_ADVICE_BYTES),
        retryable=error.retryable,
    )


def error_from(message: pb.StatusError) -> StatusError:
    """From Protobuf."""
    if not message.code:
        raise missing("error.code")
    check_text(message.code, MAX_CODE_BYTES, "error.code")
    check_text(message.message, KIB, "error.message")
    check_text(message.advice, MAX_ADVICE_BYTES, "error.advice")
    return StatusError(message.code, message.message, message.advice, message.retryable)


def _output_from(message: pb.OutputPosition) -> OutputPosition:
    check_count(message.partition, "output.partition")
    check_count(message.last_offset, "output.last_offset")
    return OutputPosition(message.topic, message.partition, message.last_offset)


def _check_subject(message: pb.StatusEvent | pb.Heartbeat) -> None:
    for field in ("key", "arrival"):
        if not message.HasField(field):
            raise missing(field)
    check_count(message.revision, "revision")
