"""What producers may send, and what each kind of poison ends as."""

from __future__ import annotations

import base64
import contextlib
import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from headrace import wire
from headrace.errors import Unreadable
from headrace.handler import Headers, Record
from headrace.headers import DELETE_TYPE, UPSERT_TYPE
from headrace.identity import Arrival, DocumentKey
from headrace.messages import (
    Chunk,
    ChunkSlice,
    DeadLetter,
    DocumentEvent,
    DocumentRevision,
    Heartbeat,
    Lane,
    LoadedText,
    Metadata,
    ObjectReference,
    OnPartial,
    Operation,
    Stage,
    State,
    StatusError,
    StatusEvent,
    TextPart,
)
from headrace.v1 import document_event_pb2, document_pb2
from headrace.wire.drafts import Draft, finish
from headrace.wire.json_events import MEMBERS
from tests.support import strategies

KEY = DocumentKey("default", "docs", "a/b")
PROTOBUF = b"application/protobuf; messageType=headrace.v1.DocumentEvent"
PLAIN = DocumentEvent(KEY, inline=b"hello")


def record(
    value: bytes | None, *, key: bytes | None = None, headers: Headers = ()
) -> Record:
    return Record(
        "headrace.documents.v1", 0, 7, 1_700_000_000_000, key, value, tuple(headers)
    )


def json_event(**members: Any) -> bytes:
    return json.dumps(members).encode()


def refusal(
    value: bytes | None, *, key: bytes | None = None, headers: Headers = ()
) -> Unreadable:
    with pytest.raises(Unreadable) as refused:
        wire.decode_event(record(value, key=key, headers=headers))
    return refused.value


class TestProtobuf:
    @given(event=strategies.document_events())
    def test_comes_back_as_it_was(self, event: DocumentEvent) -> None:
        data = wire.encode_event(event)

        assert event == wire.decode_event(record(data))
        assert event == wire.decode_event(
            record(data, headers=[("content-type", PROTOBUF)])
        )

    @pytest.mark.parametrize("frame", [b"\0\0\0\0\x07\0", b"\0\0\0\0\x07\x02\0"])
    def test_a_schema_registrys_frame_is_taken_off(self, frame: bytes) -> None:
        assert wire.decode_event(record(frame + wire.encode_event(PLAIN))) == PLAIN

    def test_a_frame_of_another_message_of_the_schema_is_refused(self) -> None:
        framed = b"\0\0\0\0\x07\x02\x04" + wire.encode_event(PLAIN)

        assert refusal(framed).code == "wrong_message_type"

    def test_no_operation_is_an_upsert_and_no_tenant_is_the_default(self) -> None:
        message = document_event_pb2.DocumentEvent(
            key=document_pb2.DocumentKey(collection="docs", document_id="a/b"),
            inline=b"hello",
        )

        assert wire.decode_event(record(message.SerializeToString())) == PLAIN

    def test_an_empty_document_is_a_document(self) -> None:
        empty = DocumentEvent(KEY, inline=b"")

        assert empty == wire.decode_event(record(wire.encode_event(empty)))

    def test_fields_of_a_newer_contract_are_ignored(self) -> None:
        newer = wire.encode_event(PLAIN) + b"\x98\x06\x01"

        assert wire.decode_event(record(newer)) == PLAIN

    def test_an_unknown_lane_is_the_topics_and_an_unknown_on_partial_keeps(
        self,
    ) -> None:
        lane_77_on_partial_77 = b"\x40\x4d\x48\x4d"
        event = wire.decode_event(
            record(wire.encode_event(PLAIN) + lane_77_on_partial_77)
        )

        assert (event.lane, event.on_partial) == (None, OnPartial.KEEP_OLD)


class TestJson:
    def test_every_member(self) -> None:
        value = json_event(
            tenant="acme",
            collection="docs",
            id="a/b",
            operation="upsert",
            source_version=7,
            text="grüße",
            name="A title",
            media_type="text/markdown",
            user_id="u",
            session_id="s",
            import_job="j",
            attributes={"team": "blue"},
            lane="bulk",
            on_partial="publish",
        )
        expected = DocumentEvent(
            key=DocumentKey("acme", "docs", "a/b"),
            source_version=7,
            inline="grüße".encode(),
            metadata=Metadata(
                name="A title",
                media_type="text/markdown",
                user_id="u",
                session_id="s",
                import_job="j",
                attributes={"team": "blue"},
            ),
            lane=Lane.BULK,
            on_partial=OnPartial.PUBLISH,
        )

        assert expected == wire.decode_event(record(value))
        assert expected == wire.decode_event(
            record(
                b"\xef\xbb\xbf  " + value,
                headers=[("Content-Type", b"application/json; charset=utf-8")],
            )
        )

    def test_the_other_sources(self) -> None:
        digest = bytes(range(32))
        base = {"collection": "docs", "document_id": "a/b"}

        assert (
            wire.decode_event(record(json_event(**base, content_base64="AP8="))).inline
        ) == b"\0\xff"
        assert (
            wire.decode_event(
                record(json_event(**base, uri="https://example.org/x"))
            ).uri
        ) == "https://example.org/x"
        assert ObjectReference("s3://b/k", 5, digest) == (
            wire.decode_event(
                record(
                    json_event(
                        **base,
                        object={"uri": "s3://b/k", "size": 5, "sha256": digest.hex()},
                    )
                )
            ).object
        )

    def test_a_delete_needs_no_source(self) -> None:
        value = json_event(collection="docs", id="a/b", operation="DELETE")

        assert DocumentEvent(KEY, Operation.DELETE) == wire.decode_event(record(value))

    def test_unknown_members_and_null_are_ignored(self) -> None:
        value = json_event(
            collection="docs", id="a/b", text="hello", uri=None, lane=None, extra=[1]
        )

        assert wire.decode_event(record(value)) == PLAIN

    def test_a_schema_registrys_frame_is_taken_off(self) -> None:
        value = b"\0\0\0\0\x07" + json_event(collection="docs", id="a/b", text="hello")

        assert wire.decode_event(record(value)) == PLAIN
        assert (
            wire.decode_event(
                record(value, headers=[("content-type", b"application/json")])
            )
            == PLAIN
        )

    @pytest.mark.parametrize(
        ("code", "value"),
        [
            ("malformed_json", b'{"collection": "docs", '),
            ("malformed_json", b'{"id": "a", "id": "b"}'),
            ("malformed_json", b'{"source_version": NaN}'),
            ("malformed_json", b'{"source_version": ' + b"9" * 5000 + b"}"),
            ("malformed_json", b'{"a":' * 200_000),
            ("invalid_utf8", b'{"id": "\xff"}'),
            ("invalid_utf8", b'{"id": "\\ud800", "collection": "c", "text": ""}'),
            ("invalid_utf8", b'{"id": "x", "collection": "c", "text": "\\udc00"}'),
            ("missing_id", json_event(collection="docs", text="x")),
            ("missing_collection", json_event(id="a", text="x")),
            ("missing_source", json_event(collection="docs", id="a")),
            ("ambiguous_source", json_event(text="x", uri="http://x")),
            (
                "source_on_delete",
                json_event(collection="c", id="a", operation="delete", text="x"),
            ),
            ("invalid_collection", json_event(collection="a b", id="a", text="x")),
            ("invalid_key", json_event(collection="c", id="a" * 1025, text="x")),
            ("unknown_enum", json_event(operation="truncate")),
            ("unknown_enum", json_event(lane="fast")),
            ("invalid_field", json_event(id=5)),
            ("invalid_field", json_event(id="a", document_id="b")),
            ("invalid_field", json_event(source_version="7")),
            ("invalid_field", json_event(source_version=True)),
            ("invalid_field", json_event(source_version=7.0)),
            ("invalid_field", json_event(source_version=2**63)),
            ("invalid_field", json_event(text=["x"])),
            ("invalid_field", json_event(content_base64="%%%")),
            ("invalid_field", json_event(attributes={"n": 1})),
            ("invalid_field", json_event(object="s3://b/k")),
            ("invalid_field", json_event(object={"uri": "k", "sha256": "xyz"})),
            (
                "negative_number",
                json_event(collection="c", id="a", object={"uri": "k", "size": -1}),
            ),
            ("blocked_url", json_event(collection="c", id="a", uri="gopher://x")),
            ("blocked_url", json_event(collection="c", id="a", uri="")),
            ("too_long", json_event(collection="c", id="a", text="", name="n" * 1025)),
            ("too_large", json_event(collection="c", id="a", text="x" * 524_289)),
            (
                "too_many",
                json_event(
                    collection="c",
                    id="a",
                    text="",
                    attributes={str(n): "" for n in range(65)},
                ),
            ),
        ],
    )
    def test_a_wrong_member_is_refused(self, code: str, value: bytes) -> None:
        assert code == refusal(value).code

    def test_json_that_is_no_object_is_refused(self) -> None:
        headers = [("content-type", b"application/json")]

        assert refusal(b"[1]", headers=headers).code == "malformed_json"


class TestRecordKey:
    def test_an_empty_value_under_a_documents_key_deletes_it(self) -> None:
        delete = DocumentEvent(KEY, Operation.DELETE)

        assert delete == wire.decode_event(record(None, key=KEY.record_key))
        assert delete == wire.decode_event(record(b"", key=KEY.record_key))

    @pytest.mark.parametrize("key", [b"default/docs/a%2fb", b"default/d%6Fcs/a%2Fb"])
    def test_other_encoders_keys_are_understood_and_published_again(
        self, key: bytes
    ) -> None:
        sent = record(None, key=key)
        event = wire.decode_event(sent)

        assert event.key == KEY
        assert wire.needs_rekey(sent, event)

    @pytest.mark.parametrize(
        "key",
        [b"x", b"a/b", b"a/b/c/d", b"a/b/", b"a/b/%zz", b"a/b/\xff", b"a/b/%ff"],
    )
    def test_an_empty_value_under_any_other_key_is_refused(self, key: bytes) -> None:
        assert refusal(None, key=key).code == "invalid_key"

    def test_fills_what_the_event_left_open(self) -> None:
        key = DocumentKey("acme", "docs", "a/b")
        for members in ({}, {"id": "a/b"}, {"collection": "docs"}, {"tenant": "acme"}):
            event = wire.decode_event(
                record(json_event(text="x", **members), key=key.record_key)
            )
            assert key == event.key

    def test_of_another_document_fills_nothing(self) -> None:
        other = DocumentKey("acme", "docs", "other").record_key
        sent = record(json_event(collection="docs", id="a/b", text="hello"), key=other)

        assert wire.decode_event(sent) == PLAIN
        assert refusal(json_event(id="a/b", text="x"), key=other).code == (
            "missing_collection"
        )

    @given(event=strategies.document_events())
    def test_its_own_key_needs_no_publishing_again_and_none_does(
        self, event: DocumentEvent
    ) -> None:
        data = wire.encode_event(event)

        assert not wire.needs_rekey(record(data, key=event.key.record_key), event)
        assert wire.needs_rekey(record(data), event)
        assert wire.needs_rekey(record(data, key=b"mine"), event)


def cloud_headers(
    event_type: str = UPSERT_TYPE, **attributes: str
) -> list[tuple[str, bytes]]:
    headers = {"specversion": "1.0", "id": "1", "source": "/tests", "type": event_type}
    return [(f"ce_{k}", v.encode()) for k, v in (headers | attributes).items()]


class TestCloudEvents:
    def test_binary_mode_with_the_document_as_data(self) -> None:
        headers = [
            *cloud_headers(
                subject="a/b",
                collection="docs",
                tenant="acme",
                lane="bulk",
                sourceversion="-7",
                onpartial="publish",
            ),
            ("content-type", b"text/markdown; charset=utf-8"),
        ]

        assert DocumentEvent(
            key=DocumentKey("acme", "docs", "a/b"),
            source_version=-7,
            inline=b"# Title",
            metadata=Metadata(media_type="text/markdown; charset=utf-8"),
            lane=Lane.BULK,
            on_partial=OnPartial.PUBLISH,
        ) == wire.decode_event(record(b"# Title", headers=headers))

    def test_binary_mode_with_an_event_as_data(self) -> None:
        as_json = json_event(text="hello")
        as_protobuf = document_event_pb2.DocumentEvent(inline=b"hello")
        attributes = cloud_headers(subject="a/b", collection="docs")

        for content_type, data in (
            (b"application/json", as_json),
            (PROTOBUF, as_protobuf.SerializeToString()),
        ):
            assert (
                wire.decode_event(
                    record(data, headers=[*attributes, ("content-type", content_type)])
                )
                == PLAIN
            )

    def test_what_the_data_says_comes_first(self) -> None:
        data = json_event(collection="docs", id="a/b", text="hello", lane="bulk")
        headers = [
            *cloud_headers("com.example.saved", subject="other", lane="interactive"),
            ("content-type", b"application/json"),
        ]
        event = wire.decode_event(record(data, headers=headers))

        assert (event.key, event.lane) == (KEY, Lane.BULK)

    @pytest.mark.parametrize("value", [None, b""])
    def test_a_delete_in_binary_mode(self, value: bytes | None) -> None:
        headers = cloud_headers(DELETE_TYPE, subject="a/b", collection="docs")

        assert DocumentEvent(KEY, Operation.DELETE) == wire.decode_event(
            record(value, headers=headers)
        )

    @pytest.mark.parametrize("value", [None, b""])
    def test_an_upsert_of_nothing_never_deletes(self, value: bytes | None) -> None:
        refused = refusal(value, key=KEY.record_key, headers=cloud_headers())

        assert refused.code == "missing_source"

    @pytest.mark.parametrize(
        ("members", "expected"),
        [
            ({"data": {"text": "hello"}}, Metadata()),
            (
                {"data": "hello", "datacontenttype": "text/plain"},
                Metadata(media_type="text/plain"),
            ),
            (
                {"data_base64": "aGVsbG8=", "datacontenttype": "text/plain"},
                Metadata(media_type="text/plain"),
            ),
            (
                {
                    "data_base64": "aGVsbG8=",
                    "datacontenttype": "application/octet-stream",
                },
                Metadata(),
            ),
            (
                {
                    "data_base64": base64.b64encode(wire.encode_event(PLAIN)).decode(),
                    "datacontenttype": PROTOBUF.decode(),
                },
                Metadata(),
            ),
        ],
    )
    def test_structured_mode(self, members: dict[str, Any], expected: Metadata) -> None:
        value = json_event(
            specversion="1.0",
            id="1",
            source="/tests",
            type=UPSERT_TYPE,
            subject="a/b",
            collection="docs",
            sourceversion=7,
            **members,
        )
        event = wire.decode_event(
            record(value, headers=[("content-type", b"application/cloudevents+json")])
        )

        assert (KEY, b"hello", expected) == (event.key, event.inline, event.metadata)
        assert event.source_version == 7

    def test_structured_delete(self) -> None:
        value = json_event(
            specversion="1.0", type=DELETE_TYPE, subject="a/b", collection="docs"
        )

        assert DocumentEvent(KEY, Operation.DELETE) == wire.decode_event(
            record(value, headers=[("content-type", b"application/cloudevents+json")])
        )

    @pytest.mark.parametrize(
        ("code", "headers", "value"),
        [
            ("unknown_event_type", cloud_headers("com.example.saved"), b"text"),
            ("unknown_event_type", cloud_headers("io.headrace.other"), b"text"),
            ("unsupported_version", cloud_headers(specversion="2.0"), b"text"),
            ("invalid_header", [("ce_specversion", b"\xff")], b"text"),
            ("missing_id", cloud_headers(collection="docs"), b"text"),
            ("missing_collection", cloud_headers(subject="a"), b"text"),
            (
                "source_on_delete",
                cloud_headers(DELETE_TYPE, collection="docs", subject="a"),
                b"text",
            ),
            (
                "conflicting_operation",
                [*cloud_headers(DELETE_TYPE), ("content-type", b"application/json")],
                json_event(operation="upsert"),
            ),
            ("invalid_field", cloud_headers(sourceversion="x"), b"text"),
            ("invalid_field", cloud_headers(sourceversion="9" * 19), b"text"),
            ("unknown_enum", cloud_headers(lane="fast"), b"text"),
        ],
    )
    def test_a_wrong_attribute_is_refused(
        self, code: str, headers: Headers, value: bytes
    ) -> None:
        assert code == refusal(value, headers=headers).code

    @pytest.mark.parametrize(
        ("code", "members"),
        [
            ("unsupported_version", {}),
            ("invalid_field", {"specversion": "1.0", "data": [1]}),
            ("invalid_field", {"specversion": "1.0", "data": "text"}),
            ("invalid_field", {"specversion": "1.0", "data": {}, "data_base64": ""}),
            ("invalid_field", {"specversion": "1.0", "data_base64": 7}),
        ],
    )
    def test_wrong_data_in_structured_mode_is_refused(
        self, code: str, members: dict[str, Any]
    ) -> None:
        headers = [("content-type", b"application/cloudevents+json")]

        assert code == refusal(json_event(**members), headers=headers).code

    @pytest.mark.parametrize(
        "content_type",
        [
            b"application/cloudevents-batch+json",
            b"application/cloudevents+protobuf",
            b"application/avro",
            b"text/plain",
        ],
    )
    def test_other_content_types_are_refused(self, content_type: bytes) -> None:
        refused = refusal(b"[]", headers=[("content-type", content_type)])

        assert refused.code == "unsupported_content_type"


DOCUMENT = DocumentRevision(
    key=KEY,
    revision=1_700_000_000_000,
    fingerprint="0123456789ab-0123456789ab-0123456789ab",
    content_hash=b"h" * 32,
    arrival=Arrival(1_700_000_000_000, "headrace.documents.v1", 3, 42),
)


class TestPoison:
    """Row 28: each kind of poison has a code of its own that says what to do."""

    @pytest.mark.parametrize(
        ("code", "value", "headers"),
        [
            pytest.param("empty_value", b"", [], id="empty value without a key"),
            pytest.param("empty_value", None, [], id="null value without a key"),
            pytest.param(
                "malformed_protobuf", b"\xff\xfe\xfd\xfc", [], id="random bytes"
            ),
            pytest.param(
                "malformed_protobuf",
                wire.encode_event(PLAIN)[:-3],
                [],
                id="truncated protobuf",
            ),
            pytest.param(
                "unknown_enum",
                wire.encode_event(PLAIN) + b"\x10\x4d",
                [],
                id="unknown enum",
            ),
            pytest.param(
                "invalid_utf8", b"\x0a\x04\x0a\x02\xff\xfe", [], id="invalid UTF-8"
            ),
            pytest.param(
                "missing_source",
                wire.encode_event(DocumentEvent(KEY)),
                [],
                id="missing required",
            ),
            pytest.param(
                "negative_number",
                wire.encode_event(
                    DocumentEvent(KEY, object=ObjectReference("k", size=-1))
                ),
                [],
                id="negative size",
            ),
            pytest.param(
                "unsupported_version",
                b"\x0a\x01",
                [
                    (
                        "content-type",
                        b"application/protobuf; messageType=headrace.v2.DocumentEvent",
                    )
                ],
                id="future version",
            ),
            pytest.param(
                "missing_id",
                json_event(collection="docs", text="x"),
                [],
                id="null key and no id",
            ),
            pytest.param(
                "wrong_message_type",
                b"\x0a\x01",
                [
                    (
                        "content-type",
                        b"application/protobuf; messageType=headrace.v1.LoadedText",
                    )
                ],
                id="wrong message type by header",
            ),
        ],
    )
    def test_has_a_code_of_its_own(
        self, code: str, value: bytes | None, headers: Headers
    ) -> None:
        refused = refusal(value, headers=headers)

        assert code == refused.code
        assert refused.message
        assert refused.advice
        assert not refused.retryable

    @pytest.mark.parametrize(
        "value",
        [
            wire.encode_chunk_slice(ChunkSlice(DOCUMENT, 0, (Chunk(0, "x", 1, 0, 1),))),
            wire.encode_loaded_text(LoadedText(DOCUMENT, (TextPart("x"),))),
            wire.encode_status(
                StatusEvent(KEY, 1, DOCUMENT.arrival, Stage.LOADER, State.INDEXED)
            ),
            wire.encode_heartbeat(
                Heartbeat(KEY, 1, DOCUMENT.arrival, Stage.LOADER, "w", 1, 2)
            ),
            wire.encode_dead_letter(
                DeadLetter(Stage.LOADER, StatusError("c"), 1, "t", 0, 0, 0)
            ),
            b"\x98\x06\x01",
        ],
        ids=["slice", "text", "status", "heartbeat", "letter", "unknown field only"],
    )
    def test_another_protobuf_message_is_noticed(self, value: bytes) -> None:
        for key in (None, KEY.record_key):
            assert refusal(value, key=key).code == "wrong_message_type"

    @given(
        value=st.none() | st.binary(max_size=80),
        key=st.none() | st.binary(max_size=20) | st.just(KEY.record_key),
        headers=st.lists(
            st.tuples(
                st.sampled_from(
                    [
                        "content-type",
                        "ce_specversion",
                        "ce_type",
                        "ce_subject",
                        "ce_sourceversion",
                        "ce_lane",
                        "headrace-arrival",
                    ]
                )
                | st.text(max_size=10),
                st.binary(max_size=20)
                | st.sampled_from(
                    [
                        b"application/json",
                        b"application/cloudevents+json",
                        PROTOBUF,
                        b"1.0",
                        UPSERT_TYPE.encode(),
                        DELETE_TYPE.encode(),
                    ]
                ),
            ),
            max_size=5,
        ),
    )
    @settings(max_examples=200)
    @example(value=b"\0", key=None, headers=[])
    @example(value=b"{", key=b"\xff", headers=[])
    def test_nothing_raises_anything_but_unreadable(
        self, value: bytes | None, key: bytes | None, headers: list[tuple[str, bytes]]
    ) -> None:
        with contextlib.suppress(Unreadable):
            event = wire.decode_event(record(value, key=key, headers=headers))
            # Whatever was understood must be one the next stages can read.
            assert event == wire.decode_event(record(wire.encode_event(event)))

    _JSON = st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.text(max_size=5), inner, max_size=3)
        ),
        max_leaves=6,
    )
    _MEMBERS = st.sampled_from(
        [
            *MEMBERS,
            "specversion",
            "type",
            "subject",
            "data",
            "data_base64",
            "datacontenttype",
            "sourceversion",
            "onpartial",
        ]
    )

    @given(
        members=st.dictionaries(
            _MEMBERS, _JSON | st.sampled_from(["1.0", UPSERT_TYPE]), max_size=8
        ),
        structured=st.booleans(),
    )
    @settings(max_examples=200)
    def test_no_json_raises_anything_but_unreadable(
        self, members: dict[str, Any], *, structured: bool
    ) -> None:
        headers = [("content-type", b"application/cloudevents+json")]
        with contextlib.suppress(Unreadable):
            wire.decode_event(
                record(
                    json_event(**members),
                    key=KEY.record_key,
                    headers=headers if structured else [],
                )
            )

    @given(event=strategies.document_events(), data=st.data())
    def test_no_damage_raises_anything_but_unreadable(
        self, event: DocumentEvent, data: st.DataObject
    ) -> None:
        intact = wire.encode_event(event)
        cut = data.draw(st.integers(0, len(intact)))
        inserted = data.draw(st.binary(max_size=6))
        with contextlib.suppress(Unreadable):
            wire.decode_event(record(intact[:cut] + inserted + intact[cut:]))


PARTS = st.text(st.characters(codec="utf-8"), max_size=3) | st.sampled_from(
    ["docs", "default", "a/b", "é ", "x" * 129, "x" * 1025, "docs__documents"]
)


@given(PARTS, PARTS, PARTS)
def test_a_record_key_in_its_usual_form_says_what_it_says_in_any_other(
    tenant: str, collection: str, document_id: str
) -> None:
    key = DocumentKey(tenant, collection, document_id)
    escaped = "/".join(
        "".join(f"%{byte:02x}" for byte in part.encode())
        for part in (tenant, collection, document_id)
    )
    draft = Draft(tenant, collection, document_id, uri="http://example.org/")

    def said(record_key: bytes) -> object:
        try:
            return finish(draft, record_key)
        except Unreadable as error:
            return error.code, error.message

    assert said(key.record_key) == said(escaped.encode())
