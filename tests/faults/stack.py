"""Real parts with proxies between them: what the rows of level 2 break.

Each stage process reaches the broker, the store and the provider through proxies of its
own. The suite's own clients go past them.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from aiokafka.admin import AIOKafkaAdminClient
from headrace_local.broker import Broker, Listener
from headrace_local.parts import Program
from headrace_local.processes import free_port
from headrace_local.stack import variable_of

from headrace import topics
from headrace.kafka import client_options
from headrace.messages import Stage
from headrace.settings import Settings
from tests.faults.front import Front
from tests.faults.machines import PartMachine, StageMachine
from tests.faults.provider import FaultProvider
from tests.faults.proxy import HOST, Faults, Proxy
from tests.faults.scale import PAUSE_SCALE, scaled
from tests.support.cli import environment
from tests.support.store_process import memory_dir

TARGETS = ("broker", "store", "provider")
SPARES = ("spare-1", "spare-2", "spare-3", "spare-4")
"""Processes beside one of each stage: more of one, or zombies."""
INJECTED = Path(__file__).parent / "injected"
DIMENSIONS = 16
SESSION_S = 6.0
"""Shorter ones the broker refuses."""
IN_FLIGHT_TEXTS = 2 * 200
"""An embedder's: two calls of at most 200 texts, by default."""
SETTINGS: Mapping[str, Any] = {
    "partitions": 3,
    "document_partitions": 3,
    "embedding_provider": "openai",
    "embedding_model": "hash-of-the-text",
    "embedding_dimensions": DIMENSIONS,
    "tokenizer": "cl100k_base",
    "chunk_prose_tokens": 32,
    "chunk_prose_overlap": 0,
    "chunk_whole_tokens": 32,
}
STAGE_ENVIRONMENT: Mapping[str, str] = {
    "PYTHONPATH": str(INJECTED),
    "PYTHONUNBUFFERED": "1",
    "OPENAI_API_KEY": "not-a-key",
    "HEADRACE_DRAIN_S": "10",
    "HEADRACE_SESSION_TIMEOUT_S": str(SESSION_S),
    "HEADRACE_TIMES_SCALE": str(PAUSE_SCALE),
    "HEADRACE_BACKOFF_S": str(scaled(2)),
    "HEADRACE_METADATA_AGE_S": str(scaled(60)),
    # What a row sends must be asked of the provider, and twice must be seen.
    "HEADRACE_EMBED_CACHE_BYTES": "0",
    "HEADRACE_EMBED_CALL_DEADLINE_S": str(scaled(60)),
    "HEADRACE_EMBED_BATCH_DEADLINE_S": str(scaled(120)),
    "HEADRACE_INDEX_SWEEP_INTERVAL_S": "2",
}

_FRONT_ENVIRONMENT: Mapping[str, str] = {
    name: STAGE_ENVIRONMENT[name]
    for name in (
        "PYTHONPATH",
        "PYTHONUNBUFFERED",
        "HEADRACE_DRAIN_S",
        "HEADRACE_SESSION_TIMEOUT_S",
        "HEADRACE_METADATA_AGE_S",
    )
}


def mutation() -> dict[str, str]:
    """Of `python -m tests.faults.mutate`; see injected/mutations.py."""
    names = {"HEADRACE_MUTATION"} & os.environ.keys()
    return {name: os.environ[name] for name in names}


class FaultStack:
    """Broker, store, provider and one process of each stage.

    Attributes:
        settings: with addresses past the proxies.
        provider: what the embedder asks.
        stages: by name, the spare ones that run too.
        front: gateway and registry, once they were asked for.
    """

    def __init__(self, overrides: Mapping[str, Any] | None = None) -> None:
        self._overrides = dict(overrides or {})
        self._life = AsyncExitStack()
        self._proxies: dict[tuple[str, str], Proxy] = {}
        self.provider = FaultProvider(dimensions=DIMENSIONS)
        self.stages: dict[str, StageMachine] = {}
        self.front: Front | None = None
        self.directory = Path()
        self.settings = Settings()

    # -- life -------------------------------------------------------------------

    async def start(self) -> None:
        """Start everything; what had started is stopped again if a part fails."""
        async with AsyncExitStack() as life:
            self.directory = Path(
                tempfile.mkdtemp(prefix="headrace-faults-", dir=memory_dir())
            )
            life.callback(shutil.rmtree, self.directory, ignore_errors=True)
            await life.enter_async_context(self.provider)
            await self._start_proxies(life)
            await self._start_shared(life)
            await self._make_topics()
            for stage in Stage:
                self.stages[stage] = self._machine(stage, name=stage)
            life.push_async_callback(self._stop_stages)
            await asyncio.gather(*(stage.start() for stage in self.stages.values()))
            self._life = life.pop_all()

    async def close(self) -> None:
        """Stop everything and remove its files."""
        await self._life.aclose()

    async def start_front(self) -> None:
        """Gateway and registry too, for as long as the stack runs.

        Raises:
            PostgresMissing: their database cannot be had.
        """
        usual = {**self.direct_environment(), **_FRONT_ENVIRONMENT, **mutation()}
        front = Front(self.directory, self.settings, usual)
        await self._life.enter_async_context(front)
        self.front = front

    async def _start_proxies(self, life: AsyncExitStack) -> None:
        store, provider = free_port(), urlsplit(self.provider.base_url).port
        assert provider is not None
        ports = {"store": store, "provider": provider}
        for user in (*Stage, *SPARES):
            for target in TARGETS:
                proxy = Proxy(target=ports.get(target) or free_port())
                await proxy.start()
                life.push_async_callback(proxy.stop)
                self._proxies[str(user), target] = proxy

    async def _start_shared(self, life: AsyncExitStack) -> None:
        log = self.directory / "logs"
        self._broker = Broker(
            data_dir=self.directory / "kafka",
            log_file=log / "broker.log",
            listeners=[
                Listener(user.upper().replace("-", ""), proxy.target, proxy.port)
                for (user, target), proxy in self._proxies.items()
                if target == "broker"
            ],
        )
        self.broker = PartMachine(self._broker)
        store_port = self._proxies[Stage.LOADER, "store"].target
        self.store_dir = self.directory / "store"
        ready = self.directory / "store.ready"
        self.store = PartMachine(
            Program(
                name="store",
                command=[
                    *(sys.executable, "-m", "headrace_local.store"),
                    *("--data-dir", str(self.store_dir), "--port", str(store_port)),
                    *("--ready-file", str(ready)),
                ],
                log_file=log / "store.log",
                address_file=ready,
            )
        )
        for part in (self.broker, self.store):
            life.push_async_callback(self._stop_part, part)
        await asyncio.gather(self.broker.start(), self.store.start())
        objects = self.directory / "objects"
        objects.mkdir()
        self.settings = Settings(
            **{
                **SETTINGS,
                "kafka_bootstrap_servers": self._broker.bootstrap_servers,
                "qdrant_url": f"http://{HOST}:{store_port}",
                "object_store_url": objects.as_uri(),
                **self._overrides,
            }
        )

    async def _make_topics(self) -> None:
        admin = AIOKafkaAdminClient(**client_options(self.settings))
        try:
            await admin.start()
            await topics.apply(admin, self.settings.topology, replication_factor=1)
        finally:
            await admin.close()

    async def _stop_part(self, part: PartMachine) -> None:
        if part.starts:
            part.cont()
            await part.process.stop(grace_s=5)

    async def _stop_stages(self) -> None:
        running = [machine for machine in self.stages.values() if machine.starts]
        for machine in running:
            if machine.alive:
                machine.cont()
        await asyncio.gather(*(each.process.stop(grace_s=0) for each in running))

    # -- parts ------------------------------------------------------------------

    def _machine(self, stage: Stage, *, name: str) -> StageMachine:
        return StageMachine(
            stage,
            name=name,
            directory=self.directory,
            environment=lambda: self.environment(name),
        )

    async def replica(self, stage: str, *, wait: bool = True) -> StageMachine:
        """One more process of a stage, with proxies of its own."""
        name = next(each for each in SPARES if each not in self.stages)
        machine = self.stages[name] = self._machine(Stage(stage), name=name)
        await machine.start(wait=wait)
        return machine

    async def remove(self, name: str) -> None:
        """End a replica."""
        machine = self.stages.pop(name)
        if machine.alive:
            await machine.terminate()

    def faults(self, target: str, users: Iterable[str] = ()) -> Faults:
        """The proxies before a target: all of them, or those of some processes."""
        chosen = list(users) or [*Stage, *SPARES]
        return Faults([self._proxies[str(user), target] for user in chosen])

    def accepted(self, target: str) -> int:
        """How many connections to a target there have been."""
        return sum(
            proxy.accepted for (_, to), proxy in self._proxies.items() if to == target
        )

    async def heal(self) -> None:
        """End every fault of proxies and provider."""
        for proxy in self._proxies.values():
            await proxy.heal()
        self.provider.heal()
        for machine in (self.broker, self.store, *self.stages.values()):
            if machine.alive:
                machine.cont()

    def environment(self, user: str) -> dict[str, str]:
        """Of a stage process: settings, and addresses of its own proxies."""
        ports = {target: self._proxies[user, target].port for target in TARGETS}
        through = {
            "KAFKA_BOOTSTRAP_SERVERS": f"{HOST}:{ports['broker']}",
            "QDRANT_URL": f"http://{HOST}:{ports['store']}",
            "OPENAI_BASE_URL": f"http://{HOST}:{ports['provider']}/v1",
        }
        return {
            **self.direct_environment(),
            **STAGE_ENVIRONMENT,
            **mutation(),
            **through,
        }

    def direct_environment(self) -> dict[str, str]:
        """For a command that a row runs: everything past the proxies."""
        fields = {
            **SETTINGS,
            **self._overrides,
            "kafka_bootstrap_servers": self.settings.kafka_bootstrap_servers,
            "qdrant_url": self.settings.qdrant_url,
            "object_store_url": self.settings.object_store_url,
        }
        variables = {
            variable_of(name): value if isinstance(value, str) else json.dumps(value)
            for name, value in fields.items()
        }
        return environment(
            OPENAI_BASE_URL=self.provider.base_url, OPENAI_API_KEY="x", **variables
        )
