"""The life of a stage's process: its wiring, and its drain after a signal."""

from __future__ import annotations

import asyncio
import gc
import os
import random
import socket
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from importlib.metadata import version
from typing import Generic, NoReturn, TypeVar

import structlog

from headrace import logs
from headrace.clock import Clock, SystemClock
from headrace.consumer import ConsumingLoop
from headrace.contact import Contact
from headrace.control import Control
from headrace.control_topic import ControlFollower
from headrace.dead_letters import DeadLetterTopics
from headrace.errors import SharedFailure
from headrace.handler import DeadLetters, Handler, Producer, StatusReporter
from headrace.heartbeats import Heartbeats
from headrace.kafka_source import KafkaSource
from headrace.lag import LagReader
from headrace.last_resort import LastResort
from headrace.loop_delay import MeasuringSelector, new_event_loop
from headrace.membership import client_id
from headrace.messages import Stage
from headrace.metrics import Metrics
from headrace.objects import Objects
from headrace.pausing import LoopLimits
from headrace.preflight import wait_for_topics
from headrace.process import (
    Process,
    load_settings,
    run_to_end,
    warn_of_misspelt_settings,
)
from headrace.producer import KafkaProducer
from headrace.retries import Backoff
from headrace.settings import StageSettings
from headrace.status import StatusTopic
from headrace.topology import Topology
from headrace.work import Worker

_log = structlog.get_logger(__name__)
_random = random.SystemRandom()

S = TypeVar("S", bound=StageSettings)

_FLUSH_S = 0.5
"""For what the producer still has: nobody waits for that any more."""
_SILENT_S = 30.0
_COLLECT_AFTER = (20_000, 20, 50)
"""Nearly all garbage of the work goes by reference counts; Python's own 700 had the
collector look at what is in flight for a tenth of the services' CPU."""


@dataclass(frozen=True, kw_only=True)
class StageContext(Generic[S]):
    """What a stage's ``build`` makes its handler from."""

    stage: Stage
    settings: S
    topology: Topology
    producer: Producer
    status: StatusReporter
    dead_letters: DeadLetters
    metrics: Metrics
    clock: Clock
    control: Callable[[], Control]
    """What people have paused, at this moment."""
    worker: str
    """Name of this process in heartbeats and logs."""


Build = Callable[[StageContext[S]], Awaitable[Handler]]


def main(
    stage: Stage, settings_type: type[S], build: Build[S], *, adopt: bool = False
) -> NoReturn:
    """Run a stage until SIGTERM or SIGINT, then drain and exit.

    Args:
        stage: which one.
        settings_type: its settings.
        build: makes its handler; the loop is not yet consuming.
        adopt: see ``consumer.ConsumingLoop``.
    """
    selector = MeasuringSelector()

    async def run(settings: S) -> None:
        process = StageProcess(stage, settings, build, adopt=adopt)
        selector.report = process.held
        await process.run()

    def run_all() -> None:
        settings = load_settings(settings_type)
        with asyncio.Runner(loop_factory=lambda: new_event_loop(selector)) as runner:
            runner.run(run(settings))

    run_to_end(run_all)


class StageProcess(Generic[S]):
    """One process of a stage: wires its parts and holds them together."""

    def __init__(
        self, stage: Stage, settings: S, build: Build[S], *, adopt: bool
    ) -> None:
        self._stage = stage
        self._settings = settings
        self._build = build
        self._adopt = adopt
        self._worker = f"{stage}-{socket.gethostname()}-{os.getpid()}"
        logs.configure(
            level=settings.log_level,
            settings=settings,
            stage=stage,
            worker=self._worker,
        )
        warn_of_misspelt_settings()
        self._metrics = Metrics(stage)
        self._clock = SystemClock()
        self._process = Process(
            settings, registry=self._metrics.registry, dead=self._dead
        )
        self._loop: ConsumingLoop | None = None
        self._longest_hold = 0.0

    def held(self, seconds: float) -> None:
        """Report for how long the event loop was held.

        Starting is not counted: importing and connecting hold up nobody's work.
        """
        if self._process.starting:
            return
        self._metrics.event_loop_held_seconds.observe(seconds)
        if seconds > self._longest_hold:
            self._longest_hold = seconds
            self._metrics.event_loop_held_seconds_max.set(seconds)

    async def run(self) -> None:
        """Until a signal or a failure.

        Raises:
            Exception: what makes the process useless.
        """
        await self._process.run(self._work, end=self._end)

    async def _end(self, working: asyncio.Task[None]) -> None:
        if self._loop is None:
            working.cancel()
        else:
            await self._loop.stop(drain_s=self._settings.drain_s)

    async def _work(self, stack: AsyncExitStack) -> None:
        settings, topology = self._settings, self._settings.topology
        inputs = topology.inputs(self._stage)
        # Before any waiting: a bad setting is told at once, broker or not.
        objects = Objects.from_settings(settings)
        await wait_for_topics(
            settings, topology.needed(self._stage), say=self._process.say
        )
        control = ControlFollower(settings, on_change=lambda: self._obey(control))
        stack.push_async_callback(control.stop)
        control.start()
        producer = KafkaProducer(settings, metrics=self._metrics, clock=self._clock)
        stack.push_async_callback(producer.stop, timeout_s=_FLUSH_S)
        await producer.start()
        lag = LagReader(settings, stage=self._stage)
        stack.push_async_callback(lag.stop)
        lag.start()
        status = StatusTopic(producer, topology=topology, metrics=self._metrics)
        context = StageContext(
            stage=self._stage,
            settings=settings,
            topology=topology,
            producer=producer,
            status=status,
            dead_letters=DeadLetterTopics(
                producer, topology=topology, keep=objects.put
            ),
            metrics=self._metrics,
            clock=self._clock,
            control=lambda: control.state,
            worker=self._worker,
        )
        # A pause holds for those too that start while it does.
        self._process.say("reading what is paused")
        await control.wait_until_known()
        handler = await self._built(context)
        stack.push_async_callback(handler.close)
        source = KafkaSource(
            settings,
            client_id=client_id(self._worker, version("headrace")),
            group=topology.group(self._stage),
            topics=inputs.values(),
            metrics=self._metrics,
        )
        contact = Contact(
            source.ask, patience_s=settings.session_timeout_s, clock=self._clock
        )
        stack.push_async_callback(contact.stop)
        contact.start()
        loop = self._loop = self._consuming(context, handler, source, lag)
        self._obey(control)
        heartbeats = Heartbeats(
            in_work=loop.in_work,
            beat=status.beat,
            stage=self._stage,
            worker=self._worker,
            clock=self._clock,
        )
        stack.push_async_callback(heartbeats.stop)
        heartbeats.start()
        # A full collection would walk all modules again and hold the event loop for
        # that long; what is there by now stays for the process's life.
        gc.collect()
        gc.freeze()
        gc.set_threshold(*_COLLECT_AFTER)
        await asyncio.sleep(0)  # the turn that ends here belongs to the start
        self._process.started(
            lambda: source.problem,
            lambda: contact.problem,
            lambda: producer.problem,
            handler.ready,
            lambda: loop.problem,
            lambda: lag.problem,
            lambda: control.problem,
        )
        await loop.run()

    async def _built(self, context: StageContext[S]) -> Handler:
        """The handler; a shared failure while building is waited for."""
        backoff = Backoff(self._settings.backoff_s)
        failures = 0
        while True:
            try:
                return await self._build(context)
            except SharedFailure as error:
                failures += 1
                self._process.say(f"{error.reason}: {error}")
                _log.warning("waiting to start", code=error.reason, reason=str(error))
                wait_s = backoff.wait_s(
                    failures, random=_random.random, retry_after_s=error.retry_after
                )
                await asyncio.sleep(wait_s)

    def _consuming(
        self,
        context: StageContext[S],
        handler: Handler,
        source: KafkaSource,
        lag: LagReader,
    ) -> ConsumingLoop:
        settings = self._settings
        worker = Worker(
            handler,
            give_up=LastResort(
                stage=self._stage,
                dead_letters=context.dead_letters,
                status=context.status,
                clock=self._clock,
            ),
            attempts=settings.attempts,
            backoff=Backoff(settings.backoff_s),
            random=_random.random,
            metrics=self._metrics,
        )
        return ConsumingLoop(
            source=source,
            handler=handler,
            worker=worker,
            topics=context.topology.inputs(self._stage),
            limits=LoopLimits(
                slots=settings.concurrency,
                partition_records=settings.max_in_flight_records,
                process_bytes=settings.max_in_flight_bytes,
                ahead_high=settings.ahead_high_records,
                ahead_low=settings.ahead_low_records,
                patience_s=settings.stuck_after_s,
            ),
            metrics=self._metrics,
            clock=self._clock,
            ahead=lag.ahead,
            adopt=self._adopt,
        )

    def _obey(self, control: ControlFollower) -> None:
        if self._loop is not None:
            self._loop.obey(paused=control.state.paused(self._stage) is not None)

    def _dead(self) -> str | None:
        if self._loop is None:
            return None
        silent_s = self._clock.monotonic() - self._loop.last_tick
        return f"no tick for {silent_s:.0f} s" if silent_s > _SILENT_S else None
