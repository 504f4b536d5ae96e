"""Records that no stage can read: every kind that the fault matrix names. Pure."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from headrace.handler import Headers, Record
from headrace.headers import CONTENT_TYPE
from headrace.topology import Noun
from headrace.v1 import chunk_pb2, document_event_pb2, loaded_text_pb2

_MESSAGES: dict[Noun, Any] = {
    Noun.DOCUMENTS: document_event_pb2.DocumentEvent,
    Noun.TEXTS: loaded_text_pb2.LoadedText,
    Noun.CHUNKS: chunk_pb2.ChunkSlice,
    Noun.VECTORS: chunk_pb2.EmbeddedSlice,
}


@dataclass(frozen=True, slots=True)
class Poison:
    """A record that must become a dead letter."""

    kind: str
    value: bytes | None
    key: bytes | None
    headers: Headers = ()


def poisons(noun: Noun, real: Record) -> Iterator[Poison]:
    """All kinds for one kind of topic, some made from a real record of it."""
    key, value = real.key, real.value or b""
    yield Poison("neither key nor value", None, None)
    yield Poison("empty, no key", b"", None)
    yield Poison("key that is none", None, b"\xff\xfe")
    if noun is not Noun.DOCUMENTS:
        # There a key without a value is a delete.
        yield Poison("null value", None, key)
        yield Poison("empty value", b"", key)
    chance = random.Random(7)
    for size in (1, 30, 3000):
        # Field 0 does not exist, so that this never is a message by accident.
        yield Poison(f"{size} random bytes", b"\x07" + chance.randbytes(size), key)
    yield Poison("truncated", value[: len(value) * 2 // 3], key)
    yield Poison("another type", _of_another_type(noun), key)
    yield Poison("text", b"hello, this is a plain text", key)
    yield Poison("no key", value[:-3], None)
    yield Poison("invalid UTF-8", value.replace(b"default", b"def\xff\xfelt"), key)
    for kind, message in _edited(noun, value):
        yield Poison(kind, message.SerializeToString(), key)
    if noun is Noun.DOCUMENTS:
        newer = b"application/protobuf; messageType=headrace.v9.DocumentEvent"
        yield Poison("future version", value, key, [(CONTENT_TYPE, newer)])
        yield Poison("unknown type", value, key, [(CONTENT_TYPE, b"image/png")])
        yield Poison("no JSON", b'{"document_id": ', key)
        yield Poison(
            "not an object", b"[1, 2]", key, [(CONTENT_TYPE, b"application/json")]
        )


def _of_another_type(noun: Noun) -> bytes:
    if noun is Noun.TEXTS:
        return chunk_pb2.Manifest(chunk_count=3, hash=b"h" * 32).SerializeToString()
    return loaded_text_pb2.TextPart(text="part").SerializeToString()


def _edited(noun: Noun, value: bytes) -> Iterator[tuple[str, Any]]:
    """A real message with one thing that breaks the contract."""

    def real() -> Any:
        message = _MESSAGES[noun]()
        message.ParseFromString(value)
        return message

    message = real()
    message.ClearField("key" if noun is Noun.DOCUMENTS else "document")
    if noun is not Noun.DOCUMENTS:
        # There the record's key says whose it is.
        yield "required field missing", message
    if noun is Noun.DOCUMENTS:
        message = real()
        message.operation = 99
        yield "unknown enum value", message
        message = real()
        message.ClearField("inline")
        yield "no source", message
        return
    message = real()
    message.document.operation = 99
    yield "unknown enum value", message
    message = real()
    message.document.revision = -5
    yield "negative revision", message
    message = real()
    message.document.content_hash = b"short"
    yield "short hash", message
    message = real()
    if noun is Noun.TEXTS:
        message.length = -1
    else:
        chunk = message.chunks[0]
        (chunk if noun is Noun.CHUNKS else chunk.chunk).number = -1
    yield "negative size", message
