"""Builds the gateway and holds it together; nothing is constructed anywhere else."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Awaitable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import httpx
import structlog
from fastapi import FastAPI
from headrace_embedder.factory import build_provider

from headrace import logs
from headrace.backpressure import IntakeLimits
from headrace.clock import Clock, SystemClock
from headrace.control_topic import ControlFollower
from headrace.database.engine import Database, upgrade
from headrace.database.key_store import KeyStore
from headrace.database.recoveries import Recoveries
from headrace.errors import SharedFailure
from headrace.handler import Producer
from headrace.messages import Lane
from headrace.metrics import GatewayMetrics, Metrics
from headrace.objects import Objects
from headrace.preflight import wait_for_topics
from headrace.process import Process, warn_of_misspelt_settings
from headrace.producer import KafkaProducer
from headrace.qdrant import QdrantStore
from headrace.store import Store
from headrace.topology import Noun
from headrace.uuid7 import UuidSource
from headrace_gateway import (
    documents,
    events,
    health,
    imports,
    produced,
    searching,
)
from headrace_gateway.admin import control, depth, failed, letters, recovery, workers
from headrace_gateway.admission import Admission, RateLimits
from headrace_gateway.ahead import Ahead
from headrace_gateway.audit import Audit
from headrace_gateway.authentication import ApiKeys, Authenticator, Everybody, Tokens
from headrace_gateway.feeder import Feeder
from headrace_gateway.forgetting import Forgetting
from headrace_gateway.http import create_app
from headrace_gateway.intake import Intake
from headrace_gateway.jobs import Jobs
from headrace_gateway.oidc import JwksCache, OidcTokens
from headrace_gateway.parts import Parts
from headrace_gateway.pauses import Pauses
from headrace_gateway.records import Records
from headrace_gateway.relay import Relay
from headrace_gateway.requests import Patience
from headrace_gateway.searcher import Searcher
from headrace_gateway.serving import HttpServer, listen, tell_address
from headrace_gateway.settings import GatewaySettings
from headrace_gateway.states import States
from headrace_gateway.status_feed import StatusFeed
from headrace_gateway.sweeper import Sweeper
from headrace_gateway.uploads import Uploads

_log = structlog.get_logger(__name__)

_RETRY_S = 2.0
_FLUSH_S = 2.0
_NO_DATABASE = "the database does not answer"

API = (
    documents.router,
    events.router,
    health.router,
    imports.router,
    produced.router,
    searching.router,
)
"""Makers of the routes of the API."""
ADMIN = (
    control.router,
    depth.router,
    failed.router,
    letters.router,
    recovery.router,
    workers.router,
)
"""And of what may have a port of its own."""


@dataclass(frozen=True, kw_only=True)
class Outside:
    """What the gateway works with and is not it: tests have some of their own."""

    clock: Clock
    metrics: GatewayMetrics
    database: Database
    objects: Objects
    producer: Producer
    ahead: Ahead
    control: ControlFollower
    store: Store
    authenticator: Authenticator


@dataclass(frozen=True, kw_only=True)
class Gateway:
    """The parts, and what runs beside the requests."""

    parts: Parts
    producer: KafkaProducer
    follower: ControlFollower
    sweeper: Sweeper


@asynccontextmanager
async def built(settings: GatewaySettings, metrics: Metrics) -> AsyncIterator[Gateway]:
    """All parts, closed in reverse order; nothing waits for Kafka here."""
    async with AsyncExitStack() as stack:
        clock = SystemClock()
        database = Database.from_settings(settings)
        stack.push_async_callback(database.close)
        objects = Objects.from_settings(settings)
        producer = KafkaProducer(settings, metrics=metrics, clock=clock)
        stack.push_async_callback(producer.stop, timeout_s=_FLUSH_S)
        ahead = Ahead(settings, clock=clock)
        stack.push_async_callback(ahead.stop)
        follower = ControlFollower(settings)
        stack.push_async_callback(follower.stop)
        store = QdrantStore.from_settings(settings)
        stack.push_async_callback(store.close)
        outside = Outside(
            clock=clock,
            metrics=GatewayMetrics(registry=metrics.registry),
            database=database,
            objects=objects,
            producer=producer,
            ahead=ahead,
            control=follower,
            store=store,
            authenticator=await authenticator_of(settings, database, clock, stack),
        )
        parts, sweeper = wired(settings, outside)
        stack.push_async_callback(parts.searcher.close)
        _show(parts)
        yield Gateway(
            parts=parts, producer=producer, follower=follower, sweeper=sweeper
        )


def wired(settings: GatewaySettings, outside: Outside) -> tuple[Parts, Sweeper]:
    """The gateway's own parts, and what sweeps behind them; none has begun."""
    clock, database, ahead = outside.clock, outside.database, outside.ahead
    topology, producer = settings.topology, outside.producer
    relay = Relay(database, producer=producer, topology=topology, clock=clock)
    intake = Intake(database, uuids=UuidSource(), clock=clock, committed=relay.wake)
    uploads = Uploads(
        outside.objects,
        max_bytes=settings.max_upload_bytes,
        patience=_patience(settings, clock),
    )
    jobs = Jobs(database)
    pauses = Pauses(outside.control, producer=producer, topology=topology, clock=clock)
    parts = Parts(
        settings=settings,
        clock=clock,
        metrics=outside.metrics,
        authenticator=outside.authenticator,
        admission=_admission(settings, clock, outside.metrics, ahead, relay),
        intake=intake,
        uploads=uploads,
        jobs=jobs,
        audit=Audit(producer, topology=topology, clock=clock),
        feeder=Feeder(
            jobs,
            intake=intake,
            uploads=uploads,
            limits=_intake_limits(settings),
            ahead_s=lambda: ahead.age_s(Lane.BULK),
            outbox_s=relay.age_s,
            paused=lambda: pauses.collections,
        ),
        pauses=pauses,
        records=Records(database),
        states=States(database),
        recoveries=Recoveries(database),
        relay=relay,
        ahead=ahead,
        searcher=Searcher(
            outside.store, settings=settings, build=build_provider, clock=clock
        ),
        feed=StatusFeed(settings),
    )
    sweeper = Sweeper(
        database,
        objects=outside.objects,
        forgetting=Forgetting(
            database,
            jobs=jobs,
            clock=clock,
            events_s=settings.retention_hours * 3600,
            history_s=settings.history_days * 86_400,
        ),
        clock=clock,
        metrics=outside.metrics,
        orphan_age_s=settings.orphan_age_s,
        every_s=settings.sweep_every_s,
    )
    return parts, sweeper


def apps_of(gateway: Gateway) -> dict[int, FastAPI]:
    """The HTTP applications by port: the admin API's own, where it has one."""
    parts, settings = gateway.parts, gateway.parts.settings
    if settings.admin_port in (0, settings.http_port):
        return {settings.http_port: create_app(settings, parts, routers=API + ADMIN)}
    return {
        settings.http_port: create_app(settings, parts, routers=API),
        settings.admin_port: create_app(settings, parts, routers=ADMIN),
    }


async def run(settings: GatewaySettings) -> None:
    """Serve until SIGTERM or SIGINT, then finish what is under way."""
    logs.configure(
        level=settings.log_level,
        settings=settings,
        stage="gateway",
        worker=f"gateway-{socket.gethostname()}-{os.getpid()}",
    )
    warn_of_misspelt_settings()
    metrics = Metrics("gateway")
    process = Process(settings, registry=metrics.registry)
    serving = _Serving(settings, process, metrics)
    await process.run(serving.work, end=serving.end)


class _Serving:
    """What the process does between its start and its end."""

    def __init__(
        self, settings: GatewaySettings, process: Process, metrics: Metrics
    ) -> None:
        self._settings = settings
        self._process = process
        self._metrics = metrics
        self._stopping: asyncio.Event | None = None
        self._servers: dict[HttpServer, asyncio.Task[None]] = {}

    async def work(self, stack: AsyncExitStack) -> None:
        """Serve for ever."""
        gateway = await stack.enter_async_context(built(self._settings, self._metrics))
        parts = gateway.parts
        await self._start(gateway)
        self._stopping = parts.stopping
        for server, at in await self._listen(gateway):
            self._servers[server] = asyncio.create_task(server.run_on(at))
        tasks = {
            *self._servers.values(),
            *(
                asyncio.create_task(each)
                for each in (
                    parts.relay.run(),
                    parts.ahead.run(),
                    gateway.sweeper.run(),
                    parts.feed.run(),
                    parts.feeder.run(),
                    self._connect(gateway),
                )
            ),
        }
        try:
            # None of them ends by itself, but for the servers when they are told to.
            pending = tasks
            while pending:
                done, pending = await asyncio.wait(
                    pending, return_when=asyncio.FIRST_COMPLETED
                )
                for task in done:
                    task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            # What was accepted last goes now if it can, else with the next start.
            await _at_most(_FLUSH_S, parts.relay.finish())

    async def end(self, working: asyncio.Task[None]) -> None:
        """Finish the requests under way, then all else."""
        if self._stopping is not None:
            self._stopping.set()
        for server in self._servers:
            server.should_exit = True
        if self._servers:
            await asyncio.wait(self._servers.values())
        working.cancel()
        await asyncio.wait({working})

    async def _listen(self, gateway: Gateway) -> list[tuple[HttpServer, socket.socket]]:
        settings = self._settings
        servers: list[tuple[HttpServer, socket.socket]] = []
        for number, (port, app) in enumerate(apps_of(gateway).items()):
            listening = listen(settings.http_host, port)
            told = settings.http_file if number == 0 else ""
            address = await tell_address(listening, told)
            _log.info("the API listens", address=address)
            server = HttpServer(app, drain_s=settings.drain_s, head_s=settings.read_s)
            servers.append((server, listening))
        return servers

    async def _start(self, gateway: Gateway) -> None:
        """The schema is there, and we know since when the outbox waits."""
        url = self._settings.database_url.get_secret_value()
        while True:
            try:
                await upgrade(url)
                break
            except SharedFailure as error:
                self._process.say(f"{error.reason}: {error}")
                _log.warning("waiting for the database", reason=str(error))
                await asyncio.sleep(_RETRY_S)
        await gateway.parts.relay.look()

    async def _connect(self, gateway: Gateway) -> None:
        """Kafka may come later: until then uploads get 503, and all else works."""
        topology = self._settings.topology
        await wait_for_topics(
            self._settings,
            {
                *(topology.topic(Noun.DOCUMENTS, lane) for lane in Lane),
                topology.audit,
                topology.control,
            },
            say=self._process.say,
        )
        gateway.follower.start()
        await gateway.producer.start()
        relay = gateway.parts.relay
        relay.connected()
        self._process.started(
            lambda: None if relay.age_s() is not None else _NO_DATABASE,
            lambda: gateway.producer.problem,
        )
        await asyncio.Event().wait()


async def _at_most(seconds: float, work: Awaitable[None]) -> None:
    try:
        async with asyncio.timeout(seconds):
            await work
    except (TimeoutError, SharedFailure) as error:
        _log.info("the outbox is left to the next start", reason=repr(error))


async def authenticator_of(
    settings: GatewaySettings, database: Database, clock: Clock, stack: AsyncExitStack
) -> Authenticator:
    """Who knows callers, as the settings say."""
    if settings.auth_mode == "none":
        _log.warning("everybody may read and write: HEADRACE_AUTH_MODE is none")
        return Everybody()
    if settings.auth_mode == "keys":
        return ApiKeys(KeyStore(database), clock=clock)
    client = await stack.enter_async_context(httpx.AsyncClient(timeout=10))
    keys = JwksCache(
        issuer=settings.oidc_issuer,
        url=settings.oidc_jwks_url,
        client=client,
        clock=clock,
    )
    return Tokens(OidcTokens(settings, keys=keys))


def _patience(settings: GatewaySettings, clock: Clock) -> Patience:
    """How long an upload may take: its record is there long before the sweeper."""
    return Patience(settings.read_s, settings.orphan_age_s / 2, clock)


def _intake_limits(settings: GatewaySettings) -> IntakeLimits:
    """When uploads are refused and imports wait."""
    return IntakeLimits(
        ahead_age_s=settings.admit_age_s,
        outbox_age_s=settings.outbox_age_s,
        accepting=settings.accepting,
    )


def _admission(
    settings: GatewaySettings,
    clock: Clock,
    metrics: GatewayMetrics,
    ahead: Ahead,
    relay: Relay,
) -> Admission:
    return Admission(
        limits=_intake_limits(settings),
        tenant_accepting=settings.tenant_accepting,
        retry_after_s=settings.retry_after_s,
        ahead_s=lambda: ahead.age_s(Lane.INTERACTIVE),
        outbox_s=relay.age_s,
        rates=RateLimits(
            per_s=settings.tenant_requests_per_s,
            burst=settings.tenant_burst,
            clock=clock,
        ),
        refused=lambda reason: metrics.refused(reason).inc(),
    )


def _show(parts: Parts) -> None:
    """Gauges that are looked up when they are asked for."""

    def outbox_s() -> float:
        age_s = parts.relay.age_s()
        return -1.0 if age_s is None else age_s

    parts.metrics.accepting.set_function(lambda: parts.admission.accepting)
    parts.metrics.outbox_age_seconds.set_function(outbox_s)
    parts.metrics.ahead_age_seconds.set_function(
        lambda: parts.ahead.age_s(Lane.INTERACTIVE)
    )
