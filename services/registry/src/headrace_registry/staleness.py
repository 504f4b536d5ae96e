"""Which documents nobody works on any more, and what becomes of them. Pure: no I/O.

A document is stale when no heartbeat of it was heard for a while, the next stage's
group has committed past what it was given, and nothing later was heard. What the group
has not committed past waits in Kafka: it would only be there twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from headrace.identity import Arrival, DocumentKey
from headrace.messages import (
    Lane,
    Metadata,
    OutputPosition,
    Stage,
    State,
    StatusError,
    StatusEvent,
)

Committed = Mapping[tuple[str, int], int]
"""By topic and partition: where the group that reads it goes on."""


class Action(StrEnum):
    """What is done about a document."""

    ALIVE = "alive"
    WAITING = "waiting"
    REQUEUE = "requeue"
    FAIL = "fail"


@dataclass(frozen=True, slots=True, kw_only=True)
class Unfinished:
    """A document whose newest status is not its end, or that has none."""

    key: DocumentKey
    revision: int
    arrival: Arrival
    stage: Stage | None
    """Whose status is the newest; ``None``: no stage has spoken yet."""
    output: OutputPosition | None
    """What the next stage was given."""
    heard_ms: int
    """Last status, heartbeat or re-queue."""
    requeued: int
    lane: Lane
    metadata: Metadata


def decide(
    document: Unfinished,
    *,
    committed: Committed,
    now_ms: int,
    stale_after_ms: int,
    requeues: int,
) -> Action:
    """What to do; ``committed`` is older than all that was heard."""
    if now_ms - document.heard_ms < stale_after_ms:
        return Action.ALIVE
    output = document.output
    if output is None:
        return Action.WAITING
    if committed.get((output.topic, output.partition), 0) <= output.last_offset:
        return Action.WAITING
    return Action.REQUEUE if document.requeued < requeues else Action.FAIL


def failure(document: Unfinished, *, why: str, now_ms: int) -> StatusEvent:
    """The status that ends it: of the stage that took it and said nothing."""
    stages = list(Stage)
    place = 0 if document.stage is None else stages.index(document.stage) + 1
    silent = stages[min(place, len(stages) - 1)]
    return StatusEvent(
        key=document.key,
        revision=document.revision,
        arrival=document.arrival,
        stage=silent,
        state=State.FAILED,
        error=StatusError(
            code="lost_in_stage",
            message=f"The {silent} took the document and was not heard of again; {why}",
            advice=f"Look into the {silent}'s log, then send the document again.",
            retryable=True,
        ),
        attempts=document.requeued + 1,
        at_ms=now_ms,
        metadata=document.metadata,
        lane=document.lane,
    )
