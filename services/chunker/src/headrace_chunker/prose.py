"""Packs prose: whole sections where they fit, else paragraphs, lines, sentences. Pure.

Small tables and code among the prose travel with it and are never cut. A chunk holds
several sections only where they fit whole and belong together: they are below a
common heading, or so small that each would be a poor chunk alone. Its heading path is
what the paths of its sections share; a section that is a heading and nothing else does
not count, since the headings below it name it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from headrace.messages import SegmentKind
from headrace_chunker import breaks
from headrace_chunker.fitting import Fitted, Measure
from headrace_chunker.items import Item, Items, Span, common_path

_WHOLE = frozenset({SegmentKind.TABLE, SegmentKind.CODE})
_HEADING = SegmentKind.HEADING


@dataclass(slots=True)
class _Section:
    """Items with one heading path in a row."""

    start: int
    end: int
    path: tuple[str, ...]
    has_body: bool
    ended: bool
    """Whether ``end`` is its end, or only as far as was read."""
    whole: bool
    """Whether something in it must not be cut."""


@dataclass(slots=True)
class _Choice:
    end: int
    path: tuple[str, ...]
    within: bool
    """The end is within a section, so that the next chunk may overlap."""


class Prose:
    """Takes prose from ``items`` until something else or another section begins."""

    def __init__(
        self,
        measure: Measure,
        items: Items,
        *,
        limit: int,
        overlap: int,
        travels: Callable[[Item], bool],
    ) -> None:
        """Prepare to pack.

        Args:
            measure: the document.
            items: where to take from; the first one is prose or travels with it.
            limit: tokens of a chunk.
            overlap: tokens that two chunks of a section may share.
            travels: whether a table or code is small enough to travel with prose.
        """
        self._measure = measure
        self._items = items
        self._limit = limit
        self._overlap = overlap
        self._travels = travels
        self._held: deque[Item] = deque()
        self._ended = False
        self._choice = _Choice(0, (), within=False)

    def spans(self) -> Iterator[Span]:
        """The chunks, as soon as each is certain."""
        floor = position = 0
        while (start := self._next_text(position)) is not None:
            first = self._held[0]
            self._fill(start)
            fitted = self._measure.fit(
                start,
                self._limit,
                partial(self._end, start, floor),
                least=max(start, floor),
            )
            choice = self._choice
            if start < floor and (choice.end <= floor or fitted.end <= floor):
                # What overlaps leaves no room for what follows.
                position = floor
                continue
            yield Span(
                fitted.start,
                fitted.end,
                fitted.text,
                fitted.token_count,
                first.page,
                choice.path,
                first.section,
            )
            floor = fitted.chosen
            position = self._overlap_start(fitted, floor, choice)

    def _end(self, start: int, floor: int, furthest: int) -> int:
        self._choice = self._choose(start, floor, furthest)
        return self._choice.end

    def _next_text(self, position: int) -> int | None:
        """The first text from ``position`` on; items before it are dropped."""
        while True:
            if not self._held and not self._take():
                return None
            item = self._held[0]
            start = self._measure.first_text(max(position, item.start), item.end)
            if start < item.end:
                return start
            self._held.popleft()

    def _take(self) -> bool:
        """Hold one more item if it belongs here."""
        if self._ended:
            return False
        item = self._items.peek()
        if (
            item is None
            or (self._held and item.section != self._held[-1].section)
            or (item.kind in _WHOLE and not self._travels(item))
        ):
            self._ended = True
            return False
        self._held.append(self._items.take())
        return True

    def _fill(self, start: int) -> None:
        """Hold about half as much again as a chunk may have, to see its end coming."""
        estimate = self._measure.ruler.estimate
        enough = self._limit * 3 // 2
        while estimate(start, self._held[-1].end) <= enough and self._take():
            pass

    def _choose(self, start: int, floor: int, furthest: int) -> _Choice:
        while self._held[-1].end <= furthest and self._take():
            pass
        section, *others = self._sections(start)
        if not self._within(section, furthest):
            return self._cut(section, start, max(start, floor), furthest)
        choice = _Choice(section.end, section.path, within=False)
        # The end of the last section that says anything: a heading without a body
        # belongs to what follows it.
        said = choice if section.has_body else None
        for section in others:
            below = said is None and section.path[: len(choice.path)] == choice.path
            path = section.path if below else common_path(choice.path, section.path)
            if not self._within(section, furthest):
                if path and (below or self._small(start, choice.end, 8)):
                    cut = self._cut(section, start, section.start, furthest)
                    if cut.end > section.start:
                        return _Choice(cut.end, path, within=True)
                return said or choice
            if not path and not (
                self._small(start, choice.end, 4)
                and self._small(section.start, section.end, 4)
            ):
                return said or choice
            choice = _Choice(section.end, path, within=False)
            if section.has_body:
                said = choice
        return choice

    def _sections(self, start: int) -> list[_Section]:
        sections: list[_Section] = []
        path: tuple[str, ...] | None = None
        for item in self._held:
            kind = item.kind
            if item.heading_path == path:
                current = sections[-1]
                current.end = item.end
                current.has_body |= kind is not _HEADING
                current.whole |= kind in _WHOLE
                continue
            path = item.heading_path
            sections.append(
                _Section(
                    max(start, item.start),
                    item.end,
                    path,
                    has_body=kind is not _HEADING,
                    ended=True,
                    whole=kind in _WHOLE,
                )
            )
        following = None if self._ended else self._items.peek()
        if following is not None and following.heading_path == path:
            sections[-1].ended = False
        return sections

    def _within(self, section: _Section, furthest: int) -> bool:
        return section.ended and self._reaches(furthest, section.end)

    def _reaches(self, furthest: int, end: int) -> bool:
        return end <= furthest or self._measure.blank(furthest, end)

    def _small(self, start: int, end: int, share: int) -> bool:
        return self._measure.ruler.estimate(start, end) <= self._limit // share

    def _cut(self, section: _Section, start: int, floor: int, furthest: int) -> _Choice:
        """End within a section that goes on beyond ``furthest``, after ``floor``."""
        choice = _Choice(0, section.path, within=True)
        if section.ended and not section.whole:
            # Rather two chunks of about a size than a full one and a scrap.
            rest = self._measure.ruler.estimate(start, section.end)
            if self._limit < rest < self._limit * 3 // 2:
                ruler = self._measure.ruler
                balanced = ruler.furthest(start, rest * 3 // 5)
                if floor < balanced < furthest:
                    furthest = balanced
        after_whole = 0
        for item in self._held:
            if item.kind in _WHOLE and start < item.start < furthest:
                if not self._reaches(furthest, item.end):
                    # Never through it; where it comes first the caller makes room.
                    choice.end = item.start
                    return choice
                after_whole = item.end
        first = max(floor + 1, after_whole)
        if first >= furthest:
            choice.end = max(furthest, floor + 1)
            return choice
        window = self._measure.window
        text = window.text(first, window.upto(furthest + breaks.LOOKAHEAD))
        limit = furthest - first
        if (
            after_whole >= (start + furthest) // 2
            and breaks.last_paragraph(text, first=0, limit=limit) < 0
        ):
            choice.end = after_whole
        else:
            choice.end = first + breaks.last_break(
                text, start=start - first, first=0, limit=limit
            )
        return choice

    def _overlap_start(self, last: Fitted, end: int, choice: _Choice) -> int:
        """Where the next chunk starts: at ``end``, or before it by the overlap."""
        if self._overlap == 0 or not choice.within:
            return end
        following = next((item for item in self._held if item.end > end), None)
        if (
            following is None
            or following.kind in _WHOLE
            or following.heading_path != choice.path
        ):
            return end
        first = last.start + 1
        for item in self._held:
            if item.start >= last.end:
                break
            if item.kind in _WHOLE or item.heading_path != choice.path:
                first = max(first, item.end)
        if first >= last.end:
            return end
        ruler = self._measure.ruler
        near = ruler.overlap(first, last.end, limit=self._overlap)
        text = self._measure.window.text(near, last.end)

        for find in (breaks.sentence_starts, breaks.word_starts):
            for place in find(text):
                if ruler.exact(near + place, last.end) <= self._overlap:
                    return near + place
        return end
