"""Gateway and registry before the suite's stack: real processes on a PostgreSQL.

The server takes 20 connections and no more, and each process has a pool of five and
three: whatever a row does, it does it in that narrowness.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import httpx
from headrace_local.processes import free_port
from sqlalchemy import Table, func, select

from headrace.clock import SystemClock
from headrace.database.documents import CONTENTS, OUTBOX
from headrace.database.engine import Database, upgrade
from headrace.database.key_store import KeyStore
from headrace.database.keys import Scope
from headrace.database.settings import DatabaseSettings
from headrace.identity import DEFAULT_TENANT
from headrace.settings import Settings
from tests.faults.machines import StageMachine
from tests.faults.reporting import Row
from tests.faults.scale import SCALE, pause, scaled
from tests.support.eventually import eventually
from tests.support.postgres import Postgres, running_postgres

if TYPE_CHECKING:
    from tests.faults.harness import Harness, Settled

PATIENCE_S = 120.0
MAX_CONNECTIONS = 20
POOL, OVERFLOW = 5, 3
STALE_S, RECONCILE_S = pause(120), pause(300)
"""As long as the registry's defaults with ``LONG=1``."""
FINAL = frozenset(
    {"indexed", "indexed_with_errors", "unchanged", "failed", "superseded"}
)
_ENVIRONMENT: Mapping[str, str] = {
    "HEADRACE_AUTH_MODE": "keys",
    "HEADRACE_DATABASE_POOL_SIZE": str(POOL),
    "HEADRACE_DATABASE_POOL_OVERFLOW": str(OVERFLOW),
    "HEADRACE_SWEEP_EVERY_S": "2",
    "HEADRACE_OUTBOX_AGE_S": str(scaled(20)),
    "HEADRACE_TIMES_SCALE": str(SCALE),
    "HEADRACE_STALE_AFTER_S": str(STALE_S),
    "HEADRACE_RECONCILE_EVERY_S": str(RECONCILE_S),
    "HEADRACE_RETRY_AFTER_S": "1",
}
_RETRY_S = 0.2
_REQUEST_S = 60.0
_ORPHAN_AGE_S = 3600


class GatewayMachine(StageMachine):
    """A gateway; its address stays while it is killed and started again."""

    def __init__(
        self, *, name: str, directory: Path, environment: Mapping[str, str]
    ) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        super().__init__(
            "gateway",
            name=name,
            directory=directory,
            environment=lambda: {**environment, "HEADRACE_HTTP_PORT": str(port)},
        )


class Front:
    """A gateway and a registry; more of both for as long as a row needs them.

    Attributes:
        postgres: their database's server.
        database: for the suite's own looks.
        headers: that authenticate, by tenant.
    """

    def __init__(
        self, directory: Path, settings: Settings, environment: Mapping[str, str]
    ) -> None:
        self._directory = directory
        self._settings = settings
        self._environment = {**environment, **_ENVIRONMENT}
        self._life = AsyncExitStack()
        self._machines: dict[str, StageMachine] = {}
        self._spares: set[str] = set()
        self.headers: dict[str, dict[str, str]] = {}

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as life:
            self.postgres: Postgres = life.enter_context(
                running_postgres(max_connections=MAX_CONNECTIONS)
            )
            self.url = self.postgres.new_database()
            self._environment["DATABASE_URL"] = self.url
            await upgrade(self.url)
            self.database = Database.from_settings(
                DatabaseSettings(
                    database_url=self.url,
                    database_pool_size=1,
                    database_pool_overflow=0,
                )
            )
            life.push_async_callback(self.database.close)
            self.client = httpx.AsyncClient(
                timeout=_REQUEST_S,
                limits=httpx.Limits(max_connections=600, max_keepalive_connections=20),
            )
            life.push_async_callback(self.client.aclose)
            for tenant in (DEFAULT_TENANT, "other"):
                self.headers[tenant] = await self.key(tenant)
            life.push_async_callback(self._stop)
            self._add("gateway")
            self._add("registry")
            await asyncio.gather(*(each.start() for each in self.machines))
            self._life = life.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._life.aclose()

    async def _stop(self) -> None:
        for machine in self.machines:
            machine.cont()
            await machine.process.stop(grace_s=0)

    # -- processes --------------------------------------------------------------

    @property
    def machines(self) -> Sequence[StageMachine]:
        return list(self._machines.values())

    @property
    def gateway(self) -> GatewayMachine:
        machine = self._machines["gateway"]
        assert isinstance(machine, GatewayMachine)
        return machine

    @property
    def registry(self) -> StageMachine:
        return self._machines["registry"]

    def environment(self, **more: str) -> dict[str, str]:
        """Of another process beside these."""
        return {**self._environment, **more}

    async def another_gateway(self, **environment: str) -> GatewayMachine:
        """One more, until the row ends; ready."""
        machine = self._add(f"gateway-{len(self._machines)}")
        self._spares.add(machine.name)
        await machine.start(env=environment)
        assert isinstance(machine, GatewayMachine)
        return machine

    async def another_registry(self) -> StageMachine:
        """One more, until the row ends; ready where it has a partition."""
        machine = self._add(f"registry-{len(self._machines)}")
        self._spares.add(machine.name)
        await machine.start()
        return machine

    def _add(self, name: str) -> StageMachine:
        if name.startswith("gateway"):
            machine: StageMachine = GatewayMachine(
                name=name, directory=self._directory, environment=self._environment
            )
        else:
            machine = StageMachine(
                "registry",
                name=name,
                directory=self._directory,
                environment=lambda: self._environment,
            )
        self._machines[name] = machine
        return machine

    async def tidy(self) -> None:
        """Undo what a row did, so that the next finds all as usual."""
        if not self.postgres.running:
            self.postgres.start()
        for name in self._spares:
            machine = self._machines.pop(name)
            machine.cont()
            await machine.process.stop(grace_s=0)
        self._spares.clear()
        for machine in self.machines:
            machine.disarm()
            machine.cont()
            if machine.altered or not machine.alive:
                await machine.restart()
            else:
                await machine.wait_ready()

    @property
    def logs(self) -> str:
        """Of all of them."""
        return "".join(machine.log for machine in self.machines)

    # -- callers ----------------------------------------------------------------

    async def key(
        self, tenant: str, *scopes: Scope, expires_ms: int | None = None
    ) -> dict[str, str]:
        """Headers of a new key; all scopes unless some are named."""
        _, key = await KeyStore(self.database).create(
            tenant=tenant,
            scopes=frozenset(scopes or Scope),
            label=f"{tenant}-{SystemClock().monotonic()}",
            now_ms=SystemClock().now_ms(),
            expires_ms=expires_ms,
        )
        return {"Authorization": f"Bearer {key}"}

    async def call(
        self,
        method: str,
        path: str,
        *,
        gateway: GatewayMachine | None = None,
        tenant: str = DEFAULT_TENANT,
        headers: Mapping[str, str] | None = None,
        **options: Any,
    ) -> httpx.Response:
        """Ask a gateway as a tenant.

        Raises:
            httpx.TransportError: it died, or is not there.
        """
        return await self.client.request(
            method,
            f"{(gateway or self.gateway).url}{path}",
            headers={**self.headers[tenant], **(headers or {})},
            **options,
        )

    async def upload(
        self,
        collection: str,
        name: str,
        text: str | bytes,
        *,
        once: str | None = None,
        gateway: GatewayMachine | None = None,
        tenant: str = DEFAULT_TENANT,
        **fields: str,
    ) -> httpx.Response:
        """A file in a form, as a browser sends it."""
        content = text.encode() if isinstance(text, str) else text
        return await self.call(
            "POST",
            "/v1/documents",
            gateway=gateway,
            tenant=tenant,
            headers={"Idempotency-Key": once} if once else None,
            data={"collection": collection, **fields},
            files={"file": (name, content)},
        )

    async def ask(
        self,
        collection: str,
        name: str,
        text: str | bytes,
        *,
        gateway: GatewayMachine | None = None,
    ) -> httpx.Response:
        """Upload, and again with the same key while the answer is "later".

        Raises:
            httpx.TransportError: the gateway died, or is not there.
        """
        async with asyncio.timeout(PATIENCE_S):
            while True:
                answer = await self.upload(
                    collection,
                    name,
                    text,
                    once=f"{collection}/{name}",
                    gateway=gateway,
                )
                if answer.status_code not in {429, 503}:
                    return answer
                assert int(answer.headers["retry-after"]) >= 1
                await asyncio.sleep(_RETRY_S)

    async def insist(
        self,
        collection: str,
        name: str,
        text: str | bytes,
        *,
        gateway: GatewayMachine | None = None,
    ) -> httpx.Response:
        """As ``ask``, and again where the gateway is not there."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                try:
                    return await self.ask(collection, name, text, gateway=gateway)
                except httpx.TransportError:
                    await asyncio.sleep(_RETRY_S)

    async def document(self, id_: str, *, tenant: str = DEFAULT_TENANT) -> Any:
        """What the gateway says of one."""
        answer = await self.call("GET", f"/v1/documents/{id_}", tenant=tenant)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def listed(
        self,
        collection: str,
        *,
        tenant: str = DEFAULT_TENANT,
        gateway: GatewayMachine | None = None,
    ) -> dict[str, Any]:
        """All living documents of a collection, by id."""
        found: dict[str, Any] = {}
        query: dict[str, str] = {"collection": collection, "limit": "200"}
        while True:
            answer = await self.call(
                "GET",
                "/v1/documents",
                params=query,
                tenant=tenant,
                gateway=gateway,
            )
            assert answer.status_code == 200, answer.text
            page = answer.json()
            found |= {each["id"]: each for each in page["documents"]}
            if page["next"] is None:
                return found
            query["cursor"] = page["next"]

    # -- what became of it ------------------------------------------------------

    async def rows(self, table: Table) -> list[Any]:
        """All of a table, past the gateways."""
        async with self.database.reading() as connection:
            return list((await connection.execute(select(table))).mappings())

    async def relayed(self) -> None:
        """Return once all that was accepted is in Kafka."""

        async def empty() -> bool:
            async with self.database.reading() as connection:
                count = select(func.count()).select_from(OUTBOX)
                return not await connection.scalar(count)

        await eventually(empty, patience_s=PATIENCE_S)

    async def conclude(
        self, harness: Harness, row: Row, *, since: float | None = None, note: str = ""
    ) -> Settled:
        """As the harness does; and the gateway says so of each document."""
        await self.relayed()
        settled = await harness.conclude(row, since=since, note=note)
        await self.all_told(harness)
        return settled

    async def all_told(self, harness: Harness) -> None:
        """Each document that was promised is listed, once, at an end.

        Raises:
            AssertionError: it is not.
        """
        expected = harness.ledger.expected
        promised = {id_ for id_, text in expected.items() if text is not None}
        found: dict[str, Any] = {}

        async def told() -> bool:
            found.clear()
            found.update(await self.listed(harness.collection))
            return all(each["state"] in FINAL for each in found.values())

        try:
            await eventually(told, patience_s=PATIENCE_S)
        except TimeoutError:
            stuck = {
                id_: each["state"]
                for id_, each in found.items()
                if each["state"] not in FINAL
            }
            raise AssertionError(f"no end is told of {stuck}") from None
        assert set(found) == promised

    @property
    def files(self) -> list[Path]:
        """All bytes that uploads have left, parts of some too."""
        folder = self._directory / "objects" / "files"
        return [each for each in folder.rglob("*") if each.is_file()]

    @property
    def file_keys(self) -> set[str]:
        """Where they are below the folder of uploads."""
        folder = self._directory / "objects" / "files"
        return {str(each.relative_to(folder)) for each in self.files}

    async def no_orphans(self) -> None:
        """Return once there are just the bytes that a record names, though all are old.

        Raises:
            AssertionError: a record names bytes that are gone.
        """
        contents = await self.rows(CONTENTS)
        named = {each["object_key"] for each in contents} - {None}

        def left() -> bool:
            self._age()
            keys = {f"files/{each}" for each in self.file_keys}
            assert keys >= named
            return keys == named

        await eventually(left)

    def _age(self) -> None:
        """Make the bytes as old as orphans must be before they are removed."""
        for each in self.files:
            written = each.stat().st_mtime - 2 * _ORPHAN_AGE_S
            os.utime(each, (written, written))
