"""Topics, groups and which partition goes where. Pure: no I/O."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from headrace.messages import Lane, Stage

HOUR_MS = 60 * 60 * 1000
DAY_MS = 24 * HOUR_MS


class Noun(StrEnum):
    """What a data topic carries; each exists once per lane."""

    DOCUMENTS = "documents"
    TEXTS = "texts"
    CHUNKS = "chunks"
    VECTORS = "vectors"


INPUT: dict[Stage, Noun] = {
    Stage.LOADER: Noun.DOCUMENTS,
    Stage.CHUNKER: Noun.TEXTS,
    Stage.EMBEDDER: Noun.CHUNKS,
    Stage.INDEXER: Noun.VECTORS,
}
OUTPUT: dict[Stage, Noun | None] = {
    Stage.LOADER: Noun.TEXTS,
    Stage.CHUNKER: Noun.CHUNKS,
    Stage.EMBEDDER: Noun.VECTORS,
    Stage.INDEXER: None,
}


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """A topic as Headrace wants it; ``config`` holds Kafka's own names and values."""

    name: str
    partitions: int
    config: dict[str, str]


@dataclass(frozen=True, slots=True)
class Topology:
    """Names of topics and groups below one prefix, and the topics' wanted shape."""

    prefix: str = "headrace"
    partitions: int = 6
    """Of texts, chunks and vectors, in both lanes."""
    document_partitions: int = 6
    retention_ms: int = 7 * DAY_MS
    """Of the data topics: an outage longer than this loses unread records."""
    max_message_bytes: int = 2 * 1024 * 1024

    def topic(self, noun: Noun, lane: Lane) -> str:
        """Data topic of a lane."""
        infix = ".bulk" if lane is Lane.BULK else ""
        return f"{self.prefix}.{noun}{infix}.v1"

    def inputs(self, stage: Stage) -> dict[Lane, str]:
        """The topics a stage reads."""
        return {lane: self.topic(INPUT[stage], lane) for lane in Lane}

    def outputs(self, stage: Stage) -> dict[Lane, str]:
        """The topics a stage writes its results to; none for the indexer."""
        noun = OUTPUT[stage]
        return {} if noun is None else {lane: self.topic(noun, lane) for lane in Lane}

    def needed(self, stage: Stage) -> set[str]:
        """The topics without which a stage cannot work."""
        return {
            *self.inputs(stage).values(),
            *self.outputs(stage).values(),
            self.dlq(stage),
            self.status,
            self.heartbeats,
            self.control,
            *([self.parked] if stage is Stage.LOADER else []),
        }

    def next_stage(self, stage: Stage) -> Stage | None:
        """The stage that reads what this one writes."""
        noun = OUTPUT[stage]
        return next((s for s, read in INPUT.items() if read is noun), None)

    def group(self, stage: Stage) -> str:
        """Consumer group of a stage."""
        return f"{self.prefix}.{stage}"

    def dlq(self, stage: Stage) -> str:
        """Dead letter topic of a stage."""
        return f"{self.prefix}.{stage}.dlq.v1"

    @property
    def status(self) -> str:
        """Compacted topic of status events."""
        return f"{self.prefix}.status.v1"

    @property
    def heartbeats(self) -> str:
        """Topic of heartbeats."""
        return f"{self.prefix}.heartbeats.v1"

    @property
    def parked(self) -> str:
        """Topic where events of paused collections wait."""
        return f"{self.prefix}.parked.v1"

    @property
    def parked_group(self) -> str:
        """Group whose offsets tell what of it has gone back to the documents topics."""
        return f"{self.prefix}.parked"

    @property
    def control(self) -> str:
        """Compacted topic of what people have paused; one partition, one order."""
        return f"{self.prefix}.control.v1"

    @property
    def audit(self) -> str:
        """Topic of what people did to dead letters; never compacted away."""
        return f"{self.prefix}.audit.v1"

    def specs(self) -> list[TopicSpec]:
        """Every topic Headrace needs, wanted shape included."""
        size = str(self.max_message_bytes)
        retained = {
            "cleanup.policy": "delete",
            "retention.ms": str(self.retention_ms),
            "max.message.bytes": size,
        }
        compacted = {"cleanup.policy": "compact", "max.message.bytes": size}
        specs: list[TopicSpec] = []
        for noun in Noun:
            documents = noun is Noun.DOCUMENTS
            count = self.document_partitions if documents else self.partitions
            config = dict(retained)
            if documents:
                config["message.timestamp.type"] = "LogAppendTime"
            specs += [
                TopicSpec(self.topic(noun, lane), count, dict(config)) for lane in Lane
            ]
        forever = retained | {"retention.ms": "-1"}
        an_hour = retained | {
            "retention.ms": str(HOUR_MS),
            # Ages are told by one clock, the broker's.
            "message.timestamp.type": "LogAppendTime",
        }
        specs += [
            TopicSpec(self.dlq(stage), self.partitions, dict(compacted))
            for stage in Stage
        ]
        return [
            *specs,
            TopicSpec(self.status, self.partitions, compacted),
            TopicSpec(self.heartbeats, self.partitions, an_hour),
            TopicSpec(
                self.parked,
                self.document_partitions,
                # An arrival is believed only where it lies before the record's own.
                forever | {"message.timestamp.type": "LogAppendTime"},
            ),
            TopicSpec(self.control, 1, dict(compacted)),
            TopicSpec(self.audit, 1, forever),
        ]
