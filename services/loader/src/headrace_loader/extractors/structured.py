"""JSON and JSON lines, flattened to lines of ``path: value``.

Keys are words that people search for, and each line says by itself what its value is.
Records of a list are set apart by a blank line; their numbers are left out, because
they mean nothing to a search and would differ after every insertion.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from typing import Any

from headrace_loader.extractors import plain
from headrace_loader.extractors.source import Source
from headrace_loader.kinds import Kind
from headrace_loader.pieces import Piece
from headrace_loader.texts import blocks

PARSER = "json/1"

_LINE_LIMIT = 32 * 1024 * 1024
"""A longer line is no record of JSON lines."""


def extract(source: Source, kind: Kind) -> Iterator[Piece]:
    """The values in their order; what is no JSON after all is taken as text."""
    if kind is Kind.JSON_LINES:
        yield from _records(source)
        return
    text = "".join(blocks(source.file, source.charset))
    try:
        value = _load(text)
    except (ValueError, RecursionError):
        del text
        yield from _records(source)
        return
    yield from _pieces(value)


def _records(source: Source) -> Iterator[Piece]:
    """One value a line, as far as the first lines show that it is that."""
    lines = _lines(source)
    begun = list(itertools.islice(lines, 2))
    try:
        for row in begun:
            _load(row)
    except (ValueError, RecursionError):
        yield from plain.extract(source, Kind.TEXT)
        return
    for row in itertools.chain(begun, lines):
        try:
            yield from _pieces(_load(row))
        except (ValueError, RecursionError):
            yield Piece(row + "\n\n")


def _lines(source: Source) -> Iterator[str]:
    rest = ""
    for block in blocks(source.file, source.charset):
        *whole, rest = (rest + block).split("\n")
        yield from filter(str.strip, whole)
        if len(rest) > _LINE_LIMIT:
            raise ValueError(f"a line of over {_LINE_LIMIT:,} characters")
    if rest.strip():
        yield rest


def _load(text: str) -> Any:
    # Numbers stay as they are written.
    return json.loads(
        text.lstrip("\ufeff"), parse_float=str, parse_int=str, parse_constant=str
    )


def _pieces(value: Any) -> Iterator[Piece]:
    records = value if isinstance(value, list) else [value]
    for record in records:
        text = "".join(_flat(record, ""))
        if text:
            yield Piece(text + "\n" if isinstance(record, dict | list) else text)


def _flat(value: Any, path: str) -> Iterator[str]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _flat(inner, f"{path}.{name}" if path else str(name))
    elif isinstance(value, list):
        if all(isinstance(item, str) and len(item) < 100 for item in value):
            # Short texts belong together: tags, names, numbers.
            value = ", ".join(value)
            yield from _flat(value, path)
        else:
            for item in value:
                yield from _flat(item, path)
    elif value is not None and value != "":
        text = str(value).lower() if isinstance(value, bool) else str(value)
        yield f"{path}: {text}\n" if path else f"{text}\n"
