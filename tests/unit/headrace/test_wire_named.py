from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.dead_letters import subject_of
from headrace.errors import Unreadable
from headrace.handler import Record
from headrace.identity import Arrival, DocumentKey
from headrace.messages import DocumentEvent, Stage
from headrace.v1 import document_event_pb2 as pb
from headrace.wire import decode_event, encode_event, encode_loaded_text
from headrace.wire.named import named_document
from tests.support import strategies

KEY = DocumentKey("default", "letters", "a/b")
Headers = tuple[tuple[str, bytes], ...]


def record(value: bytes | None, key: bytes | None = None, headers: Any = ()) -> Record:
    return Record("headrace.documents.v1", 1, 2, 3, key, value, tuple(headers), "id")


def in_json(**members: object) -> bytes:
    return json.dumps(members).encode()


def unreadable(read: Record) -> DocumentKey | None:
    with pytest.raises(Unreadable):
        decode_event(read)
    return named_document(read)


ID = {"collection": "letters", "id": "a/b"}
STRUCTURED = (("content-type", b"application/cloudevents+json"),)
BINARY = (
    ("ce_specversion", b"1.0"),
    ("ce_type", b"io.headrace.document.upsert"),
    ("CE_subject", b"a/b"),
    ("ce_collection", b"letters"),
)


@pytest.mark.parametrize(
    "value",
    [
        in_json(**ID, text=7),
        in_json(**ID, lane="slow", text="x"),
        in_json(**ID),
        in_json(**ID, operation="delete", text="x"),
        in_json(**ID, tenant=5, text="x"),
        in_json(**ID, text="x", attributes={"a": "b" * 5000}),
        b"\0\0\0\0\7" + in_json(**ID, source_version="one", text="x"),
        pb.DocumentEvent(
            key={"collection": "letters", "document_id": "a/b"}, operation=9
        ).SerializeToString(),
        pb.DocumentEvent(
            key={"collection": "letters", "document_id": "a/b"}, uri="gopher:x"
        ).SerializeToString(),
    ],
)
def test_a_bad_field_hides_no_id(value: bytes) -> None:
    assert unreadable(record(value, b"some other key")) == KEY


@pytest.mark.parametrize(
    ("value", "headers"),
    [
        (b"\x08\x01", (*BINARY, ("content-type", b"application/json"))),
        (None, (*BINARY, ("ce_lane", b"slow"))),
        (in_json(specversion="0.3", subject="a/b", collection="letters"), STRUCTURED),
        (
            in_json(
                specversion="1.0",
                type="of.mine",
                subject="of the envelope",
                collection="letters",
                data={"id": "a/b", "text": 1},
            ),
            STRUCTURED,
        ),
    ],
)
def test_cloud_events_name_it_too(value: bytes | None, headers: Headers) -> None:
    assert unreadable(record(value, headers=headers)) == KEY


@pytest.mark.parametrize(
    ("value", "key", "named"),
    [
        (b"\xff\xfe", KEY.record_key, KEY),
        (b"\xff\xfe", b"default/letters/a%2fb", KEY),
        (b"{", KEY.record_key, KEY),
        (b"\xff\xfe", b"no key of ours", None),
        (b"\xff\xfe", None, None),
        (in_json(text="nobody's"), None, None),
        (in_json(id="x" * 2000, collection="letters"), None, None),
        (in_json(id="a/b", collection="le tters"), None, None),
        (in_json(id="a\ud800", collection="letters"), KEY.record_key, KEY),
        (in_json(id=["a/b"], collection="letters"), KEY.record_key, KEY),
    ],
)
def test_else_the_key_does_or_nothing(
    value: bytes, key: bytes | None, named: DocumentKey | None
) -> None:
    assert unreadable(record(value, key)) == named


@given(strategies.loaded_texts())
def test_another_message_names_nobody(text: Any) -> None:
    assert named_document(record(encode_loaded_text(text))) is None


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
odd_members = st.dictionaries(
    st.sampled_from(["id", "document_id", "collection", "tenant", "data", "subject"])
    | st.just("specversion"),
    json_values | st.just("\ud800"),
)


@given(
    st.binary() | odd_members.map(lambda members: json.dumps(members).encode()),
    st.none() | st.binary(),
    st.lists(
        st.tuples(st.sampled_from(["ce_subject", "ce_tenant", "x"]), st.binary()),
        max_size=3,
    ),
)
def test_nothing_makes_it_raise(
    value: bytes, key: bytes | None, headers: list[tuple[str, bytes]]
) -> None:
    found = named_document(record(value, key, headers))
    if found is not None:
        found.validate()
        assert found.record_key


@given(strategies.document_events())
def test_it_agrees_with_what_can_be_read(event: DocumentEvent) -> None:
    read = record(encode_event(event))
    assert named_document(read) == decode_event(read).key


def test_a_letter_of_an_unreadable_event_knows_its_document() -> None:
    subject = subject_of(Stage.LOADER, record(in_json(**ID, text=7)))
    assert subject.key == KEY
    assert subject.arrival == Arrival(3, "id", 1, 2)
