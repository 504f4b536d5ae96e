"""Workbooks: a sheet is a page and a section, a row is a line."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import Any

import openpyxl

from headrace.messages import SegmentKind
from headrace_loader.extractors.archive import opened
from headrace_loader.extractors.rows import is_header, line
from headrace_loader.extractors.source import Source
from headrace_loader.kinds import Kind
from headrace_loader.pieces import Piece, heading_path

PARSER = f"openpyxl/{openpyxl.__version__}"


def extract(source: Source, _: Kind) -> Iterator[Piece]:
    """Values as last computed, without formulas; blank rows are left out."""
    with opened(source.file, source.limits):
        # Only its bounds are checked here; openpyxl opens the file itself.
        pass
    source.file.seek(0)
    book = openpyxl.load_workbook(
        source.file, read_only=True, data_only=True, keep_links=False
    )
    try:
        for page, sheet in enumerate(book.worksheets, start=1):
            # What a sheet says of its own size is not to be relied on.
            sheet.reset_dimensions()
            yield from _sheet(sheet, page)
    finally:
        book.close()


def _sheet(sheet: Any, page: int) -> Iterator[Piece]:
    title = str(sheet.title)
    headings = heading_path([title])
    first = True
    for row in sheet.iter_rows(values_only=True):
        cells = [_cell(value) for value in row]
        text = line(cells)
        if not text:
            continue
        if first:
            yield Piece(
                f"{' '.join(title.split())}\n\n",
                SegmentKind.HEADING,
                page=page,
                heading_path=headings,
                section=title,
                fresh=True,
            )
        yield Piece(
            text,
            SegmentKind.TABLE,
            page=page,
            heading_path=headings,
            section=title,
            has_header=first and is_header(cells),
            fresh=first,
        )
        first = False
    if not first:
        yield Piece(
            "\n",
            SegmentKind.TABLE,
            page=page,
            heading_path=headings,
            section=title,
        )


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    if isinstance(value, dt.datetime):
        midnight = value.time() == dt.time()
        return value.date().isoformat() if midnight else value.isoformat(" ")
    if isinstance(value, dt.date | dt.time):
        return value.isoformat()
    return str(value)
