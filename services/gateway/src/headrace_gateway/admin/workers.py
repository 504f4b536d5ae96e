"""``GET /v1/admin/workers``: which processes there are, and what they work on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from aiokafka.errors import KafkaError
from fastapi import APIRouter
from pydantic import BaseModel, Field

from headrace.errors import SharedFailure
from headrace.lag import Member
from headrace.membership import worker_of
from headrace.messages import Stage
from headrace_gateway.parts import Parts
from headrace_gateway.records import Row
from headrace_gateway.views import STAGES, when

_RECENT_MS = 120_000


class WorkerView(BaseModel):
    """A process of a stage."""

    worker: str
    stage: str
    version: str | None
    address: str | None = Field(description="From where it reaches Kafka.")
    connected: bool = Field(description="Whether it is in its stage's group.")
    partitions: int
    documents: int = Field(description="Said to be in work in the last two minutes.")
    heard_at: str | None = Field(description="When it said so last.")


class WorkerList(BaseModel):
    """All of them, and who was heard of and is gone."""

    workers: list[WorkerView]


def router(parts: Parts) -> APIRouter:
    """The route."""
    routes = APIRouter(prefix="/v1/admin", tags=["admin"])

    @routes.get("/workers")
    async def workers() -> WorkerList:
        """Who works, at which version, on how much."""
        try:
            members = await parts.ahead.members()
        except (KafkaError, TimeoutError) as error:
            raise SharedFailure("broker_unavailable", repr(error)) from error
        heard = await parts.records.workers(since_ms=parts.clock.now_ms() - _RECENT_MS)
        return WorkerList(workers=_joined(members, heard))

    return routes


def _joined(
    members: Mapping[Stage, Iterable[Member]], heard: Iterable[Row]
) -> list[WorkerView]:
    """A process by its name: Kafka knows who is there, heartbeats what they do."""
    said = {(STAGES[row["stage"] - 1], row["worker"]): row for row in heard}
    found: list[WorkerView] = []
    for stage, here in members.items():
        for member in here:
            name, version = worker_of(member.client_id)
            row = said.pop((stage, name), None)
            found.append(
                WorkerView(
                    worker=name,
                    stage=stage,
                    version=version,
                    address=member.host,
                    connected=True,
                    partitions=member.partitions,
                    **_work(row),
                )
            )
    found += [
        WorkerView(
            worker=name,
            stage=stage,
            version=None,
            address=None,
            connected=False,
            partitions=0,
            **_work(row),
        )
        for (stage, name), row in said.items()
    ]
    return sorted(
        found, key=lambda each: (STAGES.index(Stage(each.stage)), each.worker)
    )


def _work(row: Row | None) -> dict[str, Any]:
    if row is None:
        return {"documents": 0, "heard_at": None}
    return {"documents": row["documents"], "heard_at": when(row["heard_ms"])}
