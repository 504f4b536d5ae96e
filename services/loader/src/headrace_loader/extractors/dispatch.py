"""What a document is, by its bytes, and the extractor that reads it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from importlib import import_module

from headrace.errors import DocumentFailure
from headrace_loader.extractors.archive import encrypted, member, opened
from headrace_loader.extractors.source import Source
from headrace_loader.kinds import (
    OLE,
    PLAIN_KINDS,
    ZIP,
    Kind,
    TextKind,
    is_marked_up,
    is_pdf,
    text_kind,
)
from headrace_loader.pieces import Piece
from headrace_loader.texts import (
    HEAD_BYTES,
    declared_charset,
    find_charset,
    head_text,
    is_text,
)

_MODULES = {
    Kind.PDF: "pdf",
    Kind.DOCX: "docx",
    Kind.PPTX: "pptx",
    Kind.XLSX: "xlsx",
    Kind.EPUB: "epub",
    Kind.EML: "mail",
    Kind.HTML: "html",
    Kind.CSV: "tables",
    Kind.JSON: "structured",
    Kind.JSON_LINES: "structured",
    Kind.MARKDOWN: "plain",
    Kind.CODE: "plain",
    Kind.TEXT: "plain",
}
_MAY_BE_EMPTY = PLAIN_KINDS | {Kind.CSV, Kind.JSON, Kind.JSON_LINES}
"""Kinds whose empty text is what they hold; in others it is out of our reach."""

_CHARSET = re.compile(
    rb"(?:<meta\b[^>]{0,200}?charset=|<\?xml\b[^>]{0,100}?encoding=)[\"' ]*([\w.:-]+)",
    re.IGNORECASE,
)
_CHARSET_WITHIN = 4096
_OFFICE = (
    ("word/document.xml", Kind.DOCX),
    ("ppt/presentation.xml", Kind.PPTX),
    ("xl/workbook.xml", Kind.XLSX),
    ("META-INF/container.xml", Kind.EPUB),
)


@dataclass(frozen=True, slots=True)
class Identified:
    """A document's kind and, for texts, how to decode and what language."""

    kind: Kind
    charset: str = ""
    language: str = ""

    @property
    def media_type(self) -> str:
        """See ``TextKind.media_type``."""
        return TextKind(self.kind, self.language).media_type


@dataclass(frozen=True, slots=True)
class Reading:
    """A text that is being read; ``parser`` may change until the last piece."""

    parser: str
    pieces: Iterator[Piece]


def identify(source: Source) -> Identified:
    """The kind of a document, by content first.

    Raises:
        DocumentFailure: ``unsupported_type``, ``encrypted`` or as ``archive.opened``.
    """
    file = source.file
    file.seek(0)
    head = file.read(HEAD_BYTES)
    if is_pdf(head):
        return Identified(Kind.PDF)
    if head.startswith(ZIP):
        return Identified(_container(source))
    if head.startswith(OLE):
        raise _old_office(source, head)
    if is_marked_up(head) or not is_text(head):
        raise _unsupported(_name_of(head))
    charset = find_charset(
        file,
        declared=source.charset or declared_charset(source.media_type) or _own(head),
    )
    kind = text_kind(
        head_text(file, charset), name=source.name, media_type=source.media_type
    )
    return Identified(kind.kind, charset, kind.language)


def read(source: Source, found: Identified) -> Reading:
    """Start reading; errors may come with any piece.

    Raises:
        DocumentFailure: the extractor's; ``no_text``.
    """
    source = replace(source, charset=found.charset, language=found.language)
    module = import_module(f"headrace_loader.extractors.{_MODULES[found.kind]}")
    extract: Callable[[Source, Kind], Iterator[Piece]] = module.extract
    pieces = extract(source, found.kind)
    if found.kind not in _MAY_BE_EMPTY:
        pieces = _some(pieces)
    return Reading(module.PARSER, pieces)


def _some(pieces: Iterator[Piece]) -> Iterator[Piece]:
    blank = True
    for piece in pieces:
        blank = blank and not piece.text.strip()
        yield piece
    if blank:
        raise DocumentFailure(
            "no_text",
            "the document holds no text",
            advice="if it is a scan, run it through text recognition first",
        )


def _container(source: Source) -> Kind:
    with opened(source.file, source.limits) as archive:
        names = set(archive.namelist())
        for name, kind in _OFFICE:
            if name in names:
                return kind
        declared = member(archive, "mimetype")
        what = "a zip archive"
        if declared is not None:
            with declared:
                text = declared.read(200).decode("ascii", "replace").strip()
            what = f"a container of {text}"
    raise _unsupported(what)


def _old_office(source: Source, head: bytes) -> DocumentFailure:
    rest = source.file.read(HEAD_BYTES * 16)
    if "EncryptedPackage".encode("utf-16-le") in head + rest:
        return encrypted()
    return _unsupported("an Office document of before 2007")


def _own(head: bytes) -> str:
    """The charset that a page or an XML document says it is in."""
    match = _CHARSET.search(head[:_CHARSET_WITHIN])
    return match[1].decode() if match else ""


def _name_of(head: bytes) -> str:
    """What a library of signatures makes of the first bytes, for the message only."""
    import puremagic  # noqa: PLC0415  its tables are needed in few documents

    try:
        return f"{puremagic.from_string(head, mime=True) or 'unknown'} data"
    except (puremagic.PureError, ValueError):
        return "unknown binary data"


def _unsupported(what: str) -> DocumentFailure:
    return DocumentFailure(
        "unsupported_type",
        f"the document is {what}, which has no extractor",
        advice="send PDF, DOCX, PPTX, XLSX, EPUB, HTML, Markdown, e-mail, CSV, JSON, "
        "source code or text",
    )
