"""Where prose may end a chunk, best place first. Pure: no I/O."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from headrace_chunker.graphemes import last_cut

# Each pattern starts with what it looks for, never with a look behind: the expression
# engine then skips what cannot match. White space belongs to neither chunk.
_PARAGRAPH = re.compile(r"\n[ \t\r]*\n")
_LINE = re.compile(
    # The end of a line that ends a sentence, or before one that starts an item.
    "\n(?:(?<=[.!?:;\u2026\u3002\uff01\uff1f\"')\\]\u201d\u2019\u00bb]\n)"
    "|(?=[ \t]*(?:[-*+\u2022|>]|[0-9]{1,3}[.)])[ \t]))"
)
_SENTENCE = re.compile(
    # In Chinese and Japanese no space follows; elsewhere neither a small letter does,
    # nor does an initial come before.
    "[.!?\u2026\u3002\uff01\uff1f]"
    "(?:(?<=[\u3002\uff01\uff1f])[\u300d\u300f\u201d\u2019\uff09]*"
    r"|(?<!\b[A-Z].)[\"')\]"
    "\u201d\u2019\u00bb]*"
    r"(?=\s+[^\sa-z]))"
)
_WRAPPED_LINE = re.compile("\n")
_SPACE = re.compile(r"\s")
_SENTENCE_START = re.compile(
    "(?:"
    # A space always follows, but in Chinese and Japanese.
    "[.!?\u2026](?<!\\b[A-Z].)[\"')\\]\u201d\u2019\u00bb]*\\s+(?=[^\\sa-z])"
    "|[\u3002\uff01\uff1f][\u300d\u300f\u201d\u2019\uff09]*\\s*"
    "|\n[ \t\r]*\n\\s*"
    "|\n[ \t]*(?=(?:[-*+\u2022|>]|[0-9]{1,3}[.)])[ \t])"
    r")\S"
)
_WORD_START = re.compile(r"(?<=\s)\S")


class _Rung(NamedTuple):
    pattern: re.Pattern[str]
    ends_before: bool
    """Whether the chunk ends before what the pattern finds, or after it."""
    fill: float
    """How full a chunk has to be to end there."""


_LADDER = (
    _Rung(_PARAGRAPH, ends_before=True, fill=0.5),
    _Rung(_LINE, ends_before=True, fill=0.6),
    _Rung(_SENTENCE, ends_before=False, fill=0.5),
    # A wrapped line may end anywhere in a sentence.
    _Rung(_WRAPPED_LINE, ends_before=True, fill=0.8),
    _Rung(_SPACE, ends_before=True, fill=0.5),
    _Rung(_SPACE, ends_before=True, fill=0.0),
)

LOOKAHEAD = 16
"""Characters that a text should hold beyond the limit, where there are any."""


def last_paragraph(text: str, *, first: int, limit: int) -> int:
    """The last end of a paragraph from ``first`` to ``limit``, or -1."""
    return _last(_LADDER[0], text, first, limit)


def last_break(text: str, *, start: int, first: int, limit: int) -> int:
    """Where to end a chunk: the best break from ``first`` to ``limit``.

    Args:
        text: some text around both.
        start: where the chunk starts in it, negative if before.
        first: the least answer.
        limit: the greatest answer, greater than 0.
    """
    for rung in _LADDER:
        at_least = max(first, start + int((limit - start) * rung.fill))
        place = _last(rung, text, at_least, limit)
        if place >= 0:
            return place
    return max(first, last_cut(text, limit))


def sentence_starts(text: str) -> Iterator[int]:
    """Where sentences, paragraphs and items start, the text's own start left out."""
    return (match.end() - 1 for match in _SENTENCE_START.finditer(text))


def word_starts(text: str) -> Iterator[int]:
    """Where words start, the text's own start left out."""
    return (match.start() for match in _WORD_START.finditer(text))


def _last(rung: _Rung, text: str, first: int, limit: int) -> int:
    place = -1
    for match in rung.pattern.finditer(text, first):
        found = match.start() if rung.ends_before else match.end()
        if found > limit:
            break
        place = found
    return place
