"""Every message survives the way to bytes and back, and broken ones are refused."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from google.protobuf.message import Message
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace import wire
from headrace.errors import Unreadable
from headrace.identity import Arrival, DocumentKey
from headrace.messages import (
    Chunk,
    ChunkSlice,
    DocumentRevision,
    EmbeddedChunk,
    EmbeddedSlice,
    Hole,
    Lane,
    Manifest,
    OnPartial,
    Operation,
    Stage,
    State,
    StatusError,
    StatusEvent,
)
from headrace.v1 import chunk_pb2, document_pb2, loaded_text_pb2, status_pb2
from tests.support import strategies

KEY = DocumentKey("default", "docs", "a/b c")
ARRIVAL = Arrival(1_700_000_000_000, "headrace.documents.v1", 3, 42)
DOCUMENT = DocumentRevision(
    key=KEY,
    revision=1_700_000_000_000,
    fingerprint="0123456789ab-0123456789ab-0123456789ab",
    content_hash=b"h" * 32,
    arrival=ARRIVAL,
)
CHUNK = Chunk(0, "text", 1, 0, 4)
SLICE = ChunkSlice(DOCUMENT, 0, (CHUNK,), Manifest(1, b"m" * 32))
STATUS = StatusEvent(KEY, 1, ARRIVAL, Stage.LOADER, State.FAILED)

MESSAGES: dict[str, tuple[st.SearchStrategy[Any], Any, Any]] = {
    "loaded_text": (
        strategies.loaded_texts(),
        wire.encode_loaded_text,
        wire.decode_loaded_text,
    ),
    "chunk_slice": (
        strategies.CHUNK_SLICES,
        wire.encode_chunk_slice,
        wire.decode_chunk_slice,
    ),
    "embedded_slice": (
        strategies.EMBEDDED_SLICES,
        wire.encode_embedded_slice,
        wire.decode_embedded_slice,
    ),
    "status": (strategies.STATUS_EVENTS, wire.encode_status, wire.decode_status),
    "heartbeat": (strategies.HEARTBEATS, wire.encode_heartbeat, wire.decode_heartbeat),
    "dead_letter": (
        strategies.dead_letters(),
        wire.encode_dead_letter,
        wire.decode_dead_letter,
    ),
    "pause": (strategies.PAUSES, wire.encode_pause, wire.decode_pause),
}
each_message = pytest.mark.parametrize("name", MESSAGES)


@each_message
@given(data=st.data())
@settings(max_examples=60)
def test_every_value_comes_back_as_it_was(name: str, data: st.DataObject) -> None:
    values, encode, decode = MESSAGES[name]
    value = data.draw(values)

    assert value == decode(encode(value))


@each_message
@given(data=st.data())
@settings(max_examples=60)
def test_damaged_bytes_raise_nothing_but_unreadable(
    name: str, data: st.DataObject
) -> None:
    values, encode, decode = MESSAGES[name]
    intact = encode(data.draw(values))
    cut = data.draw(st.integers(0, len(intact)))
    inserted = data.draw(st.binary(max_size=8))
    kept = data.draw(st.integers(cut, len(intact)))
    _returns_or_unreadable(decode, intact[:cut] + inserted + intact[kept:])


@each_message
@given(garbage=st.binary(max_size=100))
@settings(max_examples=60)
def test_random_bytes_raise_nothing_but_unreadable(name: str, garbage: bytes) -> None:
    _returns_or_unreadable(MESSAGES[name][2], garbage)


@each_message
def test_no_bytes_at_all_are_refused_with_what_to_do(name: str) -> None:
    with pytest.raises(Unreadable) as refused:
        MESSAGES[name][2](None)

    assert refused.value.code == "empty_value"
    assert refused.value.advice
    with pytest.raises(Unreadable) as empty:
        MESSAGES[name][2](b"")
    assert empty.value.code == "missing_field"


def _returns_or_unreadable(decode: Callable[[bytes], object], data: bytes) -> None:
    with contextlib.suppress(Unreadable):
        decode(data)


def _set(message: Message, field: str, number: int) -> None:
    """Give an enum a number that the generated types do not allow."""
    setattr(message, field, number)


def _slice(**changes: Any) -> ChunkSlice:
    return replace(SLICE, chunks=(replace(CHUNK, **changes),))


def _document(**changes: Any) -> ChunkSlice:
    return replace(SLICE, document=replace(DOCUMENT, **changes))


@pytest.mark.parametrize(
    ("code", "broken"),
    [
        pytest.param("negative_number", _slice(number=-1), id="chunk number"),
        pytest.param("negative_number", _slice(token_count=-1), id="tokens"),
        pytest.param("negative_number", _slice(start=-1), id="start"),
        pytest.param("negative_number", _slice(page=-1), id="page"),
        pytest.param("invalid_field", _slice(start=5, end=4), id="span backwards"),
        pytest.param("invalid_field", _slice(text=""), id="empty text"),
        pytest.param("invalid_field", _slice(text=" \n\u00a0"), id="blank text"),
        pytest.param("too_long", _slice(text="x" * 65537), id="long text"),
        pytest.param("too_long", _slice(text="é" * 32769), id="long UTF-8 text"),
        pytest.param("too_long", _slice(section="x" * 257), id="long section"),
        pytest.param("too_long", _slice(heading_path=("x" * 257,)), id="long heading"),
        pytest.param("too_many", _slice(heading_path=("",) * 17), id="headings"),
        pytest.param("too_many", replace(SLICE, chunks=(CHUNK,) * 65), id="chunks"),
        pytest.param(
            "too_large",
            replace(SLICE, chunks=(replace(CHUNK, text="x" * 60_000),) * 9),
            id="slice beyond 512 KiB",
        ),
        pytest.param(
            "negative_number", replace(SLICE, slice_number=-1), id="slice number"
        ),
        pytest.param(
            "negative_number",
            replace(SLICE, manifest=Manifest(-1, b"m" * 32)),
            id="manifest count",
        ),
        pytest.param(
            "invalid_field",
            replace(SLICE, manifest=Manifest(1, b"m")),
            id="manifest hash",
        ),
        pytest.param("invalid_field", _document(revision=0), id="revision"),
        pytest.param("invalid_field", _document(fingerprint="x"), id="fingerprint"),
        pytest.param("invalid_field", _document(content_hash=b"h"), id="content hash"),
        pytest.param(
            "invalid_field", _document(operation=Operation.DELETE), id="hash on delete"
        ),
        pytest.param(
            "missing_id", _document(key=replace(KEY, document_id="")), id="no id"
        ),
        pytest.param(
            "invalid_collection",
            _document(key=replace(KEY, collection="a/b")),
            id="collection",
        ),
        pytest.param(
            "negative_number",
            _document(arrival=replace(ARRIVAL, offset=-1)),
            id="arrival",
        ),
    ],
)
def test_a_broken_bound_of_a_slice_is_refused(code: str, broken: ChunkSlice) -> None:
    with pytest.raises(Unreadable) as refused:
        wire.decode_chunk_slice(wire.encode_chunk_slice(broken))

    assert code == refused.value.code


@pytest.mark.parametrize(
    ("code", "broken"),
    [
        ("missing_field", EmbeddedChunk(CHUNK)),
        ("invalid_field", EmbeddedChunk(CHUNK, b"")),
        ("invalid_field", EmbeddedChunk(CHUNK, b"12345")),
        ("too_large", EmbeddedChunk(CHUNK, b"1234" * 4097)),
        ("missing_field", EmbeddedChunk(CHUNK, hole=Hole(""))),
        ("negative_number", EmbeddedChunk(CHUNK, hole=Hole("x", attempts=-1))),
    ],
)
def test_a_chunk_without_a_proper_vector_or_hole_is_refused(
    code: str, broken: EmbeddedChunk
) -> None:
    data = wire.encode_embedded_slice(EmbeddedSlice(DOCUMENT, 0, (broken,)))

    with pytest.raises(Unreadable) as refused:
        wire.decode_embedded_slice(data)

    assert code == refused.value.code


def test_enums_fall_back_only_where_a_wrong_guess_is_harmless() -> None:
    message = chunk_pb2.ChunkSlice.FromString(wire.encode_chunk_slice(SLICE))
    _set(message.document, "lane", 77)
    _set(message.document, "on_partial", 77)

    document = wire.decode_chunk_slice(message.SerializeToString()).document

    assert (
        document.lane,
        document.on_partial,
    ) == (Lane.INTERACTIVE, OnPartial.KEEP_OLD)


@pytest.mark.parametrize("number", [0, 77, -1])
@pytest.mark.parametrize("field", ["stage", "state"])
def test_an_unknown_stage_or_state_is_refused(field: str, number: int) -> None:
    message = status_pb2.StatusEvent.FromString(wire.encode_status(STATUS))
    _set(message, field, number)

    with pytest.raises(Unreadable) as refused:
        wire.decode_status(message.SerializeToString())

    assert refused.value.code == "unknown_enum"


def test_an_unknown_operation_is_refused() -> None:
    message = chunk_pb2.ChunkSlice.FromString(wire.encode_chunk_slice(SLICE))
    _set(message.document, "operation", 77)

    with pytest.raises(Unreadable) as refused:
        wire.decode_chunk_slice(message.SerializeToString())

    assert refused.value.code == "unknown_enum"


def test_a_text_needs_a_body_and_a_delete_has_none() -> None:
    document = document_pb2.DocumentRevision.FromString(
        chunk_pb2.ChunkSlice.FromString(
            wire.encode_chunk_slice(SLICE)
        ).document.SerializeToString()
    )
    bodiless = loaded_text_pb2.LoadedText(document=document)
    with pytest.raises(Unreadable) as refused:
        wire.decode_loaded_text(bodiless.SerializeToString())
    assert refused.value.code == "missing_field"

    document.operation = document_pb2.OPERATION_DELETE
    document.content_hash = b""
    with_body = loaded_text_pb2.LoadedText(
        document=document, inline=loaded_text_pb2.TextParts()
    )
    with pytest.raises(Unreadable) as delete:
        wire.decode_loaded_text(with_body.SerializeToString())
    assert delete.value.code == "invalid_field"


@given(message=st.text(max_size=3000), advice=st.text(max_size=900), code=st.text("ab"))
def test_texts_of_errors_are_cut_to_what_decoding_takes(
    message: str, advice: str, code: str
) -> None:
    error = StatusError("c" + code, message, advice)
    decoded = wire.decode_status(wire.encode_status(replace(STATUS, error=error)))

    assert decoded.error is not None
    assert message.startswith(decoded.error.message)
    assert len(decoded.error.message.encode()) > 1020 or decoded.error == error


def test_half_a_surrogate_pair_in_an_error_does_not_stop_its_report() -> None:
    error = StatusError("c", "a file named \udcff")
    decoded = wire.decode_status(wire.encode_status(replace(STATUS, error=error)))

    assert decoded.error == StatusError("c", "a file named ?")


def test_fields_of_a_newer_contract_are_ignored() -> None:
    field_99_varint_1 = b"\x98\x06\x01"

    assert (
        wire.decode_chunk_slice(wire.encode_chunk_slice(SLICE) + field_99_varint_1)
        == SLICE
    )


@given(value=strategies.EMBEDDED_SLICES)
def test_joined_slices_are_what_the_library_itself_would_write(
    value: EmbeddedSlice,
) -> None:
    data = wire.encode_embedded_slice(value)
    message = chunk_pb2.EmbeddedSlice.FromString(data)

    assert len(message.SerializeToString()) == len(data)
