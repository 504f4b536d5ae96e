"""Original records of dead letters, as people and programs can read them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from headrace.handler import Record
from headrace.messages import (
    ChunkSlice,
    DeadLetter,
    DocumentEvent,
    EmbeddedSlice,
    LoadedText,
    Stage,
)
from headrace.wire import (
    decode_chunk_slice,
    decode_embedded_slice,
    decode_event,
    decode_loaded_text,
)

Message = DocumentEvent | LoadedText | ChunkSlice | EmbeddedSlice

_DECODERS: Mapping[Stage, Callable[[Record], Message]] = {
    Stage.LOADER: decode_event,
    Stage.CHUNKER: lambda record: decode_loaded_text(record.value),
    Stage.EMBEDDER: lambda record: decode_chunk_slice(record.value),
    Stage.INDEXER: lambda record: decode_embedded_slice(record.value),
}


def decoded(letter: DeadLetter, value: bytes | None) -> dict[str, Any] | None:
    """The record's message; ``None`` where it is none of the contract."""
    record = Record(
        topic=letter.origin_topic,
        partition=letter.origin_partition,
        offset=letter.origin_offset,
        timestamp_ms=letter.origin_timestamp_ms,
        key=letter.original_key,
        value=value,
        headers=letter.original_headers,
    )
    try:
        message = _DECODERS[letter.stage](record)
    except Exception:  # noqa: BLE001  a fault of the reader may be why it is here
        return None
    fields: dict[str, Any] = _plain(asdict(message))
    return fields


def _plain(value: Any) -> Any:
    """Without what is empty; bytes as text where they are some, else their number."""
    if isinstance(value, dict):
        shown = {name: _plain(each) for name, each in value.items()}
        return {name: each for name, each in shown.items() if each not in _EMPTY}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, bytes):
        return _text(value)
    return value


_EMPTY: tuple[Any, ...] = (None, "", [], {})


def _text(value: bytes) -> str:
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return f"<{len(value)} bytes>"
    readable = all(each.isprintable() or each.isspace() for each in text)
    return text if readable else f"<{len(value)} bytes>"
