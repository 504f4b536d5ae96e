"""Pauses, to Protobuf and back."""

from __future__ import annotations

from headrace.messages import Pause
from headrace.v1 import control_pb2 as pb
from headrace.wire.bounds import KIB, check_count, check_text, clip, missing, parse

MAX_BY_BYTES = 256


def encode_pause(value: Pause) -> bytes:
    """To the bytes of a record on ``control``; texts are cut to their bounds."""
    return pb.Pause(
        by=clip(value.by, MAX_BY_BYTES),
        reason=clip(value.reason, KIB),
        at_ms=value.at_ms,
    ).SerializeToString()


def decode_pause(data: bytes | None) -> Pause:
    """From the bytes of a record on ``control``.

    Raises:
        Unreadable: see ``bounds``.
    """
    message = parse(pb.Pause, data)
    if not message.at_ms:
        raise missing("at_ms")
    check_text(message.by, MAX_BY_BYTES, "by")
    check_text(message.reason, KIB, "reason")
    check_count(message.at_ms, "at_ms")
    return Pause(message.by, message.reason, message.at_ms)
