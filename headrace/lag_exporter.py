"""Publishes lag, age and wanted replicas of every stage: ``python -m`` this module.

One replica, always on: a stage at zero publishes nothing about itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from typing import Any, NoReturn

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from pydantic import Field

from headrace import logs
from headrace.backpressure import Mark, ahead_of, wanted_replicas
from headrace.clock import Clock, SystemClock
from headrace.control import Control
from headrace.control_topic import ControlFollower
from headrace.demand import History, Reading
from headrace.headers import CHUNKS, TOKENS
from headrace.kafka import client_options
from headrace.kafka_clients import stop_consumer
from headrace.lag import GroupOffsets, lag_by_number
from headrace.messages import Lane, Stage
from headrace.metrics import LagMetrics
from headrace.preflight import wait_for_topics
from headrace.process import (
    Process,
    load_settings,
    run_to_end,
    warn_of_misspelt_settings,
)
from headrace.settings import Settings, StageSettings

_log = structlog.get_logger(__name__)

_STALE_S = 60.0
_MEAN_WEIGHT = 0.1

Offsets = Mapping[TopicPartition, tuple[int, int]]


class LagExporterSettings(StageSettings):
    """As a stage's; what it says of replicas must be what the stages were given."""

    lag_every_s: float = Field(5.0, gt=0, description="Seconds between two readings.")


class OldestRecords:
    """Time and size of the oldest record that waits in each partition."""

    def __init__(self, settings: Settings) -> None:
        self._consumer = AIOKafkaConsumer(
            **client_options(settings),
            enable_auto_commit=False,
            # One record is wanted; Kafka sends at least one batch however small.
            max_partition_fetch_bytes=16 * 1024,
        )
        self._started = False
        self._found: dict[TopicPartition, tuple[int, int]] = {}
        self.mean_chunks: dict[TopicPartition, float] = {}
        self.mean_tokens: dict[TopicPartition, float] = {}

    async def times_ms(self, offsets: Offsets) -> dict[TopicPartition, int]:
        """Broker time of the record at the committed offset, where there is lag."""
        if not self._started:
            await self._consumer.start()
            self._started = True
        waiting = {tp: at for tp, (at, end) in offsets.items() if end > at}
        unknown = [
            tp for tp, at in waiting.items() if self._found.get(tp, (-1,))[0] != at
        ]
        if unknown:
            self._consumer.assign(unknown)
            for tp in unknown:
                self._consumer.seek(tp, waiting[tp])
            await self._read(set(unknown), waiting)
        return {tp: self._found[tp][1] for tp in waiting if tp in self._found}

    async def _read(
        self, wanted: set[TopicPartition], waiting: Mapping[TopicPartition, int]
    ) -> None:
        for _ in range(20):
            fetched: dict[TopicPartition, list[Any]] = await self._consumer.getmany(
                *wanted, timeout_ms=250
            )
            for tp, records in fetched.items():
                self._found[tp] = (waiting[tp], records[0].timestamp)
                self._learn(tp, records[0].headers)
                wanted.discard(tp)
            if not wanted:
                return

    def _learn(self, tp: TopicPartition, headers: Any) -> None:
        for name, value in headers:
            means = {CHUNKS: self.mean_chunks, TOKENS: self.mean_tokens}.get(name)
            if means is not None and value.isdigit():
                before = means.get(tp, float(value))
                means[tp] = before + (int(value) - before) * _MEAN_WEIGHT

    async def stop(self) -> None:
        """Disconnect."""
        await stop_consumer(self._consumer)


class LagExporter:
    """Reads all groups and publishes what it finds."""

    def __init__(
        self,
        settings: LagExporterSettings,
        *,
        metrics: LagMetrics,
        clock: Clock,
        control: Callable[[], Control],
    ) -> None:
        self._settings = settings
        self._topology = settings.topology
        self._metrics = metrics
        self._clock = clock
        self._control = control
        self._offsets = GroupOffsets(settings)
        self._oldest = OldestRecords(settings)
        self._histories = {stage: History() for stage in Stage}
        self._ahead = Mark(settings.ahead_high_records, settings.ahead_low_records)
        self._parked = False
        self._last = clock.monotonic()

    @property
    def problem(self) -> str | None:
        """Why the figures are old, or ``None``."""
        age_s = self._clock.monotonic() - self._last
        return f"lag unread for {age_s:.0f} s" if age_s > _STALE_S else None

    async def run(self) -> None:
        """Read for ever; while the broker is away the last figures stand."""
        while True:
            try:
                async with asyncio.timeout(_STALE_S):
                    await self.read()
            except Exception as error:  # noqa: BLE001  tried again, and readiness says so
                _log.warning("lag unread", reason=repr(error))
            await self._clock.sleep(self._settings.lag_every_s)

    async def read(self) -> None:
        """One reading of all stages."""
        read = {
            stage: await self._offsets.read(
                self._topology.group(stage),
                list(self._topology.inputs(stage).values()),
            )
            for stage in Stage
        }
        times = await self._oldest.times_ms(
            {tp: at for offsets in read.values() for tp, at in offsets.items()}
        )
        parked = await self._offsets.read(
            self._topology.parked_group, [self._topology.parked]
        )
        self._parked = any(end > at for at, end in parked.values())
        for stage, offsets in read.items():
            following = self._topology.next_stage(stage)
            ahead = {} if following is None else read[following]
            members = await self._offsets.members(self._topology.group(stage))
            self._publish(stage, offsets, ahead, times, len(members))
        self._last = self._clock.monotonic()

    async def stop(self) -> None:
        """Disconnect."""
        await self._offsets.stop()
        await self._oldest.stop()

    def _publish(
        self,
        stage: Stage,
        offsets: Offsets,
        ahead: Offsets,
        times: Mapping[TopicPartition, int],
        members: int,
    ) -> None:
        metrics, now_ms = self._metrics, self._clock.now_ms()
        oldest_s = 0.0
        for tp, (committed, end) in offsets.items():
            lag = max(end - committed, 0)
            age_s = max(now_ms - times[tp], 0) / 1000 if lag and tp in times else 0.0
            oldest_s = max(oldest_s, age_s)
            place = (stage, tp.topic, tp.partition)
            metrics.consumer_lag_records(*place).set(lag)
            metrics.consumer_lag_seconds(*place).set(age_s)
            chunks = lag * self._oldest.mean_chunks.get(tp, 0)
            metrics.consumer_lag_chunks(*place).set(chunks)
            tokens = lag * self._oldest.mean_tokens.get(tp, 0)
            metrics.consumer_lag_tokens(*place).set(tokens)
        for topic in self._topology.inputs(stage).values():
            count = sum(1 for tp in offsets if tp.topic == topic)
            metrics.topic_partitions(stage, topic).set(count)
        demand = self._histories[stage].add(
            Reading(
                at_s=self._clock.monotonic(),
                committed={
                    (tp.topic, tp.partition): at for tp, (at, _) in offsets.items()
                },
                end={(tp.topic, tp.partition): end for tp, (_, end) in offsets.items()},
                members=members,
                oldest_age_s=oldest_s,
                stopped_by_ahead=self._stopped(stage, offsets, ahead),
                paused=self._control().paused(stage) is not None,
            )
        )
        wanted = wanted_replicas(
            demand,
            max_replicas=self._settings.max_replicas,
            target_drain_s=self._settings.target_drain_s,
        )
        if stage is Stage.LOADER and self._parked and not demand.paused:
            # Somebody has to see that a collection is resumed.
            wanted = max(wanted, 1)
        metrics.members(stage).set(members)
        metrics.wanted_replicas(stage).set(wanted)
        metrics.last_reading(stage).set(now_ms / 1000)

    def _stopped(self, stage: Stage, offsets: Offsets, ahead: Offsets) -> bool:
        """Whether everything with lag is paused by what lies ahead of it."""
        inputs, outputs = self._topology.inputs(stage), self._topology.outputs(stage)
        paused: list[bool] = []
        for lane in Lane if ahead else ():
            following = lag_by_number(ahead, outputs[lane])
            for number, lag in enumerate(lag_by_number(offsets, inputs[lane])):
                if lag:
                    aligned = stage is not Stage.LOADER
                    records = ahead_of(number, following, aligned=aligned)
                    paused.append(self._ahead.holds(records, paused=True))
        return bool(paused) and all(paused)


async def _run(settings: LagExporterSettings) -> None:
    metrics = LagMetrics()
    control = ControlFollower(settings)
    exporter = LagExporter(
        settings,
        metrics=metrics,
        clock=SystemClock(),
        control=lambda: control.state,
    )
    process = Process(settings, registry=metrics.registry)

    async def work(stack: AsyncExitStack) -> None:
        stack.push_async_callback(exporter.stop)
        topology = settings.topology
        inputs = {topic for each in Stage for topic in topology.inputs(each).values()}
        others = {topology.control, topology.parked}
        await wait_for_topics(settings, inputs | others, say=process.say)
        stack.push_async_callback(control.stop)
        control.start()
        await control.wait_until_known()
        process.started(lambda: exporter.problem, lambda: control.problem)
        await exporter.run()

    await process.run(work)


def main() -> NoReturn:
    """Run until SIGTERM or SIGINT."""

    def run() -> None:
        settings = load_settings(LagExporterSettings)
        logs.configure(
            level=settings.log_level, settings=settings, stage="lag-exporter"
        )
        warn_of_misspelt_settings()
        asyncio.run(_run(settings))

    run_to_end(run)


if __name__ == "__main__":
    main()
