"""Headers that Headrace reads and writes."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.handler import Headers, Record
from headrace.headers import (
    ARRIVAL,
    arrival_of,
    event_headers,
    output_headers,
    reentry_headers,
    traceparent_of,
)
from headrace.identity import Arrival, DocumentKey
from headrace.messages import DocumentEvent, DocumentRevision, Operation
from headrace.wire import decode_event, encode_event
from tests.support import strategies

NOW = 1_700_000_000_000
TRACE = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
TRACEPARENT = re.compile(rb"00-[0-9a-f]{32}-[0-9a-f]{16}-01")


def record(
    headers: Headers = (), *, topic: str = "headrace.documents.v1", topic_id: str = ""
) -> Record:
    return Record(topic, 2, 7, NOW, b"k", b"v", tuple(headers), topic_id)


OWN = Arrival(NOW, "headrace.documents.v1", 2, 7)


class TestArrival:
    def test_is_the_records_own_where_it_carries_none(self) -> None:
        assert arrival_of(record()) == OWN
        assert replace(OWN, topic_id="uuid") == arrival_of(record(topic_id="uuid"))

    @given(carried=strategies.ARRIVALS, late=st.integers(-NOW, 60_000))
    def test_is_the_first_one_after_a_re_entry(
        self, carried: Arrival, late: int
    ) -> None:
        first = replace(carried, append_time_ms=NOW + late)

        assert first == arrival_of(record([(ARRIVAL, str(first).encode())]))

    @pytest.mark.parametrize(
        "invented",
        [
            b"",
            b"\xff",
            b"1/2/3",
            b"1/t/0/1/2",
            b"x/t/0/1",
            b"-1/t/0/1",
            b"1/t/-1/1",
            b"1/t/0/-1",
            b"1//0/1",
            b"+1/t/0/1",
            b"1_0/t/0/1",
            b" 1/t/0/1",
            b"01/t/0/1",
            b"1/t/2147483648/1",
            b"1/" + b"t" * 250 + b"/0/1",
            str(replace(OWN, append_time_ms=NOW + 60_001)).encode(),
        ],
    )
    def test_is_not_believed_where_no_broker_can_have_given_it(
        self, invented: bytes
    ) -> None:
        assert arrival_of(record([(ARRIVAL, invented)])) == OWN

    def test_survives_two_re_entries_with_all_other_headers(self) -> None:
        first = record([("mine", b"1")])
        second = replace(
            record(reentry_headers(first)), offset=99, timestamp_ms=NOW + 5
        )
        third = reentry_headers(second)

        assert [("mine", b"1"), (ARRIVAL, str(OWN).encode())] == third


class TestTrace:
    def test_goes_on_where_it_is_valid(self) -> None:
        assert traceparent_of(record([("traceparent", TRACE)])) == TRACE

    @pytest.mark.parametrize(
        "value",
        [
            None,
            b"",
            b"ff" + TRACE[2:],
            TRACE.upper(),
            TRACE + b"-1",
            b"00-" + b"0" * 32 + TRACE[35:],
            TRACE[:36] + b"0" * 16 + b"-01",
        ],
    )
    def test_begins_anew_where_it_is_not(self, value: bytes | None) -> None:
        headers = [] if value is None else [("traceparent", value)]
        made = traceparent_of(record(headers))

        assert TRACEPARENT.fullmatch(made)
        assert made != traceparent_of(record(headers))


@given(
    document=strategies.document_revisions(),
    chunks=st.integers(0, 64),
    tokens=st.integers(0, 10**6),
)
def test_output_is_a_cloud_event_that_keeps_trace_and_arrival(
    document: DocumentRevision, chunks: int, tokens: int
) -> None:
    source = record(
        [("traceparent", TRACE), ("tracestate", b"a=b"), ("mine", b"x")],
        topic="headrace.texts.bulk.v1",
    )
    headers = dict(
        output_headers(source, document, chunks=chunks, tokens=tokens, slice_number=3)
    )

    assert {
        "content-type": b"application/protobuf; messageType=headrace.v1.ChunkSlice",
        "traceparent": TRACE,
        "tracestate": b"a=b",
        "headrace-arrival": str(document.arrival).encode(),
        "headrace-chunks": str(chunks).encode(),
        "headrace-tokens": str(tokens).encode(),
        "ce_specversion": b"1.0",
        "ce_type": b"io.headrace.v1.ChunkSlice",
        "ce_source": b"/headrace",
        "ce_subject": document.key.record_key,
        "ce_id": document.key.record_key + f"/{document.revision}/3".encode(),
    } == headers


@pytest.mark.parametrize(
    ("topic", "message"),
    [
        ("headrace.documents.v1", b"; messageType=headrace.v1.LoadedText"),
        ("my.own.chunks.bulk.v1", b"; messageType=headrace.v1.EmbeddedSlice"),
        ("headrace.vectors.v1", b""),
        ("anything", b""),
    ],
)
def test_the_outputs_type_follows_from_the_inputs_topic(
    topic: str, message: bytes
) -> None:
    document = DocumentRevision(
        DocumentKey("default", "docs", "a"), 1, "", b"", OWN, operation=Operation.DELETE
    )
    headers = dict(output_headers(record(topic=topic), document))

    assert b"application/protobuf" + message == headers["content-type"]


@given(event=strategies.document_events())
def test_our_own_events_are_understood_with_their_headers(
    event: DocumentEvent,
) -> None:
    headers = event_headers(event)
    sent = replace(record(headers), key=None, value=encode_event(event))

    assert event == decode_event(sent)
    assert dict(headers)["ce_type"].endswith(
        b"delete" if event.operation is Operation.DELETE else b"upsert"
    )
