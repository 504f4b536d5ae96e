"""E-mail: the headers that people look for, the body, and what is attached."""

from __future__ import annotations

import email
import email.policy
import io
from collections.abc import Iterator
from dataclasses import replace
from email.message import EmailMessage
from typing import Any

from headrace.errors import DocumentFailure
from headrace.messages import SegmentKind
from headrace_loader.extractors import dispatch
from headrace_loader.extractors.html import page_pieces
from headrace_loader.extractors.source import Source
from headrace_loader.kinds import Kind
from headrace_loader.pieces import Piece, clip, heading_path

PARSER = "eml/1"

_MAX_ATTACHMENTS = 50


def extract(source: Source, _: Kind) -> Iterator[Piece]:
    """Subject as heading; attachments are read one level deep."""
    source.file.seek(0)
    message = email.message_from_binary_file(source.file, policy=email.policy.default)
    subject = _header(message, "subject")
    path = heading_path([subject])
    if subject:
        yield Piece(
            f"{subject}\n\n", SegmentKind.HEADING, heading_path=path, fresh=True
        )
    lines = [
        f"{name}: {value}\n"
        for name in ("From", "To", "Cc", "Date")
        if (value := _header(message, name))
    ]
    yield Piece("".join(lines) + "\n", heading_path=path)
    yield from _body(message, path)
    for number, part in enumerate(message.iter_attachments(), start=1):
        if number > _MAX_ATTACHMENTS:
            break
        yield from _attachment(part, number, path, source)


def _header(message: EmailMessage, name: str) -> str:
    try:
        value = message.get(name, "")
    except (ValueError, IndexError, AttributeError, LookupError):
        # The library's own parser gives up on some malformed headers.
        return ""
    return " ".join(str(value).encode("utf-8", "replace").decode().split())


def _body(message: EmailMessage, path: tuple[str, ...]) -> Iterator[Piece]:
    part = message.get_body(preferencelist=("plain", "html"))
    if part is None:
        return
    text = _content(part)
    if part.get_content_type() == "text/html":
        for piece in page_pieces(text):
            yield replace(
                piece, heading_path=heading_path([*path, *piece.heading_path])
            )
    elif text.strip():
        yield Piece(f"{text.strip()}\n\n", heading_path=path)


def _content(part: Any) -> str:
    try:
        return str(part.get_content())
    except (LookupError, ValueError, KeyError):
        # An unknown charset or transfer encoding.
        data = part.get_payload(decode=True)
        return data.decode("utf-8", "replace") if isinstance(data, bytes) else ""


def _attachment(
    part: Any, number: int, path: tuple[str, ...], source: Source
) -> Iterator[Piece]:
    name = part.get_filename() or f"attachment {number}"
    label = clip(name, 200) or f"attachment {number}"
    yield Piece(
        f"Attachment: {label}\n\n", heading_path=path, section=label, fresh=True
    )
    if source.nested:
        return
    if part.get_content_maintype() == "message":
        inner = part.get_payload(0) if part.is_multipart() else None
        data = inner.as_bytes() if inner is not None else b""
        media_type = "message/rfc822"
    else:
        data = part.get_payload(decode=True) or b""
        media_type = part.get_content_type()
    attached = replace(
        source,
        file=io.BytesIO(data),
        name=name,
        media_type=media_type,
        charset=part.get_content_charset() or "",
        language="",
        nested=True,
    )
    try:
        reading = dispatch.read(attached, dispatch.identify(attached))
        for piece in reading.pieces:
            yield replace(
                piece,
                heading_path=heading_path([*path, *piece.heading_path]),
                section=label,
            )
    except MemoryError:
        raise
    except DocumentFailure as failure:
        yield Piece(f"({failure.code})\n\n", heading_path=path, section=label)
    except Exception:  # noqa: BLE001  a broken attachment leaves the mail readable
        yield Piece("(malformed_document)\n\n", heading_path=path, section=label)
