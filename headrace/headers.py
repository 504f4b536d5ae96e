"""Names and values of the record headers that Headrace reads and writes.

The arrival travels by header because an event is published again (re-keyed, parked,
replayed, queued again) with its value untouched. Whoever may write to a documents topic
may set it; an arrival that lies after the record's own is not believed, since revisions
are made from it and a far one would shut out every later event.
"""

from __future__ import annotations

import os
import re
from functools import lru_cache

from headrace.handler import Headers, Record
from headrace.identity import Arrival
from headrace.messages import DocumentEvent, DocumentRevision, Lane, Operation
from headrace.topology import Noun

ARRIVAL = "headrace-arrival"
CHUNKS = "headrace-chunks"
TOKENS = "headrace-tokens"
LANE = "headrace-lane"
"""Of the documents topic to which a parked event goes back."""
CONTENT_TYPE = "content-type"
RECORD_ID = "ce_id"
TRACEPARENT = "traceparent"
TRACESTATE = "tracestate"

UPSERT_TYPE = "io.headrace.document.upsert"
DELETE_TYPE = "io.headrace.document.delete"

CLOCK_SKEW_MS = 60_000
"""How far brokers' clocks may differ before an arrival counts as invented."""

_MESSAGES = {
    Noun.DOCUMENTS: "LoadedText",
    Noun.TEXTS: "ChunkSlice",
    Noun.CHUNKS: "EmbeddedSlice",
}
"""What a stage makes of a record of that noun."""

_TRACEPARENT = re.compile(
    rb"(?!ff)[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}"
)
_MAX_TOPIC_ID = 249
"""Kafka's longest topic name."""


def content_type(message: str) -> bytes:
    """The content type of one of the contract's messages; without a name, of any."""
    name = f"; messageType=headrace.v1.{message}" if message else ""
    return f"application/protobuf{name}".encode()


def arrival_of(record: Record) -> Arrival:
    """When the record's event first arrived: by header after a re-entry, else now."""
    own = Arrival(
        record.timestamp_ms,
        record.topic_id or record.topic,
        record.partition,
        record.offset,
    )
    carried = _carried_arrival(record.header(ARRIVAL))
    if carried is None or carried.append_time_ms > own.append_time_ms + CLOCK_SKEW_MS:
        return own
    return carried


def revision_of(record: Record) -> int:
    """The revision that a record of ours belongs to, told without reading its value.

    0 where its headers do not tell: it was not made by ``output_headers``.
    """
    _, _, tail = (record.header("ce_id") or b"").rpartition(b"/")[0].rpartition(b"/")
    return int(tail) if len(tail) < 19 and tail.isdigit() else 0


def count_of(value: bytes | None) -> int:
    """A count in a header; 0 for what is none: anybody may write to ``documents``.

    Kafka has null values, and reading a number of any length may fail.
    """
    plausible = value is not None and len(value) < 10 and value.isdigit()
    return int(value) if value and plausible else 0


def traceparent_of(record: Record) -> bytes:
    """The record's W3C trace context if it has a valid one, else a new one."""
    value = record.header(TRACEPARENT)
    if value is not None and _valid_traceparent(value):
        return value
    return new_traceparent()


def new_traceparent() -> bytes:
    """A new W3C trace context, sampled."""
    return f"00-{os.urandom(16).hex()}-{os.urandom(8).hex()}-01".encode()


def output_headers(
    record: Record,
    document: DocumentRevision,
    *,
    chunks: int = 0,
    tokens: int = 0,
    slice_number: int = 0,
) -> Headers:
    """Headers of what a stage made of ``record``, a CloudEvent in binary mode.

    Args:
        record: the input; its trace goes on, its topic tells the output's type.
        document: the revision that the output belongs to.
        chunks: how many chunks the output carries.
        tokens: how many tokens these have.
        slice_number: number of the output among the document's.
    """
    content_type_header, type_header = _type_headers(record.topic)
    subject = document.key.record_key
    headers = [
        content_type_header,
        (TRACEPARENT, traceparent_of(record)),
        (ARRIVAL, str(document.arrival).encode()),
        (CHUNKS, b"%d" % chunks),
        (TOKENS, b"%d" % tokens),
        ("ce_specversion", b"1.0"),
        type_header,
        ("ce_source", b"/headrace"),
        ("ce_subject", subject),
        (RECORD_ID, b"%s/%d/%d" % (subject, document.revision, slice_number)),
    ]
    if (state := record.header(TRACESTATE)) is not None:
        headers.append((TRACESTATE, state))
    return headers


def event_headers(event: DocumentEvent) -> Headers:
    """Headers of an event that we produce ourselves, with a trace of its own."""
    delete = event.operation is Operation.DELETE
    return [
        (CONTENT_TYPE, content_type("DocumentEvent")),
        (TRACEPARENT, new_traceparent()),
        ("ce_specversion", b"1.0"),
        ("ce_type", (DELETE_TYPE if delete else UPSERT_TYPE).encode()),
        ("ce_source", b"/headrace"),
        ("ce_subject", event.key.document_id.encode()),
        (RECORD_ID, os.urandom(16).hex().encode()),
    ]


def reentry_headers(record: Record) -> Headers:
    """Headers for publishing a record of ``documents`` again: its own, and arrival."""
    kept = [(name, value) for name, value in record.headers if name != ARRIVAL]
    return [*kept, (ARRIVAL, str(arrival_of(record)).encode())]


def parking_headers(record: Record, lane: Lane) -> Headers:
    """Headers for parking a record of ``documents``: as at a re-entry, and its lane."""
    kept = [(name, value) for name, value in reentry_headers(record) if name != LANE]
    return [*kept, (LANE, lane.value.encode())]


def lane_of(record: Record) -> Lane:
    """The lane that a parked record came by."""
    bulk = record.header(LANE) == Lane.BULK.value.encode()
    return Lane.BULK if bulk else Lane.INTERACTIVE


def _carried_arrival(value: bytes | None) -> Arrival | None:
    if value is None:
        return None
    try:
        arrival = Arrival.parse(value.decode("ascii"))
    except ValueError:
        return None
    # str() writes one form only; what int() takes besides is not ours.
    valid = (
        str(arrival).encode() == value
        and 0 < len(arrival.topic_id) <= _MAX_TOPIC_ID
        and 0 <= arrival.append_time_ms < 2**63
        and 0 <= arrival.partition < 2**31
        and 0 <= arrival.offset < 2**63
    )
    return arrival if valid else None


def _valid_traceparent(value: bytes) -> bool:
    match = _TRACEPARENT.fullmatch(value)
    # All zeros is how the standard writes "none".
    return match is not None and all(part.strip(b"0") for part in match.groups())


@lru_cache(maxsize=64)
def _type_headers(topic: str) -> tuple[tuple[str, bytes], tuple[str, bytes]]:
    """What says of which type is that which is made of a topic's records."""
    noun = _noun(topic)
    message = "" if noun is None else _MESSAGES.get(noun, "")
    return (
        (CONTENT_TYPE, content_type(message)),
        ("ce_type", f"io.headrace.v1.{message or 'Message'}".encode()),
    )


def _noun(topic: str) -> Noun | None:
    name = topic.removesuffix(".v1").removesuffix(".bulk").rpartition(".")[2]
    return Noun(name) if name in list(Noun) else None
