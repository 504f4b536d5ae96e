"""What must become of a document, from its events alone. Pure: no I/O."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cmp_to_key

from headrace.identity import Arrival, DocumentKey


@dataclass(frozen=True, slots=True)
class Event:
    """An event that the broker has acknowledged; ``data`` is ``None`` for a delete."""

    key: DocumentKey
    arrival: Arrival
    data: bytes | None
    version: int | None = None


def newest(events: Iterable[Event]) -> Event | None:
    """The event that counts, in whatever order they were worked on.

    The newest without a source version ends all that arrived before it; after it the
    highest version counts, of equal ones a delete, else the latest arrival.
    """
    last: Event | None = None
    for event in sorted(events, key=_arrived):
        if last is None or not _ended_by(event, last):
            last = event
    return last


def _ended_by(event: Event, last: Event) -> bool:
    """Whether an event changes nothing although it arrived after another."""
    if event.version is None or last.version is None:
        return False
    return (event.version, event.data is None) < (last.version, last.data is None)


@cmp_to_key
def _arrived(one: Event, other: Event) -> int:
    return -1 if one.arrival.before(other.arrival) else 1


def text_of(key: DocumentKey, content: int) -> bytes:
    """One of the contents of a document; the higher the longer, the first is empty."""
    return "\n\n".join(
        f"Sluice {number} of mill-{content} at {key.document_id} in {key.tenant} "
        "is closed by night and opened when the miller wakes."
        for number in range(content)
    ).encode()
