"""Document events as CloudEvents 1.0 over Kafka, binary and structured mode.

``type`` says what is asked for (``io.headrace.document.upsert`` or ``.delete``),
``subject`` is the document id. The extension attributes ``tenant``, ``collection``,
``lane``, ``sourceversion`` and ``onpartial`` stand for the event's fields. Data of type
JSON or Protobuf is an event itself, and what it says comes first; data of any other
type is the document.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from headrace.errors import Unreadable
from headrace.headers import DELETE_TYPE, UPSERT_TYPE
from headrace.messages import Lane, Metadata, OnPartial, Operation
from headrace.wire.drafts import Draft
from headrace.wire.json_events import (
    Members,
    choice,
    decode_base64,
    draft_from_members,
    integer_member,
    invalid_member,
    parse_object,
    text_member,
)

_OPERATIONS = {UPSERT_TYPE: Operation.UPSERT, DELETE_TYPE: Operation.DELETE}
_OWN_TYPES = "io.headrace."

_INTEGER = re.compile(r"-?[0-9]{1,19}")

Data = bytes | Members | None
"""A record's value, or a structured event's data: bytes, a JSON object, nothing."""

ReadEvent = Callable[[str, bytes], Draft | None]
"""Reads data of a content type as an event; ``None`` where it is a document."""


def from_structured(value: bytes) -> tuple[dict[str, str], Data, str]:
    """Attributes, data and the data's content type of an event in structured mode.

    Raises:
        Unreadable: no JSON object, or data of a wrong type.
    """
    members = parse_object(value)
    attributes = {
        name: text_member(members, name)
        for name, content in members.items()
        if isinstance(content, str) and name not in ("data", "data_base64")
    }
    if isinstance(members.get("sourceversion"), int):
        attributes["sourceversion"] = str(members["sourceversion"])
    content_type = attributes.get("datacontenttype", "application/json")
    data = members.get("data")
    if members.get("data_base64") is not None:
        if data is not None:
            raise invalid_member("data", "left out where data_base64 is given")
        data = decode_base64(members["data_base64"], "data_base64")
    elif isinstance(data, str):
        if "json" in content_type:
            raise invalid_member("data", "an object, as its datacontenttype is JSON")
        data = text_member(members, "data").encode()
    elif data is not None and not isinstance(data, dict):
        raise invalid_member("data", "an event (a JSON object) or a text")
    return attributes, data, content_type


def draft_from_cloud_event(
    attributes: Mapping[str, str],
    data: Data,
    *,
    content_type: str,
    read_event: ReadEvent,
) -> Draft:
    """What a CloudEvent says.

    Args:
        attributes: its context attributes by name.
        data: its data.
        content_type: the data's.
        read_event: how bytes that are an event themselves are read.

    Raises:
        Unreadable: attributes or data break the contract.
    """
    version = attributes.get("specversion", "")
    if version != "1.0":
        raise Unreadable(
            "unsupported_version",
            f"CloudEvents specversion {version[:20]!r}; only 1.0 is understood",
            advice="Send CloudEvents 1.0.",
        )
    event_type = attributes.get("type", "")
    operation = _OPERATIONS.get(event_type)
    draft = _read(data, content_type, read_event)
    # Whoever sends an event of ours inside may call the envelope what they like.
    foreign = draft is not None and not event_type.startswith(_OWN_TYPES)
    if operation is None and not foreign:
        raise Unreadable(
            "unknown_event_type",
            f"CloudEvents type {event_type[:100]!r}; {UPSERT_TYPE} and {DELETE_TYPE} "
            "are understood",
            advice="Use one of them.",
        )
    if draft is None:
        draft = Draft()
        # Bytes that are no event are the document; no bytes are no empty document.
        if isinstance(data, bytes) and data:
            draft.inline = data
            draft.metadata = Metadata(media_type=content_type)
    if operation and draft.operation and operation is not draft.operation:
        raise Unreadable(
            "conflicting_operation",
            f"the CloudEvents type asks for {operation}, its data for "
            f"{draft.operation}",
            advice="Make them agree, or leave the operation out of the data.",
        )
    draft.operation = draft.operation or operation
    _fill(draft, attributes)
    return draft


def _read(data: Data, content_type: str, read_event: ReadEvent) -> Draft | None:
    if isinstance(data, dict):
        return draft_from_members(data)
    return read_event(content_type, data) if data else None


def _fill(draft: Draft, attributes: Mapping[str, str]) -> None:
    """What the data left open."""
    draft.tenant = draft.tenant or attributes.get("tenant", "")
    draft.collection = draft.collection or attributes.get("collection", "")
    draft.document_id = draft.document_id or attributes.get("subject", "")
    draft.lane = draft.lane or choice(Lane, attributes.get("lane", ""), "lane")
    draft.on_partial = draft.on_partial or choice(
        OnPartial, attributes.get("onpartial", ""), "onpartial"
    )
    version = attributes.get("sourceversion", "")
    if draft.source_version is None and version:
        if not _INTEGER.fullmatch(version):
            raise invalid_member("sourceversion", "a whole number")
        draft.source_version = integer_member(
            {"sourceversion": int(version)}, "sourceversion"
        )
