"""Packs code: between definitions, else between statements, else between lines. Pure.

A chunk's heading path names the definitions that hold all of it. Long files are parsed
in windows that end before a definition, so memory and the time of a parse are bounded;
a definition longer than a window is continued without its name.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from functools import partial
from itertools import accumulate

from headrace_chunker import breaks
from headrace_chunker.fitting import Fitted, Measure
from headrace_chunker.items import ITEM_LENGTH, Item, Items, Span, common_path
from headrace_chunker.outline import INSIDE, Line, outline

_WINDOW = 2 * ITEM_LENGTH
_FENCE = re.compile(r"\n {0,3}(?:`{3,}|~{3,})[^\n]*")
_LONGEST_INDENT = 256
_LEVEL_COST = 0.4
"""A place one level deeper must let the chunk hold so much more of its limit."""


class Code:
    """Takes one piece of code, its continuations included, from ``items``."""

    def __init__(self, measure: Measure, items: Items, *, limit: int) -> None:
        self._measure = measure
        self._items = items
        self._limit = limit
        self._item = Item(0, 0)
        self._end = 0
        # Lines whose outline is known: where each starts, and what it is.
        self._starts: list[int] = []
        self._lines: list[Line] = []
        self._outlined = 0

    def spans(self) -> Iterator[Span]:
        """The chunks, as soon as each is certain."""
        self._items.peek()
        code = self._item = self._items.take()
        self._end = code.end
        position = self._outlined = code.start
        while True:
            self._read_on(position)
            start = self._measure.first_text(position, self._outlined)
            if start >= self._outlined:
                if self._complete:
                    return
                position = self._outlined
                continue
            line = self._indented(start, position)
            self._read_on(line)
            fitted = self._measure.fit(
                line, self._limit, partial(self._line_end, line), least=start
            )
            yield Span(
                fitted.start,
                fitted.end,
                fitted.text,
                fitted.token_count,
                code.page,
                self._path(fitted, code),
                code.section,
            )
            position = fitted.end
            self._drop(position)

    @property
    def _complete(self) -> bool:
        return not self._item.more and self._outlined >= self._end

    def _indented(self, start: int, position: int) -> int:
        """The start of the line where only its indentation comes before ``start``.

        Indentation that would take much of the chunk is left out.
        """
        line = self._starts[max(0, bisect_right(self._starts, start) - 1)]
        if (
            position <= line
            and start - line <= _LONGEST_INDENT
            and not self._measure.window.text(line, start).strip(" \t")
            and self._measure.ruler.exact(line, start) <= self._limit // 4
        ):
            return line
        return start

    def _read_on(self, start: int) -> None:
        """Outline lines until they hold more than a chunk may."""
        far = self._measure.ruler.furthest(start, self._limit, precise=False)
        while not self._complete and self._outlined <= far + breaks.LOOKAHEAD:
            self._outline_more()

    def _outline_more(self) -> None:
        wanted = self._outlined + _WINDOW
        while self._item.more and self._end < wanted:
            self._items.peek()
            self._item = self._items.take()
            self._end = self._item.end
        start, end = self._outlined, min(wanted, self._end)
        window = self._measure.window
        more = self._item.more or end < self._end
        if more:
            # Whole lines only, where a line ends at all.
            end = window.rfind("\n", start, end) + 1 or end
        text = window.text(start, end)
        if self._item.fenced:
            # Below a line end, which the expression engine finds fast.
            text = _FENCE.sub(_blanked, "\n" + text)[1:]
        lines = outline(text, self._item.language, path=self._item.heading_path)
        starts = _line_starts(text, start)
        if text.endswith("\n"):
            # What follows the last line end is the next window's.
            del lines[-1], starts[-1]
        if more and (kept := _whole_definitions(lines)):
            end = starts[kept]
            del lines[kept:], starts[kept:]
        self._lines += lines
        self._starts += starts
        self._outlined = end

    def _drop(self, position: int) -> None:
        done = max(0, bisect_right(self._starts, position) - 1)
        if done > len(self._starts) // 2:
            del self._starts[:done], self._lines[:done]

    def _line_end(self, start: int, furthest: int) -> int:
        if self._complete and (
            self._end <= furthest or self._measure.blank(furthest, self._end)
        ):
            return self._end
        # The end of a line is as good as the start of the next.
        first = bisect_right(self._starts, start)
        last = bisect_right(self._starts, furthest + 1)
        levels = [line.level for line in self._lines[first:last]]
        places = self._starts[first:last]
        best = _best_place(levels, places, start, max(1, furthest - start))
        if best > start:
            return best
        text = self._measure.window.text(
            start, self._measure.window.upto(furthest + breaks.LOOKAHEAD)
        )
        blank = len(text) - len(text.lstrip())
        return start + breaks.last_break(
            text, start=0, first=blank + 1, limit=max(furthest - start, blank + 1)
        )

    def _path(self, fitted: Fitted, code: Item) -> tuple[str, ...]:
        first = max(0, bisect_right(self._starts, fitted.start) - 1)
        last = bisect_left(self._starts, fitted.end)
        path: tuple[str, ...] | None = None
        for line in self._lines[first:last]:
            if line.path != path and not line.blank:
                path = line.path if path is None else common_path(path, line.path)
        return code.heading_path if path is None else path


def _best_place(levels: list[int], places: list[int], start: int, room: int) -> int:
    """Of the places where lines start the one that costs least, the last of equals.

    It is -1 where there is none.
    """
    best, best_cost = -1, 0.0
    lowest = INSIDE + 1
    for level, place in zip(reversed(levels), reversed(places), strict=True):
        if level >= lowest:
            # A later line of no higher level costs less.
            continue
        lowest = level
        cost = level * _LEVEL_COST - (place - start) / room
        if best < 0 or cost < best_cost:
            best, best_cost = place, cost
        if level == 0:
            break
    return best


def _blanked(fence: re.Match[str]) -> str:
    return "\n" + " " * (len(fence[0]) - 1)


def _line_starts(text: str, base: int) -> list[int]:
    lengths = map(len, text.split("\n")[:-1])
    return list(
        accumulate(lengths, lambda start, length: start + length + 1, initial=base)
    )


def _whole_definitions(lines: list[Line]) -> int:
    """How many lines to keep: up to the last of the best places in the second half."""
    half = range(len(lines) // 2, len(lines))
    if not half or half[0] == 0:
        return 0
    best = min(lines[line].level for line in half)
    return max(line for line in half if lines[line].level == best)
