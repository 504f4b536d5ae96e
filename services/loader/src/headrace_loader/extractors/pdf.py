"""PDF: PDFium, then pypdf, then whatever text strings the file shows.

PDFium is fastest and reads most; pypdf sometimes opens what PDFium does not; the plain
strings save something of a file that neither opens.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO

from headrace.errors import DocumentFailure
from headrace_loader.extractors.archive import encrypted, malformed
from headrace_loader.extractors.source import Source
from headrace_loader.kinds import Kind
from headrace_loader.pieces import Headings, Piece

PARSER = "pdf/1"

_MAX_BOOKMARKS = 10_000
_PASSWORD_ERROR = 4
"""PDFium's FPDF_ERR_PASSWORD."""
_TRIAL_PAGES = 20
"""Where PDFium found nothing, pypdf looks at so many pages before all of them."""
_STREAM_BYTES = 32 * 1024 * 1024
_STRINGS_WITHIN = 256 * 1024 * 1024

# PDFium marks a hyphen at a line's end, which the word did not have, with one of these.
_SOFT_HYPHEN = re.compile("(?:\ufffe|\x02|\xad)(?:\r\n|\n|\r)?")
_STREAM = re.compile(rb"stream\r?\n(.*?)endstream", re.DOTALL)
_SHOWN = re.compile(
    rb"\(((?:[^()\\]|\\.){1,2000})\)\s*(?:Tj|'|\")|\[((?:[^\[\]]){1,8000})\]\s*TJ"
)
_IN_ARRAY = re.compile(rb"\(((?:[^()\\]|\\.)*)\)")
_ESCAPE = re.compile(rb"\\([nrtbf()\\]|[0-7]{1,3}|\r?\n)")
_ESCAPES = {b"n": b"\n", b"r": b"\n", b"t": b"\t", b"b": b"", b"f": b"\n"}


def extract(source: Source, _: Kind) -> Iterator[Piece]:
    """Page by page; the first reader that finds text is the one.

    Raises:
        DocumentFailure: ``encrypted``, ``malformed_document``.
    """
    readers = [_by_pdfium, _by_pypdf, _by_strings]
    if source.cautious:
        del readers[0]
    broken: Exception | None = None
    for reader in readers:
        found = False
        try:
            for piece in reader(source.file):
                if not found and not piece.text.strip():
                    continue
                found = True
                yield piece
        except (DocumentFailure, MemoryError):
            raise
        except Exception as error:
            if found:
                raise
            broken = error
        if found:
            return
    if broken is not None:
        raise malformed(f"it is no whole PDF ({type(broken).__name__})") from broken


def _by_pdfium(file: BinaryIO) -> Iterator[Piece]:
    import pypdfium2  # noqa: PLC0415  each reader is loaded only where it is used

    file.seek(0)
    try:
        document = pypdfium2.PdfDocument(file)
    except pypdfium2.PdfiumError as error:
        if getattr(error, "err_code", None) == _PASSWORD_ERROR:
            raise encrypted() from error
        raise
    try:
        headings = _outline(document)
        path: tuple[str, ...] = ()
        for number in range(len(document)):
            path = headings.get(number, path)
            text = _page_text(document, number)
            if text.strip():
                yield Piece(f"{text}\n\n", page=number + 1, heading_path=path)
    finally:
        document.close()


def _page_text(document: Any, number: int) -> str:
    page = document[number]
    try:
        textpage = page.get_textpage()
        try:
            return _joined(textpage.get_text_range())
        finally:
            textpage.close()
    finally:
        page.close()


def _outline(document: Any) -> dict[int, tuple[str, ...]]:
    """For each page on which a bookmark begins, the path of the first one there."""
    paths: dict[int, tuple[str, ...]] = {}
    headings = Headings()
    for count, bookmark in enumerate(document.get_toc()):
        if count >= _MAX_BOOKMARKS:
            break
        path = headings.enter(bookmark.level, bookmark.get_title())
        destination = bookmark.get_dest()
        number = None if destination is None else destination.get_index()
        if number is not None:
            paths.setdefault(number, path)
    return paths


def _by_pypdf(file: BinaryIO) -> Iterator[Piece]:
    import pypdf  # noqa: PLC0415

    file.seek(0)
    reader = pypdf.PdfReader(file, strict=False)
    if reader.is_encrypted and not reader.decrypt(""):
        raise encrypted()
    found = False
    for number, page in enumerate(reader.pages, start=1):
        text = _joined(page.extract_text())
        if text.strip():
            found = True
            yield Piece(f"{text}\n\n", page=number)
        elif not found and number >= _TRIAL_PAGES:
            return


def _by_strings(file: BinaryIO) -> Iterator[Piece]:
    """Strings that text operators show, where they are in a readable encoding."""
    file.seek(0)
    data = file.read(_STRINGS_WITHIN)
    for stream in _STREAM.finditer(data):
        content = _inflated(stream[1])
        if b"Tj" not in content and b"TJ" not in content:
            continue
        shown = [
            "".join(_decoded(part) for part in _IN_ARRAY.findall(match[2] or b""))
            or _decoded(match[1] or b"")
            for match in _SHOWN.finditer(content)
        ]
        text = "\n".join(part for part in shown if _readable(part))
        if text.strip():
            yield Piece(f"{text}\n\n")


def _inflated(data: bytes) -> bytes:
    try:
        return zlib.decompressobj().decompress(data, _STREAM_BYTES)
    except zlib.error:
        return data[:_STREAM_BYTES]


def _decoded(text: bytes) -> str:
    def plain(match: re.Match[bytes]) -> bytes:
        code = match[1]
        if code.isdigit():
            return bytes([int(code, 8) & 0xFF])
        return _ESCAPES.get(code, code if len(code) == 1 else b"")

    return _ESCAPE.sub(plain, text).decode("cp1252", "replace")


def _readable(text: str) -> bool:
    """Strings of glyph numbers are no text."""
    letters = sum(character.isalnum() or character.isspace() for character in text)
    return letters * 2 >= len(text) > 0


def _joined(text: str) -> str:
    return _SOFT_HYPHEN.sub("", text) if _SOFT_HYPHEN.search(text) else text
