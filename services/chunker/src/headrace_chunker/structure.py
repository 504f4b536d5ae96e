"""Which items make up a document: by segments, media type and name. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import PurePosixPath

from headrace.messages import Segment, SegmentKind
from headrace_chunker.items import ITEM_LENGTH, Item, label
from headrace_chunker.markdown import markdown_items
from headrace_chunker.provenance import Stretch, stretches
from headrace_chunker.window import Window

_MARKDOWN_TYPES = frozenset({"text/markdown", "text/x-markdown"})
_MARKDOWN_NAMES = frozenset({".md", ".markdown", ".mdx", ".mkd"})
_TABLE_TYPES = frozenset({"text/csv", "text/tab-separated-values"})
_TABLE_NAMES = frozenset({".csv", ".tsv"})
_LANGUAGE_BY_TYPE = {
    "application/javascript": "javascript",
    "text/javascript": "javascript",
    "application/typescript": "typescript",
}
_LANGUAGE_BY_NAME = {
    ".py": "python",
    ".pyi": "python",
    ".js": "javascript",
    ".mjs": "javascript",
    ".cjs": "javascript",
    ".jsx": "javascript",
    ".ts": "typescript",
    ".mts": "typescript",
    ".tsx": "tsx",
    ".java": "java",
    ".go": "go",
    ".rs": "rust",
    ".c": "c",
    ".h": "c",
    ".cc": "cpp",
    ".cpp": "cpp",
    ".cxx": "cpp",
    ".hpp": "cpp",
    ".hh": "cpp",
}
_LANGUAGES = frozenset(_LANGUAGE_BY_NAME.values())
_LONGEST_GAP = 64
"""Only a gap this short is looked at before it becomes an item: it may be blank."""


def document_items(window: Window, *, media_type: str, name: str) -> Iterator[Item]:
    """The document's items in order; blank text between two may belong to none.

    Segments are believed. Media type and name decide about text without a segment, and
    whether prose without headings is Markdown.
    """
    declared = media_type.partition(";")[0].strip().lower()
    suffix = _suffix(name)
    markdown = declared in _MARKDOWN_TYPES or suffix in _MARKDOWN_NAMES
    for stretch in stretches(window, _default(declared, suffix)):
        segment = stretch.segment
        like = Item(
            stretch.start,
            stretch.start,
            kind=segment.kind,
            page=segment.page,
            heading_path=segment.heading_path,
            section=segment.section,
            language=segment.language,
        )
        if segment.kind is not SegmentKind.PROSE:
            yield from _marked(window, stretch, like)
        elif markdown and not segment.heading_path:
            yield from markdown_items(window, stretch.start, stretch.upto, like=like)
        else:
            yield from _prose(window, stretch.start, stretch.upto, like)


def _suffix(name: str) -> str:
    """As ``PurePosixPath(name).suffix``, which costs as much as a page of Markdown."""
    stem, _, ending = name.lower().rpartition(".")
    if not stem or stem.endswith("/") or "/" in ending:
        return PurePosixPath(name.lower()).suffix
    return f".{ending}" if ending else ""


def _default(declared: str, suffix: str) -> Segment:
    language = _LANGUAGE_BY_TYPE.get(declared) or declared.removeprefix("text/x-")
    if language not in _LANGUAGES:
        language = _LANGUAGE_BY_NAME.get(suffix, "")
    if language:
        return Segment(0, 0, SegmentKind.CODE, language=language)
    if declared in _TABLE_TYPES or suffix in _TABLE_NAMES:
        return Segment(0, 0, SegmentKind.TABLE, has_header=True)
    return Segment(0, 0)


def _prose(
    window: Window, start: int, upto: Callable[[int], int], like: Item
) -> Iterator[Item]:
    while (end := upto(start + ITEM_LENGTH)) > start:
        if end - start > _LONGEST_GAP or window.text(start, end).strip():
            yield Item(
                start, end, like.kind, like.page, like.heading_path, like.section
            )
        start = end


def _marked(window: Window, stretch: Stretch, like: Item) -> Iterator[Item]:
    """A heading, a table or code; an item says whether the next one goes on with it."""
    start = stretch.start
    header = ""
    while (end := stretch.upto(start + ITEM_LENGTH)) > start:
        if stretch.segment.has_header and start == stretch.start:
            header = label(window.text(start, end).lstrip().partition("\n")[0])
        more = stretch.upto(end + 1) > end
        if more or start > stretch.start or window.text(start, end).strip():
            yield Item(
                start,
                end,
                like.kind,
                like.page,
                like.heading_path,
                like.section,
                like.language,
                header,
                more=more,
            )
        start = end
