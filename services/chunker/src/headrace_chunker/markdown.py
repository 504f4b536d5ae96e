"""Markdown's headings, fences and tables, line by line as the text streams by. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import NamedTuple

from headrace.messages import SegmentKind
from headrace_chunker.items import ITEM_LENGTH, Item, label, path_below
from headrace_chunker.window import Window

_MARK = re.compile(
    r" {0,3}(?:"
    r"(?P<fence>`{3,}(?=[^`\n]*$)|~{3,})[ \t]*(?P<language>[\w+#.-]*)[^\n]*$"
    r"|(?P<level>\#{1,6})(?=[ \t\r]|$)(?P<title>[^\n]*)$"
    r"|(?P<underline>=++|-++)[ \t\r]*+$"
    r"|(?P<columns>\|?[ \t]*+:?-++:?[ \t]*+(?:\|[ \t]*+:?-++:?[ \t]*+)*+\|?[ \t\r]*+$)"
    r")",
    re.MULTILINE,
)
_MARKED_LINE = re.compile(r"\n {0,3}[`~#=|:-]")
"""Starts with the character to look for, which the expression engine finds fast."""
_CLOSING = re.compile(r"(?:^|(?<=[ \t]))#+$")
_NO_TITLE = re.compile(r"(?: {4}|\t| {0,3}(?:[#>|]|[-*+][ \t]|\d{1,9}[.)][ \t]))")
_BLANK_LINE = re.compile(r"\n[ \t\r]*(?:\n|\Z)")
_FRONT_MATTER = re.compile(
    r"---[ \t\r]*\n(?:[^\n]*\n){0,200}?(?:---|\.\.\.)[ \t\r]*$", re.MULTILINE
)

_LANGUAGES = {
    "py": "python",
    "python3": "python",
    "js": "javascript",
    "jsx": "javascript",
    "ts": "typescript",
    "rs": "rust",
    "golang": "go",
    "c++": "cpp",
    "cc": "cpp",
    "h": "c",
    "hpp": "cpp",
}


def markdown_items(
    window: Window, start: int, upto: Callable[[int], int], *, like: Item
) -> Iterator[Item]:
    """The items of a stretch of Markdown.

    Args:
        window: the text.
        start: where the stretch starts.
        upto: gives a position, or the stretch's end where that comes first.
        like: provenance that every item gets.
    """
    reader = _Reader(like)
    while (end := upto(start + ITEM_LENGTH)) > start:
        last = upto(end + 1) == end
        if not last:
            end = _whole_lines(window, start, end)
        yield from reader.read(window.text(start, end), start, last=last)
        start = end


def _whole_lines(window: Window, start: int, end: int) -> int:
    """An earlier end after a blank line, else after a line, else the same."""
    half = (start + end) // 2
    place = window.rfind("\n\n", half, end)
    if place >= 0:
        return place + 2
    place = window.rfind("\n", start, end)
    return place + 1 if place >= 0 else end


class _Closing(NamedTuple):
    """What closes a fence: a line that is as long a fence and nothing more."""

    line: re.Pattern[str]
    later: re.Pattern[str]
    """With the line end before it, which the expression engine finds fast."""

    @classmethod
    @lru_cache(maxsize=64)
    def of(cls, character: str, length: int) -> _Closing:
        """What closes a fence of so many of a character."""
        line = rf" {{0,3}}{re.escape(character)}{{{length},}}[ \t\r]*$"
        return cls(
            re.compile(line, re.MULTILINE), re.compile("\n" + line, re.MULTILINE)
        )

    def find(self, text: str, position: int) -> re.Match[str] | None:
        """The first such line from the start of a line, or after its end."""
        first = self.line.match(text) if position == 0 else None
        return first or self.later.search(text, position)


class _Reader:
    def __init__(self, like: Item) -> None:
        self._like = like
        self._headings: list[tuple[int, str]] = []
        self._path = like.heading_path
        self._fence: _Closing | None = None
        self._language = ""
        self._begun = False
        # The lines being read, where they start, and whether they are the last.
        self._text = ""
        self._base = 0
        self._last = False

    def read(self, text: str, base: int, *, last: bool) -> Iterator[Item]:
        """The items of some whole lines that start at offset ``base``."""
        self._text, self._base, self._last = text, base, last
        done = self._leading(text)
        if done:
            if self._fence is None and not self._begun:
                yield self._item(SegmentKind.PROSE, 0, done)
            else:
                yield self._code(0, self._fence_end(0))
        self._begun = True
        position = done
        while (mark := _next_mark(text, position)) is not None:
            position = mark.end()
            start = self._item_start(mark, done)
            if start < 0:
                continue
            if text[done:start].strip():
                yield self._item(SegmentKind.PROSE, done, start)
            item = self._marked(mark, start)
            yield item
            done = position = item.end - base
        if text[done:].strip():
            yield self._item(SegmentKind.PROSE, done, len(text))

    def _leading(self, text: str) -> int:
        """How much goes on from before, or is front matter."""
        if self._fence is not None:
            closing = self._fence.find(text, 0)
            return closing.end() if closing else len(text)
        matter = None if self._begun else _FRONT_MATTER.match(text)
        return matter.end() if matter else 0

    def _item_start(self, mark: re.Match[str], done: int) -> int:
        """Where what the mark makes starts; negative if it makes nothing."""
        if mark["fence"] or mark["level"]:
            return mark.start()
        start = _line_before(self._text, mark.start())
        if start < done or start == mark.start():
            return -1
        if mark["underline"]:
            return start if _is_title(self._text, start, done, mark.start()) else -1
        row = self._text[start : mark.start()]
        return start if "|" in row and "|" in mark[0] else -1

    def _marked(self, mark: re.Match[str], start: int) -> Item:
        text = self._text
        if mark["fence"]:
            return self._code(start, self._open(mark))
        if mark["level"]:
            title = _CLOSING.sub("", mark["title"].strip())
            return self._heading(len(mark["level"]), title, start, mark.end())
        if mark["underline"]:
            level = 1 if mark["underline"][0] == "=" else 2
            title = text[start : mark.start()]
            return self._heading(level, title, start, mark.end())
        blank = _BLANK_LINE.search(text, mark.end())
        table = self._item(
            SegmentKind.TABLE, start, blank.start() if blank else len(text)
        )
        table.header = label(text[start : mark.start()])
        return table

    def _open(self, mark: re.Match[str]) -> int:
        """Begin a fence; gives where it ends, or the end of the text."""
        fence = mark["fence"]
        language = mark["language"].lower()
        self._language = _LANGUAGES.get(language, language)
        self._fence = _Closing.of(fence[0], len(fence))
        return self._fence_end(mark.end())

    def _fence_end(self, position: int) -> int:
        """Where the open fence ends, from then on closed, or the end of the text."""
        closing = self._fence and self._fence.find(self._text, position)
        if not closing:
            return len(self._text)
        self._fence = None
        return closing.end()

    def _item(self, kind: SegmentKind, start: int, end: int) -> Item:
        like = self._like
        return Item(
            self._base + start,
            self._base + end,
            kind,
            like.page,
            self._path,
            like.section,
            like.language,
        )

    def _heading(self, level: int, title: str, start: int, end: int) -> Item:
        while self._headings and self._headings[-1][0] >= level:
            self._headings.pop()
        self._headings.append((level, label(title)))
        self._path = path_below(
            self._like.heading_path, *(entry for _, entry in self._headings)
        )
        return self._item(SegmentKind.HEADING, start, end)

    def _code(self, start: int, end: int) -> Item:
        code = self._item(SegmentKind.CODE, start, end)
        code.language = self._language
        code.more = self._fence is not None and not self._last
        code.fenced = True
        return code


def _next_mark(text: str, position: int) -> re.Match[str] | None:
    """The next line that may be more than prose, from ``position`` on."""
    if position == 0 and (mark := _MARK.match(text)) is not None:
        return mark
    # The position may be the end of the line before.
    for line in _MARKED_LINE.finditer(text, max(0, position - 1)):
        if (mark := _MARK.match(text, line.start() + 1)) is not None:
            return mark
    return None


def _line_before(text: str, position: int) -> int:
    """Where the line before the one at ``position`` starts."""
    return text.rfind("\n", 0, max(0, position - 1)) + 1


def _is_title(text: str, start: int, done: int, end: int) -> bool:
    """Whether a line is a whole paragraph, so that a line below makes it a heading.

    Underlining a paragraph of several lines makes it a heading in CommonMark, too, but
    it happens by accident more often than on purpose.
    """
    line = text[start:end]
    if not line.strip() or _NO_TITLE.match(line):
        return False
    return start == done or not text[_line_before(text, start) : start].strip()
