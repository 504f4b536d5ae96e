"""CSV and its like, whatever the delimiter."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

from headrace.messages import SegmentKind
from headrace_loader.extractors.rows import is_header, line
from headrace_loader.extractors.source import Source
from headrace_loader.kinds import Kind
from headrace_loader.pieces import Piece
from headrace_loader.texts import head_text

PARSER = "csv/1"

_DELIMITERS = ",;\t|"
_FIELD_BYTES = 1024 * 1024
"""A larger field is a quote that was never closed."""


def extract(source: Source, _: Kind) -> Iterator[Piece]:
    """Rows as lines; the first one is the header where it looks like one."""
    delimiter = _delimiter(head_text(source.file, source.charset))
    csv.field_size_limit(_FIELD_BYTES)
    source.file.seek(0)
    text = io.TextIOWrapper(
        source.file, encoding=source.charset, errors="replace", newline=""
    )
    first = True
    try:
        lines = (row.replace("\0", "") for row in text)
        for cells in csv.reader(lines, delimiter=delimiter):
            row = line([cell.replace("\ufeff", "") for cell in cells])
            if row:
                yield Piece(
                    row,
                    SegmentKind.TABLE,
                    has_header=first and is_header(cells),
                )
                first = False
    finally:
        text.detach()


def _delimiter(head: str) -> str:
    """The one that most evenly divides the first lines; a comma where none does."""
    lines = [row for row in head.splitlines()[:50] if row.strip()]
    best, best_score = ",", 0.0
    for delimiter in _DELIMITERS:
        counts = [row.count(delimiter) for row in lines]
        usual = max(set(counts), key=counts.count, default=0)
        score = counts.count(usual) / max(1, len(counts)) if usual else 0.0
        if score > best_score:
            best, best_score = delimiter, score
    return best
