"""Word documents: paragraphs and tables in order, headings from the styles."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from typing import IO, Any

from headrace.messages import SegmentKind
from headrace_loader.extractors import xml
from headrace_loader.extractors.archive import malformed, member, opened
from headrace_loader.extractors.rows import is_header, line
from headrace_loader.extractors.source import Source
from headrace_loader.kinds import Kind
from headrace_loader.pieces import Headings, Piece

PARSER = "docx/1"

_W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_FALLBACK = "{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback"
_HEADING_NAME = re.compile(r"heading (\d)", re.IGNORECASE)
_TITLE_LEVEL = 0
_BODY_LEVEL = 9
"""An outline level that means: no heading."""


def extract(source: Source, _: Kind) -> Iterator[Piece]:
    """The body, then foot- and endnotes."""
    with opened(source.file, source.limits) as archive:
        levels = _heading_levels(archive)
        body = member(archive, "word/document.xml")
        if body is None:
            raise malformed("it has no word/document.xml")
        with body:
            yield from _body(body, levels)
        for name in ("footnotes", "endnotes"):
            notes = member(archive, f"word/{name}.xml")
            if notes is not None:
                with notes:
                    yield from _notes(notes, name)


def _heading_levels(archive: zipfile.ZipFile) -> dict[str, int]:
    """Outline level by style id; a style has its parent's where it has none itself."""
    styles = member(archive, "word/styles.xml")
    if styles is None:
        return {}
    levels: dict[str, int] = {}
    parents: dict[str, str] = {}
    with styles:
        for _, style in xml.events(styles, ends=(f"{_W}style",)):
            identifier = style.get(f"{_W}styleId", "")
            name = _value(style.find(f"{_W}name"))
            outline = _value(style.find(f"{_W}pPr/{_W}outlineLvl"))
            parents[identifier] = _value(style.find(f"{_W}basedOn"))
            if match := _HEADING_NAME.fullmatch(name):
                levels[identifier] = int(match[1])
            elif name.lower() == "title":
                levels[identifier] = _TITLE_LEVEL
            elif outline.isdigit() and int(outline) < _BODY_LEVEL:
                levels[identifier] = int(outline) + 1
            xml.drop(style)
    for identifier in list(parents):
        ancestor = identifier
        for _ in range(10):
            if ancestor in levels:
                levels[identifier] = levels[ancestor]
                break
            ancestor = parents.get(ancestor, "")
    return levels


def _body(part: IO[bytes], levels: dict[str, int]) -> Iterator[Piece]:
    headings = Headings()
    depth = 0
    row: list[str] = []
    cell: list[str] = []
    first_row = False
    tags = (f"{_W}p", f"{_W}tbl", f"{_W}tr", f"{_W}tc")
    for event, element in xml.events(part, starts=(f"{_W}tbl",), ends=tags):
        tag = element.tag
        if event == "start":
            depth += 1
            first_row = first_row or depth == 1
        elif tag == f"{_W}p":
            if _inside_paragraph(element):
                # Its text box: the paragraph around it will say it.
                continue
            text = _text(element)
            if depth:
                cell.append(text)
            else:
                yield from _paragraph(element, text, levels, headings)
            xml.drop(element)
        elif tag == f"{_W}tc" and depth == 1:
            row.append(" ".join(filter(None, cell)))
            cell = []
        elif tag == f"{_W}tr" and depth == 1:
            yield Piece(
                line(row),
                SegmentKind.TABLE,
                heading_path=headings.path,
                has_header=first_row and is_header(row),
                fresh=first_row,
            )
            row, first_row = [], False
            xml.drop(element)
        elif tag == f"{_W}tbl":
            depth -= 1
            if depth == 0:
                yield Piece("\n", SegmentKind.TABLE, heading_path=headings.path)
                xml.drop(element)


def _paragraph(
    element: Any, text: str, levels: dict[str, int], headings: Headings
) -> Iterator[Piece]:
    text = text.strip()
    if not text:
        return
    properties = element.find(f"{_W}pPr")
    level = _BODY_LEVEL + 1
    if properties is not None:
        style = _value(properties.find(f"{_W}pStyle"))
        level = levels.get(style, level)
        outline = _value(properties.find(f"{_W}outlineLvl"))
        if outline.isdigit():
            level = int(outline) + 1
        if properties.find(f"{_W}numPr") is not None and level > _BODY_LEVEL:
            text = f"- {text}"
    if level <= _BODY_LEVEL:
        path = headings.enter(level, text)
        heading = " ".join(text.split())
        yield Piece(
            f"{heading}\n\n", SegmentKind.HEADING, heading_path=path, fresh=True
        )
    else:
        yield Piece(f"{text}\n\n", heading_path=headings.path)


def _notes(part: IO[bytes], name: str) -> Iterator[Piece]:
    for _, paragraph in xml.events(part, ends=(f"{_W}p",)):
        text = _text(paragraph).strip()
        if text:
            yield Piece(f"{text}\n\n", section=name)
        xml.drop(paragraph)


def _text(paragraph: Any) -> str:
    """Runs, tabs and breaks; what was deleted, and second versions, are left out."""
    parts: list[str] = []
    for element in paragraph.iter(f"{_W}t", f"{_W}tab", f"{_W}br", f"{_W}cr"):
        tag = element.tag
        if tag == f"{_W}t":
            if not _second_version(element, paragraph):
                parts.append(element.text or "")
        elif tag != f"{_W}tab":
            parts.append("\n")
        elif element.getparent().tag == f"{_W}r":
            # Elsewhere the same name is a tab stop among the properties.
            parts.append("\t")
    return "".join(parts)


def _second_version(element: Any, paragraph: Any) -> bool:
    ancestor = element.getparent()
    while ancestor is not None and ancestor is not paragraph:
        if ancestor.tag == _FALLBACK:
            return True
        ancestor = ancestor.getparent()
    return False


def _inside_paragraph(element: Any) -> bool:
    ancestor = element.getparent()
    while ancestor is not None:
        if ancestor.tag == f"{_W}p":
            return True
        ancestor = ancestor.getparent()
    return False


def _value(element: Any) -> str:
    return "" if element is None else str(element.get(f"{_W}val", ""))
