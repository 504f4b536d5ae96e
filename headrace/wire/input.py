"""What producers may put on ``documents``, read into one kind of event.

Formats are told apart in this order: the ``content-type`` header (in its binary mode
CloudEvents uses it for the data), CloudEvents headers, the first byte (``{`` is JSON),
else Protobuf. A null or empty value under a valid record key is a delete.

Nothing but ``Unreadable`` is ever raised, whatever the bytes. Beside the codes of
``bounds``:

===========================  ===========================================================
code                         what it means
===========================  ===========================================================
``missing_id``               neither event nor record key names the document
``missing_collection``       ... the collection
``invalid_key``              the tenant or the document id breaks its bound
``invalid_collection``       the collection breaks its bound
``missing_source``           an upsert without a document
``ambiguous_source``         an upsert with more than one
``source_on_delete``         a delete with one
``blocked_url``              a URI of a scheme that is never fetched
``malformed_json``           no JSON object
``unknown_event_type``       a CloudEvents type that asks for nothing we know
``conflicting_operation``    CloudEvents type and data ask for different things
``invalid_header``           a header that is no text
``unsupported_content_type`` a content type that is none of the formats
``unsupported_version``      a version of the contract or of CloudEvents not known here
===========================  ===========================================================
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from headrace.errors import Unreadable
from headrace.handler import Record
from headrace.messages import DocumentEvent, Operation
from headrace.wire.cloud_events import (
    Data,
    draft_from_cloud_event,
    from_structured,
)
from headrace.wire.drafts import Draft, finish, key_of
from headrace.wire.events import draft_from_protobuf
from headrace.wire.json_events import draft_from_json

_CLOUD_EVENTS = "application/cloudevents"
_JSON = ("application/json", "text/json")
_PROTOBUF = (
    "application/protobuf",
    "application/x-protobuf",
    "application/vnd.google.protobuf",
)
_SAYS_NOTHING = ("", "application/octet-stream", "binary/octet-stream")
_MESSAGE_TYPE = re.compile(r"messagetype\s*=\s*\"?([\w.]+)", re.IGNORECASE)
_OWN_MESSAGE = "headrace.v1.DocumentEvent"


def decode_event(record: Record) -> DocumentEvent:
    """The event in a record of a ``documents`` topic.

    Raises:
        Unreadable: always that, whatever is wrong with key, value and headers.
    """
    headers = _text_headers(record)
    content_type = headers.get("content-type", "").strip()
    media_type = _media_type(content_type)
    value = record.value
    if "ce_specversion" in headers:
        attributes = {
            name.removeprefix("ce_"): text
            for name, text in headers.items()
            if name.startswith("ce_")
        }
        draft = _from_cloud_event(attributes, value, content_type)
    elif not value:
        draft = _tombstone(record.key)
    elif media_type == f"{_CLOUD_EVENTS}+json":
        attributes, data, content_type = from_structured(value)
        draft = _from_cloud_event(attributes, data, content_type)
    else:
        found = _read_event(content_type, value)
        if found is None and media_type not in _SAYS_NOTHING:
            raise Unreadable(
                "unsupported_content_type",
                f"content-type {content_type[:100]!r} is no format of events",
                advice="Send application/protobuf or application/json; the type of "
                "the document itself belongs in media_type.",
            )
        if found is None:
            found = _sniff(value)
        draft = found
    return finish(draft, record.key)


def needs_rekey(record: Record, event: DocumentEvent) -> bool:
    """Whether the record must be published again under its document's own key."""
    return record.key != event.key.record_key


def _tombstone(record_key: bytes | None) -> Draft:
    if key_of(record_key) is not None:
        return Draft(operation=Operation.DELETE)
    if record_key:
        raise Unreadable(
            "invalid_key",
            "the value is empty, and the record's key names no document to delete",
            advice="A delete without a value needs the key tenant/collection/document "
            "id, each part percent-encoded.",
        )
    raise Unreadable(
        "empty_value",
        "the record has neither a value nor a key",
        advice="Send an event, or the key of the document to delete.",
    )


def _sniff(value: bytes) -> Draft:
    if value[:1] == b"{":
        return draft_from_json(value)
    # JSON in a schema registry's frame: 0 and four bytes of schema id come first.
    if value[:1] == b"\0" and value[5:6] == b"{":
        return draft_from_json(value[5:])
    return draft_from_protobuf(value)


def _read_event(content_type: str, value: bytes) -> Draft | None:
    """Bytes of a type that events have; ``None`` for any other type."""
    media_type = _media_type(content_type)
    if media_type in _JSON:
        framed = value[:1] == b"\0" and value[5:6] == b"{"
        return draft_from_json(value[5:] if framed else value)
    if media_type in _PROTOBUF:
        _check_message_type(content_type)
        return draft_from_protobuf(value)
    if media_type.startswith(_CLOUD_EVENTS):
        raise Unreadable(
            "unsupported_content_type",
            f"{media_type[:100]!r} is not taken here",
            advice="Send single CloudEvents in JSON, or in binary mode.",
        )
    return None


def _check_message_type(content_type: str) -> None:
    named = _MESSAGE_TYPE.search(content_type)
    if named is None or named[1] == _OWN_MESSAGE:
        return
    package, _, name = named[1].rpartition(".")
    newer = package.startswith("headrace.v") and name == "DocumentEvent"
    raise Unreadable(
        "unsupported_version" if newer else "wrong_message_type",
        f"content-type names {named[1][:100]}; this topic carries {_OWN_MESSAGE}",
        advice="Send that, or upgrade Headrace first where yours is newer.",
    )


def _from_cloud_event(
    attributes: Mapping[str, str], data: Data, content_type: str
) -> Draft:
    # A type that says nothing must not be stored as the document's own.
    known = "" if _media_type(content_type) in _SAYS_NOTHING else content_type
    return draft_from_cloud_event(
        attributes, data, content_type=known, read_event=_read_event
    )


def _media_type(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()


def _text_headers(record: Record) -> dict[str, str]:
    """The headers that decide how the value is read, by lower-case name; last wins."""
    headers: dict[str, str] = {}
    for name, value in record.headers:
        lower = name.lower()
        if lower != "content-type" and not lower.startswith("ce_"):
            continue
        try:
            headers[lower] = (value or b"").decode()
        except UnicodeDecodeError as error:
            raise Unreadable(
                "invalid_header",
                f"the header {name[:100]!r} is not UTF-8",
                advice="Send header values as UTF-8.",
            ) from error
    return headers
