"""Which dead letters the deletion of their document has made pointless.

Only those whose work could never be shown any more. The delete's own letters stay: they
are work that is still to be done.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Self

from headrace.identity import Arrival, DocumentKey
from headrace.messages import DeadLetter, State, StatusEvent
from headrace.state import StateRecord
from headrace.store import Store


@dataclass(frozen=True, slots=True)
class Deleted:
    """How far a document is deleted."""

    revision: int
    floor: Arrival | None = None
    """Events without a revision that arrived before it can no longer be accepted."""

    @classmethod
    def of_record(cls, record: StateRecord) -> Self:
        """By the state record.

        Where the delete had a source version, an event that failed earlier may have a
        higher one and still be right, so that only the floor ends those.
        """
        last = record.accepted
        return cls(record.deleted_revision, None if last.content_hash else last.floor)

    @classmethod
    def of_status(cls, event: StatusEvent) -> Self:
        """By the final status of a delete that this program sent.

        It sends none with a source version, and such a delete ends all before it.
        """
        return cls(event.revision, event.arrival)

    def ends(self, letter: DeadLetter) -> bool:
        """Whether the letter's work is over."""
        if letter.revision:
            return letter.revision < self.revision
        return (
            letter.arrival is not None
            and self.floor is not None
            and letter.arrival.before(self.floor)
        )


def deleted_by(events: Iterable[StatusEvent]) -> dict[DocumentKey, Deleted]:
    """What these final states of our own events say is deleted."""
    return {
        event.key: Deleted.of_status(event)
        for event in events
        if event.state is State.DELETED
    }


async def states_in(
    store: Store, keys: Iterable[DocumentKey | None]
) -> Mapping[DocumentKey, StateRecord]:
    """The state records of those of the documents that have one."""
    by_collection: defaultdict[str, list[DocumentKey]] = defaultdict(list)
    for key in set(keys):
        if key is not None:
            by_collection[key.collection].append(key)
    present = await store.collections() if by_collection else {}
    states: dict[DocumentKey, StateRecord] = {}
    for collection, wanted in by_collection.items():
        if collection in present:
            states |= await store.read_states(collection, wanted)
    return states
