"""Letters as they are shown."""

from __future__ import annotations

import json

import pytest
from headrace_cli.decoding import decoded

from headrace.messages import (
    DeadLetter,
    DocumentEvent,
    EmbeddedSlice,
    Stage,
    StatusError,
)
from headrace.wire import encode_embedded_slice, encode_event
from tests.support.documents import revision, slices


def letter(stage: Stage, **fields: object) -> DeadLetter:
    values: dict[str, object] = {
        "stage": stage,
        "error": StatusError("any"),
        "attempts": 1,
        "origin_topic": "headrace.documents.v1",
        "origin_partition": 0,
        "origin_offset": 0,
        "origin_timestamp_ms": 0,
    }
    return DeadLetter(**values | fields)  # type: ignore[arg-type]


def test_an_event_shows_its_text() -> None:
    document = revision(1)
    event = DocumentEvent(document.key, inline="Grüße".encode())

    shown = decoded(
        letter(Stage.LOADER, original_key=document.key.record_key), encode_event(event)
    )

    assert shown is not None
    assert shown["key"]["document_id"] == "moby"
    assert shown["inline"] == "Grüße"
    assert "uri" not in shown


def test_vectors_are_told_by_their_size() -> None:
    [item] = slices(revision(1), 2)
    assert isinstance(item, EmbeddedSlice)

    shown = decoded(letter(Stage.INDEXER), encode_embedded_slice(item))

    assert shown is not None
    json.dumps(shown)
    assert [each["vector"] for each in shown["chunks"]] == ["<16 bytes>"] * 2


@pytest.mark.parametrize("stage", list(Stage))
@pytest.mark.parametrize("value", [None, b"", b"\xff\xff", b"rubbish"])
def test_rubbish_is_nothing(stage: Stage, value: bytes | None) -> None:
    assert decoded(letter(stage), value) is None
