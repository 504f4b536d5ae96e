"""The seam between the consuming loop and a stage's own work.

The loop (``consumer``) owns offsets, order, retries, dead letters and backpressure. A
handler does the work of one record and returns when every effect of it is confirmed:
only then may the record's offset be committed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from headrace.messages import (
    DeadLetter,
    Lane,
    OutputPosition,
    StatusEvent,
)

Headers = Sequence[tuple[str, bytes]]


@dataclass(frozen=True, slots=True)
class Record:
    """A Kafka record as it was read; no client's type."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    """Broker append time where the topic says so, else the producer's time."""
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()
    topic_id: str = ""
    """Kafka's id of the topic, its name where the broker tells none."""

    def header(self, name: str) -> bytes | None:
        """The last header of that name."""
        for key, value in reversed(self.headers):
            if key == name:
                return value
        return None


@dataclass(frozen=True, slots=True)
class Delivery:
    """One try at a record. ``attempt`` counts from 1 within this process."""

    record: Record
    lane: Lane
    attempt: int = 1
    replays: int = 0
    """How often people have replayed it from the DLQ."""


class Handler(Protocol):
    """A stage's work.

    ``handle`` runs concurrently for records of different keys, never for two of the
    same key, whichever lane they came by; records of one key come in offset order
    within a lane. It may be cancelled at any await (revocation, shutdown), may see the
    same record again, before or after a crash, and must leave the same end state each
    time. Errors: see ``errors``. It never catches ``CancelledError``.
    """

    async def handle(self, delivery: Delivery) -> None:
        """Do the record's work; return when its effects are confirmed."""

    def assigned(self, share: float) -> None:
        """This process now owns ``share`` (0 to 1) of the stage's partitions."""

    def ready(self) -> str | None:
        """Why the stage cannot work at all (a label and log text), or ``None``."""

    async def close(self) -> None:
        """Stop helpers and release what the handler holds; called once, idle."""


class Producer(Protocol):
    """Sends records; every return means that the broker has them (acks=all)."""

    async def send(
        self,
        topic: str,
        *,
        key: bytes | None,
        value: bytes | None,
        partition: int | None = None,
        headers: Headers = (),
    ) -> OutputPosition:
        """Send one record; ``partition`` ``None`` hashes the key as Java does.

        Calls may overlap; records of one caller keep their order per partition as long
        as they were started in order.

        Raises:
            SharedFailure: ``broker_unavailable``; it may have been sent all the same.
            DocumentFailure: ``record_too_large``.
        """


class StatusReporter(Protocol):
    """Tells the status topic; awaited like any other effect."""

    async def report(self, event: StatusEvent) -> None:
        """Send one status event. Raises as ``Producer.send``."""


class DeadLetters(Protocol):
    """Where a handler puts a part of a record that failed for good (a hole).

    Whole records are dead-lettered by the loop.
    """

    async def put(self, letter: DeadLetter) -> None:
        """Keep the letter; the same failure twice is one letter. Raises as ``send``."""
