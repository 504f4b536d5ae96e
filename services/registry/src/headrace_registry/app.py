"""Puts the registry together; the only place that constructs its parts."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import socket
import sys
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from typing import NoReturn

import structlog
from aiokafka.errors import KafkaError

from headrace import logs
from headrace.clock import Clock, SystemClock
from headrace.database.engine import Database, upgrade
from headrace.database.leases import Lease, LeaseLost
from headrace.database.merging import merge_heartbeats, merge_statuses
from headrace.database.recoveries import Recoveries
from headrace.errors import ConfigurationError, SharedFailure
from headrace.lag import GroupOffsets
from headrace.leaving import leave
from headrace.metrics import Metrics
from headrace.preflight import wait_for_topics
from headrace.process import (
    EXIT_CONFIGURATION,
    Process,
    load_settings,
    run_to_end,
    warn_of_misspelt_settings,
)
from headrace.producer import KafkaProducer
from headrace.retries import Backoff
from headrace.status import StatusTopic
from headrace_registry.counting import LEASE as COUNTING
from headrace_registry.counting import Counting
from headrace_registry.intake import Intake
from headrace_registry.merger import Merge, Merger
from headrace_registry.metrics import STAGE, RegistryMetrics
from headrace_registry.originals import Originals
from headrace_registry.rebuilding import LEASE, LEASE_S, AlreadyRunning, rebuild
from headrace_registry.reconciliation import LEASE as RECONCILIATION
from headrace_registry.reconciliation import Reconciliation, Rules
from headrace_registry.records import read_heartbeat, read_status
from headrace_registry.settings import RegistrySettings
from headrace_registry.streaming import RegistryApp, consume, registry_app, tick
from headrace_registry.watching import Watch

_log = structlog.get_logger(__name__)
_random = random.SystemRandom()

_FLUSH_S = 0.5
_ASKED_EVERY_S = 3.0
"""Between two looks whether somebody wants reconciliation now."""
_STALLED_AFTER_S = 120.0
"""Long after a rebalance, and a session that has to time out before it."""


class Broken(Exception):
    """Faust has given up; the message says why."""


def main() -> NoReturn:
    """Run the registry until SIGTERM or SIGINT, then stop and exit."""

    def run() -> None:
        asyncio.run(RegistryProcess(load_settings(RegistrySettings)).run())

    run_to_end(run)


def rebuild_main() -> NoReturn:
    """Make the tables again from the status topic, then exit."""
    status = 0
    try:
        settings = load_settings(RegistrySettings)
        logs.configure(level=settings.log_level, settings=settings, stage=STAGE)
        asyncio.run(_rebuild(settings))
    except ConfigurationError as error:
        sys.stderr.write(f"configuration error: {error}\n")
        status = EXIT_CONFIGURATION
    except (AlreadyRunning, LeaseLost, SharedFailure, KafkaError) as error:
        sys.stderr.write(f"not rebuilt: {error}; it may be started again\n")
        status = 1
    leave(status)


async def _rebuild(settings: RegistrySettings) -> None:
    database = Database.from_settings(settings)
    try:
        await upgrade(settings.database_url.get_secret_value())
        holder = f"{socket.gethostname()}-{os.getpid()}"
        lease = Lease(database, name=LEASE, holder=holder, for_s=LEASE_S)
        done = await rebuild(settings, database, lease=lease)
    finally:
        await database.close()
    sys.stdout.write(
        f"{done.documents} documents made again of {done.records} records, "
        f"{done.unreadable} of them unreadable\n"
    )


class RegistryProcess:
    """One process: wires its parts and holds them together."""

    def __init__(self, settings: RegistrySettings) -> None:
        self._settings = settings
        self._worker = f"{STAGE}-{socket.gethostname()}-{os.getpid()}"
        logs.configure(
            level=settings.log_level,
            settings=settings,
            stage=STAGE,
            worker=self._worker,
        )
        for talkative in ("faust", "mode", "alembic", RegistryApp.__module__):
            logging.getLogger(talkative).setLevel(logging.WARNING)
        # Forty errors a second while no broker answers; the watch tells it once.
        logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
        warn_of_misspelt_settings()
        self._clock: Clock = SystemClock()
        self._common = Metrics(STAGE)
        self._metrics = RegistryMetrics(self._common.registry)
        self._process = Process(settings, registry=self._metrics.registry)
        self._mergers: list[Merger] = []

    async def run(self) -> None:
        """Until a signal or a failure.

        Raises:
            Exception: what makes the process useless.
        """
        await self._process.run(self._work)

    async def _work(self, stack: AsyncExitStack) -> None:
        settings, topology = self._settings, self._settings.topology
        # Before any waiting: a bad setting is told at once.
        database = Database.from_settings(settings)
        stack.push_async_callback(database.close)
        app = registry_app(settings)
        await self._upgrade()
        await wait_for_topics(
            settings,
            {spec.name for spec in topology.specs()},
            say=self._process.say,
        )
        statuses = self._intake(database, app, topology.status, merge_statuses)
        heartbeats = self._intake(database, app, topology.heartbeats, merge_heartbeats)
        watch = Watch(
            settings,
            topic=topology.status,
            group=app.conf.id,
            mine=app.consumer.assignment,
            excused=self._sql_problem,
            stalled_after_s=_STALLED_AFTER_S,
            clock=self._clock,
        )
        stack.push_async_callback(watch.stop)
        reconciliation = await self._reconciliation(stack, database, app)
        tick(app, every_s=settings.reconcile_every_s, do=reconciliation.run)
        tick(app, every_s=_ASKED_EVERY_S, do=reconciliation.run_if_asked)
        counting = Counting(
            window_s=settings.rate_window_s,
            database=database,
            lease=self._lease(database, COUNTING, settings.rate_window_s),
            metrics=self._metrics,
            clock=self._clock,
        )
        stack.push_async_callback(self._let_go, counting.give_back)
        tick(app, every_s=settings.rate_window_s, do=counting.run)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(statuses.run())
            tasks.create_task(heartbeats.run())
            tasks.create_task(watch.run())
            tasks.create_task(self._stream(app, watch))

    async def _reconciliation(
        self, stack: AsyncExitStack, database: Database, app: RegistryApp
    ) -> Reconciliation:
        settings, topology = self._settings, self._settings.topology
        producer = KafkaProducer(settings, metrics=self._common, clock=self._clock)
        stack.push_async_callback(producer.stop, timeout_s=_FLUSH_S)
        await producer.start()
        offsets = GroupOffsets(settings)
        stack.push_async_callback(offsets.stop)
        originals = Originals(settings)
        stack.push_async_callback(originals.stop)
        reconciliation = Reconciliation(
            rules=Rules(settings.stale_after_s, settings.requeues),
            topology=topology,
            group=app.conf.id,
            database=database,
            lease=self._lease(database, RECONCILIATION, settings.reconcile_every_s),
            offsets=offsets,
            originals=originals,
            producer=producer,
            status=StatusTopic(producer, topology=topology, metrics=self._common),
            metrics=self._metrics,
            clock=self._clock,
            recoveries=Recoveries(database),
            worker=self._worker,
        )
        stack.push_async_callback(self._let_go, reconciliation.give_back)
        return reconciliation

    def _lease(self, database: Database, name: str, every_s: float) -> Lease:
        # Kept from one turn to the next, or the replicas would take turns.
        return Lease(database, name=name, holder=self._worker, for_s=every_s * 1.5)

    async def _let_go(self, give_back: Callable[[], Awaitable[None]]) -> None:
        """Or else the others wait until the lease runs out."""
        with suppress(SharedFailure):
            await give_back()

    async def _stream(self, app: RegistryApp, watch: Watch) -> None:
        """Run Faust until it breaks, or this is cancelled."""
        app.finalize()
        app.loop = asyncio.get_running_loop()
        try:
            await app.start()
            self._process.started(
                lambda: None if app.consumer.assignment() else "no partitions yet",
                self._sql_problem,
                lambda: watch.problem,
            )
            _log.info("reading")
            await app.wait_until_stopped()
            raise Broken(f"Faust stopped: {app.crash_reason!r}")
        finally:
            await app.stop()

    async def _upgrade(self) -> None:
        """Bring the schema up to date, however long SQL is away."""
        backoff, failures = Backoff(0.5, cap_s=10.0), 0
        while True:
            try:
                await upgrade(self._settings.database_url.get_secret_value())
            except SharedFailure as error:
                failures += 1
                self._process.say(f"{error.reason}: {error}")
                _log.warning("waiting to start", code=error.reason, reason=str(error))
                wait_s = backoff.wait_s(
                    failures, random=_random.random, retry_after_s=error.retry_after
                )
                await self._clock.sleep(wait_s)
            else:
                return

    def _intake(
        self, database: Database, app: RegistryApp, topic: str, merge: Merge
    ) -> Intake:
        merger = Merger(
            database,
            merge=merge,
            metrics=self._metrics,
            clock=self._clock,
            random=_random.random,
        )
        self._mergers.append(merger)
        intake = Intake(
            read=read_status if merge is merge_statuses else read_heartbeat,
            write=merger.write,
            batch=self._settings.merge_records,
            metrics=self._metrics,
        )
        consume(app, topic=topic, intake=intake)
        return intake

    def _sql_problem(self) -> str | None:
        return next((each.problem for each in self._mergers if each.problem), None)
