"""``/v1/health``: how it goes, for people and for those who decide when to send."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import BaseModel

from headrace.messages import Lane
from headrace_gateway.parts import Parts
from headrace_gateway.views import STAGES, when


class Health(BaseModel):
    """Whether documents are accepted at this moment."""

    accepting: bool
    reason: str | None = None


class StageDepth(BaseModel):
    """What waits for a stage."""

    stage: str
    lane: str
    records: int
    partitions: dict[str, int]


class Queue(BaseModel):
    """What waits where."""

    accepting: bool
    reason: str | None
    being_accepted: int
    accepting_limit: int
    outbox_age_s: float | None
    ahead_age_s: float
    ahead_limit_s: float
    depths: list[StageDepth]


class Worker(BaseModel):
    """A process that was heard of in the last two minutes."""

    worker: str
    stage: str
    documents: int
    heard_at: str


class Workers(BaseModel):
    """All of them."""

    workers: list[Worker]


def router(parts: Parts) -> APIRouter:
    """The routes."""
    routes = APIRouter(prefix="/v1/health", tags=["health"])

    @routes.get("")
    async def health() -> Health:
        """Whether documents are accepted."""
        reason = parts.admission.problem()
        return Health(accepting=reason is None, reason=reason)

    @routes.get("/queue")
    async def queue() -> Queue:
        """How much waits, and how long."""
        outbox_s = parts.relay.age_s()
        reason = parts.admission.problem()
        return Queue(
            accepting=reason is None,
            reason=reason,
            being_accepted=parts.admission.accepting,
            accepting_limit=parts.settings.accepting,
            # Not connected is told by the reason; JSON has no infinity.
            outbox_age_s=None if outbox_s in (None, float("inf")) else outbox_s,
            ahead_age_s=parts.ahead.age_s(Lane.INTERACTIVE),
            ahead_limit_s=parts.settings.admit_age_s,
            depths=[
                StageDepth(
                    stage=each.stage,
                    lane=each.lane,
                    records=sum(each.records.values()),
                    partitions={
                        str(number): records
                        for number, records in sorted(each.records.items())
                    },
                )
                for each in parts.ahead.depths()
            ],
        )

    @routes.get("/workers")
    async def workers() -> Workers:
        """Who works on documents now."""
        found = await parts.records.workers(since_ms=parts.clock.now_ms() - 120_000)
        return Workers(
            workers=[
                Worker(
                    worker=row["worker"],
                    stage=STAGES[row["stage"] - 1],
                    documents=row["documents"],
                    heard_at=when(row["heard_ms"]),
                )
                for row in found
            ]
        )

    return routes
