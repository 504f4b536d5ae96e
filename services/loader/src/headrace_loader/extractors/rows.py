"""Tables as text: a row is a line, its cells are separated by bars."""

from __future__ import annotations

import re
from collections.abc import Sequence

_NUMBER = re.compile(r"[-+]?[$€£]?[\d.,' ]*\d[%€$£]?")
_SEPARATOR = " | "


def line(cells: Sequence[str]) -> str:
    """One row; empty where all its cells are."""
    texts = [" ".join(cell.split()) for cell in cells]
    while texts and not texts[-1]:
        texts.pop()
    if not any(texts):
        return ""
    return _SEPARATOR.join(texts).strip() + "\n"


def is_header(cells: Sequence[str]) -> bool:
    """Whether a first row names columns: two or more, no blank, no number, no twin."""
    texts = [cell.strip() for cell in cells]
    while texts and not texts[-1]:
        texts.pop()
    return (
        len(texts) > 1
        and all(text and not _NUMBER.fullmatch(text) for text in texts)
        and len(set(texts)) == len(texts)
    )
