"""A gateway in this process: SQL and objects are real, Kafka is not."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from aiokafka.errors import KafkaConnectionError
from fastapi import FastAPI
from headrace_gateway.ahead import Places
from headrace_gateway.app import ADMIN, API, Outside, authenticator_of, wired
from headrace_gateway.http import create_app
from headrace_gateway.parts import Parts
from headrace_gateway.settings import GatewaySettings
from headrace_gateway.sweeper import Sweeper
from prometheus_client import CollectorRegistry
from sqlalchemy import Table, select

from headrace.clock import SystemClock
from headrace.control import Control
from headrace.database.documents import DOCUMENTS
from headrace.database.engine import Database, upgrade
from headrace.database.key_store import KeyStore
from headrace.database.keys import Scope
from headrace.database.merging import merge_statuses, status_row
from headrace.identity import Arrival, DocumentKey
from headrace.lag import Member
from headrace.messages import Lane, Metadata, Stage, State, StatusEvent
from headrace.metrics import GatewayMetrics
from headrace.objects import Objects
from tests.support.fake_producer import FakeProducer
from tests.support.fake_store import FakeStore


@dataclass
class Waiting:
    """Instead of ``Ahead``: says what a test says; else that there is no Kafka."""

    seconds: float = 0.0
    found: list[Places] | None = None
    lefts: list[dict[Stage, int]] = field(default_factory=list)
    groups: dict[Stage, list[Member]] | None = None

    async def places(self) -> list[Places]:
        if self.found is None:
            raise KafkaConnectionError("there is none here")
        return self.found

    async def left(self, stages: Collection[Stage]) -> dict[Stage, int]:
        if not self.lefts:
            raise KafkaConnectionError("there is none here")
        left = self.lefts[0] if len(self.lefts) == 1 else self.lefts.pop(0)
        return {stage: count for stage, count in left.items() if stage in stages}

    async def members(self) -> dict[Stage, list[Member]]:
        if self.groups is None:
            raise KafkaConnectionError("there is none here")
        return self.groups

    def age_s(self, lane: Lane) -> float:
        return self.seconds

    def depths(self) -> list[Any]:
        return []


@dataclass
class Paused:
    """Instead of ``ControlFollower``: has heard at once what was sent."""

    producer: FakeProducer
    topic: str
    known: bool = True

    @property
    def state(self) -> Control:
        found = Control()
        for sent in self.producer.to(self.topic):
            found = found.after(sent.key, sent.value)
        return found


@dataclass
class GatewayWorld:
    """The parts, and a client that has all rights unless a test says otherwise."""

    parts: Parts
    database: Database
    objects: Objects
    producer: FakeProducer
    sweeper: Sweeper
    client: httpx.AsyncClient
    waiting: Waiting
    clock: Any
    store: FakeStore
    app: FastAPI
    keys: dict[str, str] = field(default_factory=dict)

    async def key(self, tenant: str, *scopes: Scope) -> dict[str, str]:
        """Headers of a new key."""
        _, key = await KeyStore(self.database).create(
            tenant=tenant,
            scopes=frozenset(scopes or Scope),
            label=f"{tenant}-{len(self.keys)}",
            now_ms=self.clock.now_ms(),
        )
        self.keys[key] = tenant
        return {"Authorization": f"Bearer {key}"}

    async def upload(
        self,
        name: str = "a.txt",
        content: bytes = b"some text",
        *,
        headers: Mapping[str, str] | None = None,
        **fields: str,
    ) -> httpx.Response:
        return await self.client.post(
            "/v1/documents",
            data={"collection": "books", **fields},
            files={"file": (name, content)},
            headers=headers,
        )

    async def rows(self, table: Table) -> list[Any]:
        async with self.database.reading() as connection:
            return list((await connection.execute(select(table))).mappings())

    async def object_keys(self) -> set[str]:
        return {each.key for each in await self.objects.listed("files")}


@asynccontextmanager
async def gateway_world(
    folder: Path,
    *,
    url: str = "",
    auth: str = "none",
    clock: Any = None,
    wrap: Callable[[Objects], Objects] = lambda objects: objects,
    **settings: Any,
) -> AsyncIterator[GatewayWorld]:
    """A gateway over an empty database and object store below ``folder``."""
    url = url or f"sqlite:///{folder}/headrace.db"
    known = GatewaySettings(
        auth_mode=auth,
        database_url=url,
        object_store_url=f"file://{folder}/objects",
        embedding_provider="hash",
        embedding_dimensions=16,
        **settings,
    )
    await upgrade(url)
    clock = clock or SystemClock()
    database = Database.from_settings(known)
    objects = wrap(Objects.from_settings(known))
    producer, waiting, store = FakeProducer(), Waiting(), FakeStore()
    async with AsyncExitStack() as stack:
        stack.push_async_callback(database.close)
        parts, sweeper = wired(
            known,
            Outside(
                clock=clock,
                metrics=GatewayMetrics(registry=CollectorRegistry()),
                database=database,
                objects=objects,
                producer=producer,
                ahead=waiting,  # type: ignore[arg-type]
                control=Paused(producer, known.topology.control),  # type: ignore[arg-type]
                store=store,
                authenticator=await authenticator_of(known, database, clock, stack),
            ),
        )
        parts.relay.connected()
        app = create_app(known, parts, routers=API + ADMIN)
        transport = httpx.ASGITransport(app, raise_app_exceptions=True)
        client = await stack.enter_async_context(
            httpx.AsyncClient(transport=transport, base_url="http://gateway")
        )
        yield GatewayWorld(
            parts,
            database,
            objects,
            producer,
            sweeper,
            client,
            waiting,
            clock,
            store,
            app,
        )


async def end(world: GatewayWorld, id_: str, state: State) -> None:
    """As stages and registry end the document's newest event."""
    while await world.parts.relay.send_some():
        pass
    (row,) = [each for each in await world.rows(DOCUMENTS) if each["id"] == id_]
    at = Arrival(world.clock.now_ms(), "t", row["sent_partition"], row["sent_offset"])
    said = StatusEvent(
        DocumentKey(row["tenant"], row["collection"], id_),
        revision=row["version"],
        arrival=at,
        stage=Stage.INDEXER,
        state=state,
        at_ms=world.clock.now_ms(),
        metadata=Metadata(import_job=row["import_job"] or ""),
        lane=Lane(row["lane"]),
    )
    async with world.database.writing() as connection:
        await merge_statuses(
            connection, [status_row(said, partition=0, offset=row["sent_offset"])]
        )
