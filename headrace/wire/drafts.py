"""What a producer said so far, and how it becomes an event.

Each input format fills a ``Draft``; ``finish`` adds what the record's key knows, checks
the bounds and makes the event, so that all formats obey the same rules.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, fields
from urllib.parse import unquote

from headrace.errors import Unreadable
from headrace.identity import DEFAULT_TENANT, DocumentKey
from headrace.messages import (
    DocumentEvent,
    Lane,
    Metadata,
    ObjectReference,
    OnPartial,
    Operation,
)
from headrace.wire.bounds import KIB, check_text, too_large
from headrace.wire.documents import (
    MAX_URI,
    check_metadata,
    check_object,
    validate_key,
)

MAX_INLINE_BYTES = 512 * KIB
URI_SCHEMES = ("http", "https", "file", "s3", "gs", "az")

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_BROKEN_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_KEY_ADVICE = (
    "Name it in the event, or give the record the key tenant/collection/document id, "
    "each part percent-encoded."
)


@dataclass(slots=True)
class Draft:
    """An event in the making; empty where the producer said nothing."""

    tenant: str = ""
    collection: str = ""
    document_id: str = ""
    operation: Operation | None = None
    source_version: int | None = None
    inline: bytes | None = None
    uri: str | None = None
    object: ObjectReference | None = None
    metadata: Metadata = field(default_factory=Metadata)
    lane: Lane | None = None
    on_partial: OnPartial | None = None


def key_of(record_key: bytes | None) -> DocumentKey | None:
    """The document that a record's key names, ``None`` where it names none.

    Takes what encoders of other languages write (``%2f``, unescaped ``(``, raw UTF-8);
    such a record is published again with the canonical key.
    """
    if not record_key:
        return None
    try:
        text = record_key.decode()
        if _BROKEN_ESCAPE.search(text):
            return None
        parts = [unquote(part, errors="strict") for part in text.split("/")]
        key = DocumentKey(*parts)
        key.validate()
    except (TypeError, ValueError):  # not three parts, not UTF-8, beyond a bound
        return None
    return key


def finish(draft: Draft, record_key: bytes | None) -> DocumentEvent:
    """The event.

    Raises:
        Unreadable: what is missing or breaks a bound.
    """
    key = key_for(draft, record_key)
    check_metadata(draft.metadata)
    operation = draft.operation or Operation.UPSERT
    _check_source(draft, operation)
    return DocumentEvent(
        key=key,
        operation=operation,
        source_version=draft.source_version,
        inline=draft.inline,
        uri=draft.uri,
        object=draft.object,
        metadata=draft.metadata,
        lane=draft.lane,
        on_partial=draft.on_partial or OnPartial.KEEP_OLD,
    )


def key_for(draft: Draft, record_key: bytes | None) -> DocumentKey:
    """The document, as the event names it, else as the record's key does.

    Raises:
        Unreadable: neither does, or what they say breaks a bound.
    """
    given = DocumentKey(draft.tenant, draft.collection, draft.document_id)
    whole = draft.tenant and draft.collection and draft.document_id
    if whole and given.record_key == record_key:
        # The key says the same, as most do: nothing to take apart.
        validate_key(given)
        return given
    known = key_of(record_key)
    # A key that contradicts the event is some other key, and says nothing about it.
    if known is not None and all(
        getattr(given, part.name) in ("", getattr(known, part.name))
        for part in fields(DocumentKey)
    ):
        return known
    if not given.document_id:
        raise Unreadable(
            "missing_id",
            "the event has no document id, and the record's key gives none",
            advice=_KEY_ADVICE,
        )
    if not given.collection:
        raise Unreadable(
            "missing_collection",
            "the event has no collection, and the record's key gives none",
            advice=_KEY_ADVICE,
        )
    key = DocumentKey(
        given.tenant or DEFAULT_TENANT, given.collection, given.document_id
    )
    validate_key(key)
    return key


def _check_source(draft: Draft, operation: Operation) -> None:
    sources = [
        name for name in ("inline", "uri", "object") if getattr(draft, name) is not None
    ]
    if operation is Operation.DELETE:
        if sources:
            raise Unreadable(
                "source_on_delete",
                f"the event deletes a document, yet brings a source ({sources[0]})",
                advice="Leave the source out, or make it an upsert.",
            )
        return
    if not sources:
        raise Unreadable(
            "missing_source",
            "the event brings no document: no content, no URI, no object",
            advice="Add one of them, or make it a delete.",
        )
    if draft.inline is not None and len(draft.inline) > MAX_INLINE_BYTES:
        raise too_large(
            "the document",
            len(draft.inline),
            MAX_INLINE_BYTES,
            advice="Put it into an object store and send its URI.",
        )
    if draft.uri is not None:
        _check_uri(draft.uri)
    if draft.object is not None:
        check_object(draft.object)


def _check_uri(uri: str) -> None:
    check_text(uri, MAX_URI, "uri")
    scheme = _SCHEME.match(uri)
    if scheme is None or scheme[1].lower() not in URI_SCHEMES:
        raise Unreadable(
            "blocked_url",
            "the URI's scheme is none of " + ", ".join(URI_SCHEMES),
            advice="Use one of them, or send the content itself.",
        )
