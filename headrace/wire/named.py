"""Which document an unreadable event is about, where it says at least that.

An event with a bad field beside a good id ends as a dead letter, and whoever waits for
its document must hear so. What is read here is only believed for that.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headrace.errors import Unreadable
from headrace.handler import Record
from headrace.identity import DocumentKey
from headrace.wire.drafts import Draft, key_for
from headrace.wire.events import key_in_protobuf
from headrace.wire.json_events import parse_object

_ATTRIBUTES = {"tenant": "tenant", "collection": "collection", "subject": "document_id"}
"""Where a CloudEvent names its document."""


def named_document(record: Record) -> DocumentKey | None:
    """The document that a record of ``documents`` names, ``None`` where it names none.

    Found as ``input`` finds it in events that can be read: what the data says comes
    before a CloudEvent's attributes, and those before the record's key.
    """
    said = _in_headers(record)
    for read in (_in_json, _in_protobuf):
        try:
            said |= read(record.value or b"")
        except Unreadable:
            continue
        break
    draft = Draft(
        tenant=said.get("tenant", ""),
        collection=said.get("collection", ""),
        document_id=said.get("document_id", ""),
    )
    try:
        return key_for(draft, record.key)
    except Unreadable:
        return None


def _in_headers(record: Record) -> dict[str, str]:
    found = {}
    for name, value in record.headers:
        part = _ATTRIBUTES.get(name.lower().removeprefix("ce_"))
        if part and name.lower().startswith("ce_"):
            found[part] = (value or b"").decode(errors="replace")
    return found


def _in_json(value: bytes) -> dict[str, str]:
    start = value.find(b"{", 0, 6)
    members = parse_object(value[max(start, 0) :])
    if "specversion" not in members:
        return _in_members(members)
    said = _texts({part: members.get(name) for name, part in _ATTRIBUTES.items()})
    data = members.get("data")
    return said | (_in_members(data) if isinstance(data, dict) else {})


def _in_members(members: Mapping[str, Any]) -> dict[str, str]:
    return _texts(
        {
            "tenant": members.get("tenant"),
            "collection": members.get("collection"),
            "document_id": members.get("document_id") or members.get("id"),
        }
    )


def _in_protobuf(value: bytes) -> dict[str, str]:
    tenant, collection, document_id = key_in_protobuf(value)
    return _texts(
        {"tenant": tenant, "collection": collection, "document_id": document_id}
    )


def _texts(said: Mapping[str, Any]) -> dict[str, str]:
    """Without what is left out or no text; half a surrogate pair is none."""
    return {
        part: text
        for part, text in said.items()
        if isinstance(text, str)
        and text
        and not any("\ud800" <= character <= "\udfff" for character in text)
    }
