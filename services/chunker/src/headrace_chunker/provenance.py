"""From segments to stretches of one provenance, however the parts were cut. Pure.

A loader ends a segment where its part ends, so neighbours that are alike are one
stretch. Text that no segment covers is a stretch too.
"""

from __future__ import annotations

from collections.abc import Iterator

from headrace.messages import Segment, SegmentKind
from headrace_chunker.window import Window


class Stretch:
    """Text of one provenance; where it ends shows as the text is read.

    Attributes:
        segment: its provenance; ``end`` is that of the first of its segments.
        stated: whether a segment says so, not the lack of one.
    """

    def __init__(
        self, window: Window, start: int, segment: Segment, *, stated: bool
    ) -> None:
        self.start = start
        self.segment = segment
        self.stated = stated
        self._window = window
        self._end = segment.end

    def upto(self, position: int) -> int:
        """``position``, or the stretch's end where that comes first."""
        window = self._window
        if not self.stated:
            end = window.upto(position)
            following = _following(window, self.start)
            return min(end, following.start) if following else end
        while self._end < position and self._join():
            pass
        return window.upto(min(position, self._end))

    def _join(self) -> bool:
        """Take the next segment in if it only goes on with this one."""
        window, mine = self._window, self.segment
        if not window.reach(self._end + 1):
            return False
        following = _following(window, self._end)
        if (
            following is None
            or following.start > self._end
            or following.has_header
            or mine.kind is SegmentKind.HEADING
            or not _alike(mine, following)
        ):
            return False
        window.segments.popleft()
        self._end = following.end
        return True


def stretches(window: Window, default: Segment) -> Iterator[Stretch]:
    """The stretches in order, each to be read to its end before the next.

    Args:
        window: the text.
        default: provenance of text that no segment covers.
    """
    position = 0
    while window.reach(position + 1):
        following = _following(window, position)
        if following is not None and following.start <= position:
            window.segments.popleft()
            stretch = Stretch(window, position, following, stated=True)
        else:
            stretch = Stretch(window, position, default, stated=False)
        yield stretch
        end = position
        while (reached := stretch.upto(end + 64 * 1024)) > end:
            end = reached
        position = end


def _following(window: Window, position: int) -> Segment | None:
    """The next segment that says anything of the text from ``position`` on."""
    segments = window.segments
    while segments and segments[0].end <= max(position, segments[0].start):
        segments.popleft()
    return segments[0] if segments else None


def _alike(one: Segment, other: Segment) -> bool:
    return (
        one.kind is other.kind
        and one.page == other.page
        and one.section == other.section
        and one.heading_path == other.heading_path
        and one.language == other.language
    )
