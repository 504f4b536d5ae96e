"""What the oracle reads, besides the store; whoever runs it provides these."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from headrace.identity import DocumentKey
from headrace.messages import DeadLetter, Operation, Stage, StatusEvent


@dataclass(frozen=True, slots=True)
class PartitionOffsets:
    """How far a stage's group is in one partition of its input."""

    stage: Stage
    topic: str
    partition: int
    begin: int
    """Of the oldest record that is still there."""
    end: int
    """Where the next record will go."""
    committed: int | None
    """``None`` where the group never committed."""


class OffsetsReader(Protocol):
    """Reads offsets of all stages' inputs, both lanes."""

    async def offsets(self) -> Sequence[PartitionOffsets]:
        """The offsets now. Raises ``SharedFailure`` where the broker is away."""


class LettersReader(Protocol):
    """Reads dead letters of all stages."""

    def letters(self) -> AsyncIterator[DeadLetter]:
        """Every letter that is not resolved, once, in no order."""


class StatusReader(Protocol):
    """Reads the status topic."""

    def statuses(self) -> AsyncIterator[StatusEvent]:
        """Status events; of one document, revision and stage the last one counts."""


class ParkedReader(Protocol):
    """Reads the parked topic."""

    def parked(self) -> AsyncIterator[DocumentKey]:
        """The documents of events that wait there; as often as there are events."""


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """An event that the broker acknowledged; entries are in order of arrival."""

    key: DocumentKey
    operation: Operation
    source_version: int | None = None
