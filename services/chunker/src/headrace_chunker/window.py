"""A document's text as it streams by, addressed by its own offsets. Pure: no I/O."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from headrace.messages import Segment, TextPart

_RELEASE_STEP = 64 * 1024
"""Text is dropped in steps of this: each drop copies what remains."""


class Window:
    """The part of the text that is in memory: what lies ahead of ``release``.

    How the text was cut into parts shows only in how much lies ahead, so nothing may
    be decided by ``end`` before ``reach`` said that it is the document's.

    Attributes:
        end: where the text read so far ends.
        segments: those that start in the text read so far and were not yet taken.
    """

    def __init__(self, parts: Iterable[TextPart]) -> None:
        self._parts = iter(parts)
        self._text = ""
        self._base = 0
        self._ended = False
        self.end = 0
        self.segments: deque[Segment] = deque()

    def reach(self, position: int) -> bool:
        """Read on until the text covers ``position``; false where it ends before."""
        if position <= self.end:
            return True
        if self._ended:
            return False
        texts = [self._text] if self._text else []
        end = self.end
        while end < position and not self._ended:
            part = next(self._parts, None)
            if part is None:
                self._ended = True
            else:
                texts.append(part.text)
                end += len(part.text)
                self.segments.extend(part.segments)
        self._text = "".join(texts)
        self.end = end
        return position <= end

    def upto(self, position: int) -> int:
        """``position``, or the document's end where that comes first."""
        if position <= self.end or self.reach(position):
            return position
        return self.end

    def text(self, start: int, end: int) -> str:
        """The text between two offsets that were reached and not released."""
        base = self._base
        # The same place where nothing was released, as in most documents.
        return self._text[start - base : end - base] if base else self._text[start:end]

    def find(self, wanted: str, start: int, end: int) -> int:
        """First occurrence within the bounds, or -1."""
        found = self._text.find(wanted, start - self._base, end - self._base)
        return found + self._base if found >= 0 else -1

    def rfind(self, wanted: str, start: int, end: int) -> int:
        """Last occurrence within the bounds, or -1."""
        found = self._text.rfind(wanted, start - self._base, end - self._base)
        return found + self._base if found >= 0 else -1

    def release(self, position: int) -> None:
        """Nothing before ``position`` will be asked for again."""
        if position - self._base >= _RELEASE_STEP:
            self._text = self._text[position - self._base :]
            self._base = position
