"""The bytes of every released version go on being read as what they meant."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from headrace import wire
from headrace.handler import Record
from headrace.messages import (
    ChunkSlice,
    DeadLetter,
    DocumentEvent,
    EmbeddedSlice,
    Heartbeat,
    LoadedText,
    Pause,
    StatusEvent,
    TextPart,
)
from tests.data.golden.make import ENCODERS, FOLDER
from tests.data.golden.v1_values import VALUES


def _decode_event(data: bytes) -> DocumentEvent:
    return wire.decode_event(Record("headrace.documents.v1", 0, 0, 0, None, data))


def _decode_parts(data: bytes) -> tuple[TextPart, ...]:
    reader = wire.TextPartReader()
    parts = tuple(reader.feed(data))
    reader.close()
    return parts


DECODERS: dict[type, Callable[[bytes], Any]] = {
    DocumentEvent: _decode_event,
    LoadedText: wire.decode_loaded_text,
    ChunkSlice: wire.decode_chunk_slice,
    EmbeddedSlice: wire.decode_embedded_slice,
    StatusEvent: wire.decode_status,
    Heartbeat: wire.decode_heartbeat,
    DeadLetter: wire.decode_dead_letter,
    Pause: wire.decode_pause,
    tuple: _decode_parts,
}


def _files() -> list[Path]:
    return sorted(FOLDER.glob("*.bin"))


def test_every_value_has_its_bytes() -> None:
    assert sorted(VALUES) == [path.stem for path in _files()]


@pytest.mark.parametrize("path", _files(), ids=lambda path: path.stem)
def test_old_bytes_mean_what_they_meant(path: Path) -> None:
    value = VALUES[path.stem]

    assert value == DECODERS[type(value)](path.read_bytes())


@pytest.mark.parametrize("path", _files(), ids=lambda path: path.stem)
def test_what_is_written_today_means_the_same(path: Path) -> None:
    value = VALUES[path.stem]
    kind = type(value)

    assert value == DECODERS[kind](ENCODERS[kind](value))
