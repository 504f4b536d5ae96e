"""Markdown's headings, fences and tables, line by line as the text streams by. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace

from headrace.messages import SegmentKind
from headrace_chunker.items import ITEM_LENGTH, Item, label, path_below
from headrace_chunker.window import Window

_MARK = re.compile(
    r"^ {0,3}(?:"
    r"(?P<fence>`{3,}(?=[^`\n]*$)|~{3,})[ \t]*(?P<language>[\w+#.-]*)[^\n]*$"
    r"|(?P<level>\#{1,6})(?=[ \t\r]|$)(?P<title>[^\n]*)$"
    r"|(?P<underline>=++|-++)[ \t\r]*+$"
    r"|(?P<columns>\|?[ \t]*+:?-++:?[ \t]*+(?:\|[ \t]*+:?-++:?[ \t]*+)*+\|?[ \t\r]*+$)"
    r")",
    re.MULTILINE,
)
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


class _Reader:
    def __init__(self, like: Item) -> None:
        self._like = like
        self._headings: list[tuple[int, str]] = []
        self._path = like.heading_path
        self._fence: re.Pattern[str] | None = None
        self._language = ""
        self._begun = False

    def read(self, text: str, base: int, *, last: bool) -> Iterator[Item]:
        """The items of some whole lines that start at offset ``base``."""
        position = 0
        if self._fence is not None:
            position = self._fence_end(text, 0)
            yield self._code(base, base + position, more=not last)
        elif not self._begun:
            position = matter.end() if (matter := _FRONT_MATTER.match(text)) else 0
            if position:
                yield self._prose(base, base + position)
        self._begun = True
        done = position
        while (mark := _MARK.search(text, position)) is not None:
            position = mark.end()
            if mark["fence"]:
                if done < mark.start():
                    yield self._prose(base + done, base + mark.start())
                done = self._open(mark, text)
                yield self._code(base + mark.start(), base + done, more=not last)
                position = done
            elif mark["level"]:
                if done < mark.start():
                    yield self._prose(base + done, base + mark.start())
                self._enter(len(mark["level"]), _CLOSING.sub("", mark["title"].strip()))
                done = position
                yield self._heading(base + mark.start(), base + done)
            elif mark["underline"] and _titled(text, done, mark.start()):
                title = _line_before(text, mark.start())
                if done < title:
                    yield self._prose(base + done, base + title)
                self._enter(
                    1 if mark["underline"][0] == "=" else 2,
                    text[title : mark.start()],
                )
                done = position
                yield self._heading(base + title, base + done)
            elif mark["columns"] and "|" in text[mark.start() : position]:
                head = _line_before(text, mark.start())
                if head < done or "|" not in text[head : mark.start()]:
                    continue
                if done < head:
                    yield self._prose(base + done, base + head)
                blank = _BLANK_LINE.search(text, position)
                done = position = blank.start() if blank else len(text)
                yield replace(
                    self._like,
                    start=base + head,
                    end=base + done,
                    kind=SegmentKind.TABLE,
                    heading_path=self._path,
                    header=label(text[head : mark.start()]),
                )
        if done < len(text):
            yield self._prose(base + done, base + len(text))

    def _open(self, mark: re.Match[str], text: str) -> int:
        """Begin a fence; gives where it ends, or the end of the text."""
        fence = mark["fence"]
        language = mark["language"].lower()
        self._language = _LANGUAGES.get(language, language)
        self._fence = re.compile(
            rf"^ {{0,3}}{re.escape(fence[0])}{{{len(fence)},}}[ \t\r]*$", re.MULTILINE
        )
        return self._fence_end(text, mark.end())

    def _fence_end(self, text: str, position: int) -> int:
        if self._fence is None:
            return position
        closing = self._fence.search(text, position)
        if closing is None:
            return len(text)
        self._fence = None
        return closing.end()

    def _enter(self, level: int, title: str) -> None:
        while self._headings and self._headings[-1][0] >= level:
            self._headings.pop()
        self._headings.append((level, label(title)))
        self._path = path_below(
            self._like.heading_path, *(entry for _, entry in self._headings)
        )

    def _prose(self, start: int, end: int) -> Item:
        return replace(self._like, start=start, end=end, heading_path=self._path)

    def _heading(self, start: int, end: int) -> Item:
        return replace(
            self._prose(start, end),
            kind=SegmentKind.HEADING,
        )

    def _code(self, start: int, end: int, *, more: bool) -> Item:
        return replace(
            self._prose(start, end),
            kind=SegmentKind.CODE,
            language=self._language,
            more=more and self._fence is not None,
            fenced=True,
        )


def _line_before(text: str, position: int) -> int:
    """Where the line before the one at ``position`` starts."""
    return text.rfind("\n", 0, max(0, position - 1)) + 1


def _titled(text: str, first: int, position: int) -> bool:
    """Whether the line before is a paragraph of one line, so a heading's title.

    Underlining a paragraph of several lines makes it a heading in CommonMark, too, but
    it happens by accident more often than on purpose.
    """
    if position == 0:
        return False
    start = _line_before(text, position)
    line = text[start:position]
    if start < first or not line.strip() or _NO_TITLE.match(line):
        return False
    return start == first or not text[_line_before(text, start) : start].strip()
