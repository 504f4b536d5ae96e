"""Packs tables by whole rows. Pure: no I/O.

A chunk's text is always a span of the document's, so the header row is not repeated
in it: chunks that start after the header carry it as the last entry of their heading
path.
"""

from __future__ import annotations

from collections.abc import Iterator

from headrace_chunker import breaks
from headrace_chunker.fitting import Measure
from headrace_chunker.items import Item, Items, Span, path_below


class Table:
    """Takes one table, its continuations included, from ``items``."""

    def __init__(self, measure: Measure, items: Items, *, limit: int) -> None:
        self._measure = measure
        self._items = items
        self._limit = limit
        self._item = Item(0, 0)
        self._end = 0

    def spans(self) -> Iterator[Span]:
        """The chunks, as soon as each is certain."""
        self._items.peek()
        table = self._item = self._items.take()
        self._end = table.end
        position = table.start
        while True:
            self._read_on(position)
            start = self._measure.first_text(position, self._end)
            if start >= self._end:
                if not self._item.more:
                    return
                position = self._end
                continue
            self._read_on(start)
            fitted = self._measure.fit(start, self._limit, self._row_end, least=start)
            headless = table.header and start > table.start + len(table.header)
            yield Span(
                fitted.start,
                fitted.end,
                fitted.text,
                fitted.token_count,
                table.page,
                path_below(table.heading_path, table.header)
                if headless
                else table.heading_path,
                table.section,
            )
            position = fitted.end

    def _read_on(self, start: int) -> None:
        """Take the table's next items until they hold more than a chunk may."""
        far = self._measure.ruler.furthest(start, self._limit, precise=False)
        while self._item.more and self._end <= far + breaks.LOOKAHEAD:
            self._items.peek()
            self._item = self._items.take()
            self._end = self._item.end
        self._from = start

    def _row_end(self, furthest: int) -> int:
        if not self._item.more and (
            self._end <= furthest or self._measure.blank(furthest, self._end)
        ):
            return self._end
        window = self._measure.window
        row = window.rfind("\n", self._from + 1, furthest + 1)
        if row >= 0:
            return row
        text = window.text(self._from, window.upto(furthest + breaks.LOOKAHEAD))
        return self._from + breaks.last_break(
            text, start=0, first=1, limit=furthest - self._from
        )
