"""``GET /v1/admin/depth``: what waits where, for how long, and in which state."""

from __future__ import annotations

from collections import Counter
from typing import Annotated

from aiokafka.errors import KafkaError
from fastapi import APIRouter, Query
from pydantic import BaseModel
from starlette.requests import Request

from headrace.errors import SharedFailure
from headrace_gateway.ahead import Places
from headrace_gateway.drafts import CollectionName
from headrace_gateway.parts import Parts
from headrace_gateway.requests import principal_of


class PartitionDepth(BaseModel):
    """What waits in a partition; the age is that of its oldest record."""

    partition: int
    records: int
    age_s: float


class LaneDepth(BaseModel):
    """What waits for a stage in one lane."""

    stage: str
    lane: str
    records: int
    age_s: float
    partitions: list[PartitionDepth]


class CollectionStates(BaseModel):
    """A collection's documents, counted by state."""

    tenant: str
    collection: str
    states: dict[str, int]


class Depth(BaseModel):
    """Records by stage, lane and partition; documents by collection and state."""

    stages: list[LaneDepth]
    states: dict[str, int]
    collections: list[CollectionStates]


def router(parts: Parts) -> APIRouter:
    """The route."""
    routes = APIRouter(prefix="/v1/admin", tags=["admin"])

    @routes.get("/depth")
    async def depth(
        request: Request,
        collection: Annotated[CollectionName | None, Query()] = None,
    ) -> Depth:
        """What waits in Kafka, and how many documents are in which state."""
        only = principal_of(request).only
        try:
            places = await parts.ahead.places()
        except (KafkaError, TimeoutError) as error:
            raise SharedFailure("broker_unavailable", repr(error)) from error
        counts = await parts.states.counts(tenant=only or None, collection=collection)
        total: Counter[str] = Counter()
        for states in counts.values():
            total.update(states)
        now_ms = parts.clock.now_ms()
        return Depth(
            stages=[_lane(each, now_ms) for each in places],
            states=dict(total),
            collections=[
                CollectionStates(tenant=tenant, collection=name, states=states)
                for (tenant, name), states in sorted(counts.items())
            ],
        )

    return routes


def _lane(places: Places, now_ms: int) -> LaneDepth:
    ages = {
        number: max(now_ms - since_ms, 0) / 1000
        for number, since_ms in places.since_ms.items()
    }
    return LaneDepth(
        stage=places.stage,
        lane=places.lane,
        records=sum(places.records.values()),
        age_s=max(ages.values(), default=0.0),
        partitions=[
            PartitionDepth(
                partition=number, records=records, age_s=ages.get(number, 0.0)
            )
            for number, records in sorted(places.records.items())
        ],
    )
