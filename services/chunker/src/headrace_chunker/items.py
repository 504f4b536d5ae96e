"""What the splitter sees of a document: a row of items with their provenance. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from headrace.messages import SegmentKind

ITEM_LENGTH = 32 * 1024
"""Characters of an item at most, but for fenced code; longer ones go on in the next."""

_MAX_PATH = 16
_MAX_LABEL_BYTES = 256


@dataclass(slots=True)
class Item:
    """A stretch of one kind and one provenance.

    Attributes:
        more: the next item is the same heading, table or code, going on.
        header: a table's header row, ``""`` where it has none.
        fenced: code between Markdown's fences, which belong to it.
        travels: whether it is small enough to go with prose, once that is known.
    """

    start: int
    end: int
    kind: SegmentKind = SegmentKind.PROSE
    page: int = 0
    heading_path: tuple[str, ...] = ()
    section: str = ""
    language: str = ""
    header: str = ""
    more: bool = False
    fenced: bool = False
    travels: bool | None = None


@dataclass(slots=True)
class Span:
    """A chunk without its number: trimmed, counted, within its limit."""

    start: int
    end: int
    text: str
    token_count: int
    page: int
    heading_path: tuple[str, ...] = field(default=())
    section: str = ""


class Items:
    """Items that can be looked at before they are taken."""

    def __init__(self, source: Iterator[Item]) -> None:
        self._source = source
        self._next: Item | None = None

    def peek(self) -> Item | None:
        """The next item, ``None`` at the end."""
        if self._next is None:
            self._next = next(self._source, None)
        return self._next

    def take(self) -> Item:
        """The next item; only after ``peek`` showed it."""
        item = self._next
        if item is None:
            raise LookupError("no item was seen")
        self._next = None
        return item


def label(text: str) -> str:
    """One line of at most 256 bytes for a heading path."""
    line = " ".join(text[: 2 * _MAX_LABEL_BYTES].split())
    data = line.encode()
    if len(data) <= _MAX_LABEL_BYTES:
        return line
    return data[:_MAX_LABEL_BYTES].decode(errors="ignore")


def path_below(path: tuple[str, ...], *labels: str) -> tuple[str, ...]:
    """A longer heading path within the contract's bound, blank labels left out."""
    return (path + tuple(entry for entry in labels if entry))[:_MAX_PATH]


def common_path(one: tuple[str, ...], other: tuple[str, ...]) -> tuple[str, ...]:
    """What two heading paths share from the outside."""
    count = 0
    for mine, theirs in zip(one, other, strict=False):
        if mine != theirs:
            break
        count += 1
    return one[:count]
