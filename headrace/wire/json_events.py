"""Document events in JSON. The shape is documented in docs/producing.md.

Unknown members are ignored, as Protobuf does, so that a newer producer can talk to an
older loader; ``null`` counts as left out. Types are strict: a number is not a text.
"""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any, NoReturn, TypeVar

from headrace.errors import Unreadable
from headrace.messages import Lane, Metadata, ObjectReference, OnPartial, Operation
from headrace.wire.drafts import Draft

MEMBERS = (
    "tenant",
    "collection",
    "id",
    "document_id",
    "operation",
    "source_version",
    "text",
    "content_base64",
    "uri",
    "object",
    "name",
    "media_type",
    "user_id",
    "session_id",
    "import_job",
    "attributes",
    "lane",
    "on_partial",
)
"""Every member that is read."""

Members = dict[str, Any]

E = TypeVar("E", Operation, Lane, OnPartial)

_INT64 = 2**63


def draft_from_json(value: bytes) -> Draft:
    """What a JSON event says.

    Raises:
        Unreadable: no JSON object, or a member of a wrong type or value.
    """
    return draft_from_members(parse_object(value))


def parse_object(value: bytes) -> Members:
    """A JSON object from UTF-8 bytes, each member there once, no NaN.

    Raises:
        Unreadable: ``invalid_utf8`` or ``malformed_json``.
    """
    try:
        text = value.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Unreadable(
            "invalid_utf8",
            f"the JSON is not UTF-8 at byte {error.start:,}",
            advice="Encode it as UTF-8.",
        ) from error
    try:
        parsed = json.loads(
            text, object_pairs_hook=_unique_members, parse_constant=_no_constant
        )
    except RecursionError:
        raise _malformed("it is nested too deeply") from None
    except ValueError as error:  # JSONDecodeError, a number of too many digits, ours
        raise _malformed(str(error)) from error
    if not isinstance(parsed, dict):
        raise _malformed("it is no object")
    return parsed


def draft_from_members(members: Members) -> Draft:
    """What the members of a JSON event say.

    Raises:
        Unreadable: a member of a wrong type or value, or more than one source.
    """
    document_id = text_member(members, "document_id")
    short = text_member(members, "id")
    if document_id and short and document_id != short:
        raise invalid_member("id", "the same as document_id, or left out")
    draft = Draft(
        tenant=text_member(members, "tenant"),
        collection=text_member(members, "collection"),
        document_id=document_id or short,
        operation=choice(Operation, text_member(members, "operation"), "operation"),
        source_version=integer_member(members, "source_version"),
        metadata=Metadata(
            name=text_member(members, "name"),
            media_type=text_member(members, "media_type"),
            user_id=text_member(members, "user_id"),
            session_id=text_member(members, "session_id"),
            import_job=text_member(members, "import_job"),
            attributes=_attributes(members),
        ),
        lane=choice(Lane, text_member(members, "lane"), "lane"),
        on_partial=choice(OnPartial, text_member(members, "on_partial"), "on_partial"),
    )
    _read_source(members, draft)
    return draft


def text_member(members: Members, name: str) -> str:
    """A text, empty where it is left out."""
    value = members.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise invalid_member(name, "a text")
    return _encodable(value, name)


def integer_member(members: Members, name: str) -> int | None:
    """A whole number of 64 bits, ``None`` where it is left out."""
    value = members.get(name)
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool):
        raise invalid_member(name, "a whole number")
    if not -_INT64 <= value < _INT64:
        raise invalid_member(name, "a whole number of 64 bits")
    return value


def choice(choices: type[E], text: str, name: str) -> E | None:
    """One of an enum's values in any case, ``None`` where none is given."""
    if not text:
        return None
    try:
        return choices(text.strip().lower().replace("-", "_"))
    except ValueError:
        raise Unreadable(
            "unknown_enum",
            f"{name} has a value that is none of " + ", ".join(choices),
            advice="Correct it at the producer.",
        ) from None


def decode_base64(value: object, name: str) -> bytes:
    """Standard base64.

    Raises:
        Unreadable: ``invalid_field``.
    """
    if isinstance(value, str):
        try:
            return base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError):
            pass
    raise invalid_member(name, "standard base64 with its padding")


def invalid_member(name: str, rule: str) -> Unreadable:
    """The error for a member of a wrong type or value."""
    return Unreadable(
        "invalid_field",
        f"{name} must be {rule}",
        advice="Correct it at the producer; docs/producing.md has the JSON Schema.",
    )


def _read_source(members: Members, draft: Draft) -> None:
    given = [
        name
        for name in ("text", "content_base64", "uri", "object")
        if members.get(name) is not None
    ]
    if len(given) > 1:
        raise Unreadable(
            "ambiguous_source",
            "the event brings more than one document: " + " and ".join(given),
            advice="Send one of them.",
        )
    for name in given:
        if name == "text":
            draft.inline = text_member(members, name).encode()
        elif name == "content_base64":
            draft.inline = decode_base64(members[name], name)
        elif name == "uri":
            draft.uri = text_member(members, name)
        else:
            draft.object = _object(members[name])


def _object(value: object) -> ObjectReference:
    if not isinstance(value, dict):
        raise invalid_member("object", "an object with uri, size and sha256")
    try:
        digest = bytes.fromhex(text_member(value, "sha256"))
    except ValueError:
        raise invalid_member("object.sha256", "64 hexadecimal digits") from None
    return ObjectReference(
        uri=text_member(value, "uri"),
        size=integer_member(value, "size") or 0,
        sha256=digest,
    )


def _attributes(members: Members) -> dict[str, str]:
    value = members.get("attributes")
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise invalid_member("attributes", "an object of texts")
    attributes: dict[str, str] = {}
    for name, content in value.items():
        if not isinstance(content, str):
            raise invalid_member("each of attributes", "a text")
        attributes[_encodable(name, "attributes")] = _encodable(content, "attributes")
    return attributes


def _encodable(text: str, name: str) -> str:
    """Refuse half a surrogate pair: JSON can escape one, UTF-8 has none."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise Unreadable(
            "invalid_utf8",
            f"{name} holds half of a surrogate pair, which is no character",
            advice="Escape both halves, or send the character itself.",
        ) from None
    return text


def _unique_members(pairs: list[tuple[str, Any]]) -> Members:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member is there twice")
    return members


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _malformed(why: str) -> Unreadable:
    return Unreadable(
        "malformed_json",
        f"the value is no JSON event: {why[:200]}",
        advice="Send one JSON object; docs/producing.md has the JSON Schema.",
    )
