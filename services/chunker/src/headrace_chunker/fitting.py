"""What all ways of packing share: the text, the ruler, and spans that fit. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from headrace_chunker.graphemes import last_cut
from headrace_chunker.ruler import Ruler
from headrace_chunker.window import Window

_STEP = 256


@dataclass(slots=True)
class Fitted:
    """A stretch without white space at its end, and its exact count of tokens.

    Attributes:
        chosen: where it was to end, white space included.
    """

    start: int
    end: int
    chosen: int
    text: str
    token_count: int


@dataclass(frozen=True, slots=True)
class Measure:
    """One document's text and the ruler along it."""

    window: Window
    ruler: Ruler

    def first_text(self, start: int, end: int) -> int:
        """Where the first character that is not white space is; ``end`` if none is."""
        while start < end:
            step = self.window.text(start, min(start + _STEP, end))
            if rest := step.lstrip():
                return start + len(step) - len(rest)
            start += len(step)
        return end

    def blank(self, start: int, end: int) -> bool:
        """Whether there is only white space, or nothing."""
        return self.first_text(start, end) >= end

    def fit(
        self,
        start: int,
        limit: int,
        choose: Callable[[int], int],
        *,
        least: int,
    ) -> Fitted:
        """The span from ``start`` to where ``choose`` wants to end it.

        A count between cuts that are not safe is an estimate, so the choice is made
        again with a nearer bound until the exact count is within the limit.

        Args:
            start: where the span starts.
            limit: tokens.
            choose: gives an end for the furthest end that is allowed.
            least: the span ends after this: after the first text, after what is in
                another span already. One code point more is always allowed.
        """
        ruler = self.ruler
        furthest = ruler.furthest(start, limit)
        allowed = limit
        while True:
            end = max(choose(furthest), least + 1)
            if furthest <= least + 1:
                # Whatever was chosen: each round must allow less than the last.
                end = least + 1
            text = self.window.text(start, end).rstrip()
            count = ruler.exact(start, start + len(text))
            if count <= limit or end <= least + 1:
                return Fitted(start, start + len(text), end, text, count)
            allowed = min(allowed - 1, allowed * limit // count)
            nearer = ruler.furthest(start, max(1, allowed))
            furthest = min(nearer, self._shorter(start, min(end, furthest)))

    def _shorter(self, start: int, end: int) -> int:
        """A somewhat nearer end between letters; one code point at least."""
        text = self.window.text(start, end)
        return start + max(1, last_cut(text, len(text) - 1 - len(text) // 64))
