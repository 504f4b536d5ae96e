"""The life of a stage's process: settings, wiring, signals, drain, exit status.

Exit status: 0 after a drain, 78 for a configuration error, 1 for anything fatal.
"""

from __future__ import annotations

import asyncio
import gc
import os
import random
import signal
import socket
import sys
import threading
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Generic, NoReturn, TypeVar

import structlog
from pydantic import ValidationError
from pydantic_settings import BaseSettings

from headrace import logs
from headrace.clock import Clock, SystemClock
from headrace.consumer import ConsumingLoop
from headrace.contact import Contact
from headrace.dead_letters import DeadLetterTopics
from headrace.errors import ConfigurationError, SharedFailure
from headrace.handler import DeadLetters, Handler, Producer, StatusReporter
from headrace.heartbeats import Heartbeats
from headrace.kafka_source import KafkaSource
from headrace.lag import LagReader
from headrace.last_resort import LastResort
from headrace.leaving import leave
from headrace.loop_delay import MeasuringSelector, new_event_loop
from headrace.messages import Stage
from headrace.metrics import Metrics
from headrace.objects import Objects
from headrace.pausing import LoopLimits
from headrace.preflight import wait_for_topics
from headrace.probes import Probes, Problem
from headrace.producer import KafkaProducer
from headrace.retries import Backoff
from headrace.settings import StageSettings
from headrace.spelling import misspelt
from headrace.status import StatusTopic
from headrace.topology import Topology
from headrace.work import Worker

_log = structlog.get_logger(__name__)
_random = random.SystemRandom()

B = TypeVar("B", bound=BaseSettings)
S = TypeVar("S", bound=StageSettings)

EXIT_CONFIGURATION = 78
_CLOSING_S = 4.0
"""After the drain; the grace period is the drain and 5 s."""
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
    worker: str
    """Name of this process in heartbeats and logs."""


Build = Callable[[StageContext[S]], Awaitable[Handler]]


def load_settings(settings_type: type[B]) -> B:
    """Read settings from the environment.

    Raises:
        ConfigurationError: naming each bad variable, its value's fault and the bound.
    """
    try:
        return settings_type()
    except ValidationError as error:
        raise ConfigurationError(_explain(settings_type, error)) from None


def warn_of_misspelt_settings() -> None:
    """Log variables whose names are much like a setting's, and are none."""
    for name, meant in misspelt(os.environ).items():
        _log.warning("unknown setting", variable=name, did_you_mean=meant)


def _explain(settings_type: type[BaseSettings], error: ValidationError) -> str:
    lines = []
    for fault in error.errors(include_url=False, include_input=False):
        location = str(fault["loc"][0]) if fault["loc"] else ""
        field = settings_type.model_fields.get(location)
        if field is not None and isinstance(field.validation_alias, str):
            location = field.validation_alias
        elif field is not None:
            prefix = settings_type.model_config.get("env_prefix", "")
            location = f"{prefix}{location}".upper()
        text = fault["msg"].removeprefix("Value error, ")
        lines.append(f"{location}: {text}" if location else text)
    return "; ".join(lines)


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
    status = 0
    try:
        settings = load_settings(settings_type)
        process = StageProcess(stage, settings, build, adopt=adopt)
        selector.report = process.held
        with asyncio.Runner(loop_factory=lambda: new_event_loop(selector)) as runner:
            runner.run(process.run())
    except ConfigurationError as error:
        sys.stderr.write(f"configuration error: {error}\n")
        status = EXIT_CONFIGURATION
    except Exception as error:  # noqa: BLE001  whatever it is, the process is over
        _log.critical("the process failed", exc_info=error)
        status = 1
    leave(status)


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
        self._starting: str | None = "starting"
        self._loop: ConsumingLoop | None = None
        self._problems: list[Problem] = []
        self._longest_hold = 0.0

    def held(self, seconds: float) -> None:
        """Report for how long the event loop was held.

        Starting is not counted: importing and connecting hold up nobody's work.
        """
        if self._starting is not None:
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
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        try:
            async with AsyncExitStack() as stack:
                await self._probe(stack)
                working = asyncio.create_task(self._work(stack))
                stopping = asyncio.create_task(stop.wait())
                await asyncio.wait(
                    {working, stopping}, return_when=asyncio.FIRST_COMPLETED
                )
                stopping.cancel()
                if not working.done():
                    await self._end(working)
                await working
        except asyncio.CancelledError:
            # A signal while starting: there was nothing to drain.
            if not stop.is_set():
                raise
        finally:
            # Whatever still hangs must not keep a dead process in the cluster.
            _exit_hard_after(_CLOSING_S)
        _log.info("stopped")

    async def _end(self, working: asyncio.Task[None]) -> None:
        _exit_hard_after(self._settings.drain_s + _CLOSING_S)
        _log.info("stopping")
        if self._loop is None:
            working.cancel()
        else:
            await self._loop.stop(drain_s=self._settings.drain_s)

    async def _probe(self, stack: AsyncExitStack) -> None:
        probes = Probes(
            registry=self._metrics.registry, alive=self._dead, ready=self._not_ready
        )
        stack.push_async_callback(probes.stop)
        address = await probes.start(
            host=self._settings.probe_host,
            port=self._settings.probe_port,
            address_file=self._settings.probe_file,
        )
        _log.info("probes listen", address=address)

    async def _work(self, stack: AsyncExitStack) -> None:
        settings, topology = self._settings, self._settings.topology
        inputs = topology.inputs(self._stage)
        # Before any waiting: a bad setting is told at once, broker or not.
        objects = Objects.from_settings(settings)
        await wait_for_topics(
            settings,
            {
                *inputs.values(),
                *topology.outputs(self._stage).values(),
                topology.dlq(self._stage),
                topology.status,
                topology.heartbeats,
            },
            say=self._say,
        )
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
            worker=self._worker,
        )
        handler = await self._built(context)
        stack.push_async_callback(handler.close)
        source = KafkaSource(
            settings,
            group=topology.group(self._stage),
            topics=inputs.values(),
            metrics=self._metrics,
        )
        contact = Contact(
            source.ask, patience_s=settings.session_timeout_s, clock=self._clock
        )
        stack.push_async_callback(contact.stop)
        contact.start()
        self._loop = self._consuming(context, handler, source, lag)
        heartbeats = Heartbeats(
            in_work=self._loop.in_work,
            beat=status.beat,
            stage=self._stage,
            worker=self._worker,
            clock=self._clock,
        )
        stack.push_async_callback(heartbeats.stop)
        heartbeats.start()
        self._problems = [
            lambda: source.problem,
            lambda: contact.problem,
            lambda: producer.problem,
            handler.ready,
            lambda: self._loop.problem if self._loop else None,
            lambda: lag.problem,
        ]
        # A full collection would walk all modules again and hold the event loop for
        # that long; what is there by now stays for the process's life.
        gc.collect()
        gc.freeze()
        gc.set_threshold(*_COLLECT_AFTER)
        await asyncio.sleep(0)  # the turn that ends here belongs to the start
        self._starting = None
        await self._loop.run()

    async def _built(self, context: StageContext[S]) -> Handler:
        """The handler; a shared failure while building is waited for."""
        backoff = Backoff(self._settings.backoff_s)
        failures = 0
        while True:
            try:
                return await self._build(context)
            except SharedFailure as error:
                failures += 1
                self._say(f"{error.reason}: {error}")
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

    def _say(self, problem: str) -> None:
        self._starting = problem

    def _not_ready(self) -> str | None:
        if self._starting is not None:
            return self._starting
        found = (problem() for problem in self._problems)
        return next((problem for problem in found if problem), None)

    def _dead(self) -> str | None:
        if self._loop is None:
            return None
        silent_s = self._clock.monotonic() - self._loop.last_tick
        return f"no tick for {silent_s:.0f} s" if silent_s > _SILENT_S else None


def _exit_hard_after(seconds: float) -> None:
    """End the process then, even if its event loop or a thread hangs."""
    timer = threading.Timer(seconds, os._exit, (1,))
    timer.daemon = True
    timer.start()
