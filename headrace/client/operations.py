"""What the admin API answers. Pure: no I/O."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel


class Paused(BaseModel):
    """Something that is paused, since when, by whom and why."""

    all: bool
    stage: str | None
    tenant: str | None
    collection: str | None
    by: str
    reason: str
    at: str


class PauseList(BaseModel):
    """All that is paused."""

    pauses: list[Paused]


class Resumed(BaseModel):
    """Whether there was something to resume, and what is paused still."""

    resumed: bool
    pauses: list[Paused]


class Left(BaseModel):
    """Records that wait for a stage or are in work there."""

    stage: str
    records: int


class Drained(BaseModel):
    """What is left, and the pauses that hold it."""

    drained: bool
    left: list[Left]
    pauses: list[Paused]


class NotRetried(BaseModel):
    """A document that is not processed again, and why."""

    id: str
    code: str
    message: str


class Retried(BaseModel):
    """What is processed again; ``stopped`` says why some are left."""

    retried: int
    documents: list[str]
    refused: list[NotRetried]
    left: int | None
    stopped: str | None


class Look(BaseModel):
    """The registry's last look for stale documents."""

    began_at: str
    ended_at: str
    outcome: str
    problem: str
    requeued: int
    failed: int
    worker: str


class Recovery(BaseModel):
    """What is asked of the registry, and what its last look found."""

    pending: bool
    asked_at: str | None
    asked_by: str | None
    last: Look | None


class PartitionDepth(BaseModel):
    """What waits in a partition."""

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


class Worker(BaseModel):
    """A process of a stage."""

    worker: str
    stage: str
    version: str | None
    address: str | None
    connected: bool
    partitions: int
    documents: int
    heard_at: str | None


class WorkerList(BaseModel):
    """All of them, and who was heard of and is gone."""

    workers: list[Worker]


class DeadLetters(BaseModel):
    """Open dead letters, those that failed first before others."""

    dead_letters: list[dict[str, Any]]


class DeadLetter(BaseModel):
    """One, with the record that could not be processed."""

    summary: dict[str, Any]
    key: str | None
    headers: dict[str, str]
    size: int | None
    value_base64: str | None


class Replayed(BaseModel):
    """What became of a replay."""

    id: str
    document: str
    outcome: str
    state: str | None
    problem: str | None


class Replays(BaseModel):
    """What became of all."""

    replayed: list[Replayed]


class Dropped(BaseModel):
    """Ids of what was given up."""

    dropped: list[str]
