"""Web pages: the main text, with headings, lists, tables and code kept apart.

What surrounds the text (navigation, asides, footers, forms, scripts) is left out. The
main part is what the page marks as such, where that holds most of the text; the rules
are few, because what they drop nobody will find.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from selectolax.lexbor import LexborHTMLParser, LexborNode, SelectolaxError

from headrace.messages import SegmentKind
from headrace_loader.extractors.rows import is_header, line
from headrace_loader.extractors.source import Source
from headrace_loader.kinds import Kind
from headrace_loader.pieces import Headings, Piece
from headrace_loader.texts import blocks

PARSER = "lexbor/1"

_NO_TEXT = [
    "script",
    "style",
    "noscript",
    "template",
    "svg",
    "math",
    "iframe",
    "object",
    "canvas",
    "audio",
    "video",
    "button",
    "select",
    "input",
    "textarea",
]
_AROUND = (
    "nav, aside, footer, [role=navigation], [role=banner], [role=contentinfo], "
    "[role=search], [hidden], [aria-hidden=true]"
)
_MAIN = "main, [role=main], article"
_MAIN_SHARE = 0.4
"""Below this share of the text a marked part is one of several."""

_HEADINGS = {f"h{level}": level for level in range(1, 7)}
_BLOCK_NAMES = (
    "address article blockquote body caption center dd details dialog div dl dt "
    "fieldset figcaption figure footer form header hr legend li main menu ol optgroup "
    "option p pre section summary table tbody td tfoot th thead tr ul"
)
_BLOCKS = frozenset(_BLOCK_NAMES.split()) | frozenset(_HEADINGS)
_TIGHT = frozenset({"li", "dt", "dd", "td", "th", "tr", "option", "summary"})
"""Blocks that only a line end sets apart."""

_EMPTY_ELEMENT = re.compile(
    r"<(script|title|style|iframe|textarea|noscript)\b([^<>]*)/>", re.IGNORECASE
)
_SPACE = re.compile(r"\s+")
_LANGUAGE = re.compile(
    r"(?:lang(?:uage)?|highlight(?:-source)?|brush:?)[-: ]([a-z0-9+#]+)"
)


def extract(source: Source, _: Kind) -> Iterator[Piece]:
    """The page's main text."""
    yield from page_pieces("".join(blocks(source.file, source.charset)))


def page_pieces(
    html: str, *, page: int = 0, section: str = "", xhtml: bool = False
) -> Iterator[Piece]:
    """The pieces of one page.

    Args:
        html: the whole of it.
        page: given to each piece.
        section: given to each piece.
        xhtml: ``<script/>`` is closed, which it is not in HTML.
    """
    if xhtml or html.lstrip()[:5].lower() == "<?xml":
        html = _EMPTY_ELEMENT.sub(r"<\1\2></\1>", html)
    try:
        parser = LexborHTMLParser(html)
    except SelectolaxError as error:
        # Any text is a page to this parser; only memory can be wanting.
        raise MemoryError from error
    if parser.body is None:
        return
    titles = parser.css("title")
    title = " ".join(titles[0].text().split()) if titles else ""
    parser.strip_tags(_NO_TEXT)
    for node in parser.css(_AROUND):
        if node.tag not in {"body", "html", "main"}:
            node.decompose()
    for node in parser.css("body > header"):
        if node.css_first("h1") is None:
            node.decompose()
    walk = _Walk(page=page, section=section)
    root = _main(parser.body)
    if title and root.css_first("h1") is None:
        yield walk.heading(0, title)
    yield from walk.pieces(root)


def _main(body: LexborNode) -> LexborNode:
    """The marked main part if it holds enough of the text, else the body."""
    parts = [(len(node.text()), node) for node in body.css(_MAIN)]
    if not parts:
        return body
    length, largest = max(parts, key=lambda part: part[0])
    return largest if length >= len(body.text()) * _MAIN_SHARE else body


class _Walk:
    """Goes through a tree without recursion: pages may be nested without end."""

    def __init__(self, *, page: int, section: str) -> None:
        self._page = page
        self._section = section
        self._headings = Headings()
        self._line: list[str] = []

    def heading(self, level: int, text: str) -> Piece:
        path = self._headings.enter(level, text)
        return self._piece(f"{text}\n\n", SegmentKind.HEADING, path=path, fresh=True)

    def pieces(self, root: LexborNode) -> Iterator[Piece]:
        node: Any = root.first_child
        depth = 1
        while node is not None:
            yield from self._enter(node)
            inner = None if self._is_whole(node) else node.first_child
            if inner is not None:
                node = inner
                depth += 1
                continue
            yield from self._leave(node)
            while node.next is None:
                node = node.parent
                depth -= 1
                if depth == 0 or node is None:
                    yield from self._flush()
                    return
                yield from self._leave(node)
            node = node.next
        yield from self._flush()

    def _enter(self, node: Any) -> Iterator[Piece]:
        """What a node says when it is reached; all of it where it ``_is_whole``."""
        tag = node.tag
        if tag == "-text":
            self._line.append(_SPACE.sub(" ", node.text_content or ""))
        elif tag == "br":
            self._line.append("\n")
        elif tag in _BLOCKS:
            yield from self._flush()
            if tag in _HEADINGS:
                text = " ".join(node.text(separator=" ").split())
                if text:
                    yield self.heading(_HEADINGS[tag], text)
            elif tag == "pre":
                yield from self._code(node)
            elif tag == "table" and _is_data(node):
                yield from self._table(node)
            elif tag == "li":
                self._line.append("- ")

    def _is_whole(self, node: Any) -> bool:
        tag = node.tag
        return (
            tag in _HEADINGS
            or tag in {"pre", "head", "title"}
            or (tag == "table" and _is_data(node))
        )

    def _leave(self, node: Any) -> Iterator[Piece]:
        if node.tag in _BLOCKS:
            yield from self._flush(tight=node.tag in _TIGHT)

    def _flush(self, *, tight: bool = False) -> Iterator[Piece]:
        if not self._line:
            return
        # A line end of the page's own became a space; these are <br>.
        lines = "".join(self._line).split("\n")
        text = "\n".join(" ".join(part.split()) for part in lines).strip()
        self._line.clear()
        if text and text != "-":
            yield self._piece(text + ("\n" if tight else "\n\n"))

    def _code(self, node: LexborNode) -> Iterator[Piece]:
        text = node.text(deep=True).strip("\n")
        if text.strip():
            yield self._piece(
                f"{text}\n\n", SegmentKind.CODE, language=_language(node), fresh=True
            )

    def _table(self, table: LexborNode) -> Iterator[Piece]:
        first = True
        for row in table.css("tr"):
            found = [node for node in row.iter() if node.tag in {"td", "th"}]
            cells = [node.text(separator=" ") for node in found]
            text = line(cells)
            if text:
                marked = all(node.tag == "th" for node in found)
                yield self._piece(
                    text,
                    SegmentKind.TABLE,
                    has_header=first and (marked or is_header(cells)),
                    fresh=first,
                )
                first = False
        if not first:
            yield self._piece("\n", SegmentKind.TABLE)

    def _piece(
        self,
        text: str,
        kind: SegmentKind = SegmentKind.PROSE,
        *,
        path: tuple[str, ...] | None = None,
        language: str = "",
        has_header: bool = False,
        fresh: bool = False,
    ) -> Piece:
        return Piece(
            text,
            kind,
            page=self._page,
            heading_path=self._headings.path if path is None else path,
            section=self._section,
            language=language,
            has_header=has_header,
            fresh=fresh,
        )


def _is_data(table: LexborNode) -> bool:
    """Tables that hold other tables or headings only arrange the page."""
    if table.attributes.get("role") in {"presentation", "none"}:
        return False
    inner = table.css("table, h1, h2, h3, h4, h5, h6, pre, section")
    # A search below a node may find the node itself.
    if any(node.mem_id != table.mem_id for node in inner):
        return False
    return len(table.css("tr")) > 1 or len(table.css("td, th")) > 1


def _language(node: LexborNode) -> str:
    """As highlighters note it in the class of the block or what is in or around it."""
    around = [node, node.css_first("code"), node.parent]
    for candidate in around:
        if candidate is not None:
            match = _LANGUAGE.search(candidate.attributes.get("class") or "")
            if match:
                return match[1]
    return ""
