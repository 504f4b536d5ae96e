"""Presentations: a slide is a page, its title a heading; tables and notes too."""

from __future__ import annotations

import posixpath
import zipfile
from collections.abc import Iterator
from typing import Any

from headrace.messages import SegmentKind
from headrace_loader.extractors import xml
from headrace_loader.extractors.archive import malformed, member, opened
from headrace_loader.extractors.rows import is_header, line
from headrace_loader.extractors.source import Source
from headrace_loader.kinds import Kind
from headrace_loader.pieces import Piece, heading_path

PARSER = "pptx/1"

_A = "{http://schemas.openxmlformats.org/drawingml/2006/main}"
_P = "{http://schemas.openxmlformats.org/presentationml/2006/main}"
_R = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}"
_REL = "{http://schemas.openxmlformats.org/package/2006/relationships}"
_MAIN = "ppt/presentation.xml"
_TITLES = {"title", "ctrTitle"}
_FURNITURE = {"sldNum", "dt", "ftr", "hdr", "sldImg"}


def extract(source: Source, _: Kind) -> Iterator[Piece]:
    """Slides in the order of the show, each followed by its notes."""
    with opened(source.file, source.limits) as archive:
        targets = _relations(archive, _MAIN)
        presentation = _part(archive, _MAIN)
        if presentation is None:
            raise malformed(f"it has no {_MAIN}")
        for page, slide in enumerate(presentation.iter(f"{_P}sldId"), start=1):
            path = targets.get(slide.get(f"{_R}id", ""), "")
            yield from _slide(archive, path, page)


def _slide(archive: zipfile.ZipFile, path: str, page: int) -> Iterator[Piece]:
    slide = _part(archive, path)
    if slide is None:
        return
    title = _title(slide)
    headings = heading_path([title])
    if title:
        yield Piece(
            f"{title}\n\n",
            SegmentKind.HEADING,
            page=page,
            heading_path=headings,
            fresh=True,
        )
    for shape in slide.iter(f"{_P}sp", f"{_A}tbl"):
        if shape.tag == f"{_A}tbl":
            yield from _table(shape, page, headings)
        elif _placeholder(shape) not in _TITLES | _FURNITURE:
            text = _text(shape)
            if text:
                yield Piece(f"{text}\n\n", page=page, heading_path=headings)
    for target in _relations(archive, path).values():
        if "notesSlide" in target:
            notes = _part(archive, target)
            text = "" if notes is None else _notes(notes)
            if text:
                yield Piece(
                    f"{text}\n\n", page=page, heading_path=headings, section="notes"
                )


def _title(slide: Any) -> str:
    for shape in slide.iter(f"{_P}sp"):
        if _placeholder(shape) in _TITLES:
            return " ".join(_text(shape).split())
    return ""


def _notes(notes: Any) -> str:
    texts = [
        _text(shape)
        for shape in notes.iter(f"{_P}sp")
        if _placeholder(shape) not in _FURNITURE
    ]
    return "\n\n".join(filter(None, texts))


def _table(table: Any, page: int, headings: tuple[str, ...]) -> Iterator[Piece]:
    first = True
    for row in table.iter(f"{_A}tr"):
        cells = [" ".join(_paragraphs(cell)) for cell in row.iter(f"{_A}tc")]
        yield Piece(
            line(cells),
            SegmentKind.TABLE,
            page=page,
            heading_path=headings,
            has_header=first and is_header(cells),
            fresh=first,
        )
        first = False
    yield Piece("\n", SegmentKind.TABLE, page=page, heading_path=headings)


def _placeholder(shape: Any) -> str:
    """What a shape is a placeholder for; ``obj`` where it is one for anything."""
    found = shape.find(f"{_P}nvSpPr/{_P}nvPr/{_P}ph")
    return "" if found is None else str(found.get("type", "obj"))


def _text(shape: Any) -> str:
    return "\n".join(filter(None, _paragraphs(shape)))


def _paragraphs(shape: Any) -> Iterator[str]:
    for paragraph in shape.iter(f"{_A}p"):
        parts = [
            "\n" if element.tag == f"{_A}br" else element.text or ""
            for element in paragraph.iter(f"{_A}t", f"{_A}br")
        ]
        yield "".join(parts).strip()


def _relations(archive: zipfile.ZipFile, path: str) -> dict[str, str]:
    """Parts that a part refers to, by relation id; nothing outside the archive."""
    folder, name = posixpath.split(path)
    relations = _part(archive, f"{folder}/_rels/{name}.rels")
    if relations is None:
        return {}
    return {
        relation.get("Id", ""): posixpath.normpath(
            posixpath.join("/", folder, relation.get("Target", ""))
        ).lstrip("/")
        for relation in relations.iter(f"{_REL}Relationship")
        if relation.get("TargetMode") != "External"
    }


def _part(archive: zipfile.ZipFile, path: str) -> Any:
    file = member(archive, path)
    if file is None:
        return None
    with file:
        return xml.tree(file)
