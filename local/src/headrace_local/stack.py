"""Puts a whole Headrace together on one machine: settings in, running parts out.

Whatever the user already has (a Kafka, a Qdrant) is used instead of our own part:
``KAFKA_BOOTSTRAP_SERVERS`` and ``QDRANT_URL`` in the environment say so, and
``OPENAI_BASE_URL`` replaces the local model.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaConnectionError, KafkaError

from headrace import topics
from headrace.errors import ConfigurationError
from headrace.kafka import client_options
from headrace.messages import Stage
from headrace.process import load_settings
from headrace.settings import Settings
from headrace_local.broker import Broker
from headrace_local.data_dir import DataDir, DataDirInUse, StackState
from headrace_local.parts import Part, PartFailed, Program
from headrace_local.processes import free_port
from headrace_local.services import Service, gateway_url, service_environment
from headrace_local.supervisor import Report, Supervisor

LOCAL_PARTITIONS = 3
"""One machine has few cores; each partition costs the broker files and memory."""
PATIENCE_S = 60.0
"""For a command that only looks at the directory to be done with it."""
DRAIN_S = 10.0
LATER_NICENESS = 10
SESSION_TIMEOUT_S = 6.0
"""A stage that was killed is back in seconds, so its partitions should be too."""


@dataclass(frozen=True, kw_only=True)
class StackPlan:
    """Which parts run, over which directory, with which settings."""

    data_dir: DataDir
    overrides: Mapping[str, Any]
    """Fields of ``Settings`` that command-line options set; they win."""
    file_roots: Sequence[Path] = ()
    """What the loader may read of this machine."""
    broker: bool = True
    store: bool = True
    stages: Sequence[Stage] = tuple(Stage)
    """Searching needs only the store; looking at letters no stages."""
    services: Sequence[Service] = ()
    """What people and programs ask; the stages work without."""
    later: Sequence[Service] = ()
    """Those of them that nobody waits for; they leave the processor to the others."""
    later_after_s: float = 0.0


@dataclass(frozen=True, kw_only=True)
class RunningStack:
    """A stack that is ready."""

    settings: Settings
    supervisor: Supervisor
    probes: Mapping[str, str]
    """Where each part's probes listen; follows a part that starts again."""
    gateway: str
    """URL of the HTTP API, empty where the plan has none."""


@asynccontextmanager
async def running_stack(
    plan: StackPlan, *, report: Report
) -> AsyncIterator[RunningStack]:
    """Start the planned parts, give them, stop them.

    Raises:
        DataDirInUse: another stack has the directory.
        ConfigurationError: a setting is wrong.
        PartFailed: a part does not start.
        KafkaConnectionError: the user's own Kafka does not answer.
    """
    async with _owned(plan.data_dir):
        builder = _Builder(plan)
        plan.data_dir.write_state(builder.state(serving=False))
        serving = len(plan.stages) == len(Stage)
        probes: dict[str, str] = {}

        def announce() -> None:
            # Again after each restart: the stage listens elsewhere then.
            probes.update(builder.probes())
            plan.data_dir.write_state(builder.state(serving=serving))

        supervisor = Supervisor(
            builder.groups,
            report=report,
            after_group=builder.after_group,
            later=builder.later,
            later_after_s=plan.later_after_s,
            restarted=announce,
        )
        await supervisor.start()
        try:
            announce()
            yield RunningStack(
                settings=builder.settings,
                supervisor=supervisor,
                probes=probes,
                gateway=builder.gateway,
            )
        finally:
            plan.data_dir.write_state(builder.state(serving=False))
            await supervisor.stop()


@asynccontextmanager
async def _owned(data_dir: DataDir) -> AsyncIterator[None]:
    """The directory's lock; waits for those that only look or are on their way out."""
    deadline = time.monotonic() + PATIENCE_S
    with ExitStack() as stack:
        while True:
            try:
                stack.enter_context(data_dir.locked())
                break
            except DataDirInUse:
                state = data_dir.read_state()
                serving = state is None or state.serving
                if serving or time.monotonic() > deadline:
                    raise
            await asyncio.sleep(0.1)
        yield


def public_settings(settings: Settings) -> dict[str, Any]:
    """The settings as plain values, without secrets."""
    dumped = settings.model_dump(mode="json")
    secret = {"kafka_password", "qdrant_api_key"}
    return {name: value for name, value in dumped.items() if name not in secret}


def variable_of(field: str) -> str:
    """The environment variable of a field of ``Settings``."""
    alias = Settings.model_fields[field].validation_alias
    return alias if isinstance(alias, str) else f"HEADRACE_{field}".upper()


async def replication_factor(admin: AIOKafkaAdminClient) -> int:
    """What new topics get: three copies, or as many as there are brokers."""
    cluster = await admin.describe_cluster()
    return min(3, len(cluster["brokers"]))


async def _apply_topics(settings: Settings) -> None:
    """Make the topics that are missing.

    Raises:
        KafkaConnectionError: no broker answers.
        PartFailed: the broker refuses.
    """
    admin = AIOKafkaAdminClient(**client_options(settings))
    try:
        await admin.start()
        await topics.apply(
            admin,
            settings.topology,
            replication_factor=await replication_factor(admin),
        )
    except KafkaConnectionError:
        raise  # says itself that nobody answers
    except (KafkaError, topics.TopicsRefused) as error:
        raise PartFailed(
            f"the topics cannot be made at {settings.kafka_bootstrap_servers}: {error}"
        ) from error
    finally:
        await admin.close()


class _Builder:
    """Knows the parts while they come up, since each needs the ones before it."""

    def __init__(self, plan: StackPlan) -> None:
        self._plan = plan
        self._dir = plan.data_dir
        self._broker: Broker | None = None
        self._environment: dict[str, str] = {}
        overrides = dict(plan.overrides)
        overrides.update(provider_defaults(os.environ, overrides))
        if "HEADRACE_OBJECT_STORE_URL" not in os.environ:
            self._dir.objects.mkdir(parents=True, exist_ok=True)
            overrides["object_store_url"] = self._dir.objects.resolve().as_uri()
        for field in ("partitions", "document_partitions"):
            asked = plan.overrides.get("partitions", LOCAL_PARTITIONS)
            overrides.setdefault(field, self._count(field, otherwise=asked))
        self._overrides = overrides
        self._stages = [self._stage(stage) for stage in plan.stages]
        self.gateway = ""
        if Service.GATEWAY in plan.services:
            self.gateway = gateway_url(os.environ)
        self._services = [self._service(service) for service in plan.services]
        self.groups: list[list[Part]] = [[]]
        if plan.store and "QDRANT_URL" not in os.environ:
            self.groups[0].append(self._store())
        if plan.broker and "KAFKA_BOOTSTRAP_SERVERS" not in os.environ:
            self._broker = Broker(
                data_dir=self._dir.kafka, log_file=self._dir.log("broker")
            )
            self.groups[0].append(self._broker)
        self.groups.append(list(self._stages))
        self.groups[-1] += [
            each for each in self._services if each.name not in plan.later
        ]
        self.later = [each for each in self._services if each.name in plan.later]
        self.settings = self._load()
        self._fill_environment()

    def _load(self) -> Settings:
        # Checked as the stages will check them, with the same words.
        load_settings(Settings)
        return Settings(**self._overrides)

    def _count(self, field: str, *, otherwise: int) -> int:
        """Partitions: as the environment says, as they were, or as asked."""
        if variable_of(field) in os.environ:
            return int(getattr(load_settings(Settings), field))
        before = self._dir.read_state()
        if before is not None and field in before.settings:
            return int(before.settings[field])
        return otherwise

    def _store(self) -> Program:
        port = free_port()
        self._overrides["qdrant_url"] = f"http://127.0.0.1:{port}"
        address_file = self._dir.address_file("store")
        return Program(
            name="store",
            command=[
                *(sys.executable, "-m", "headrace_local.store"),
                *("--data-dir", str(self._dir.store), "--port", str(port)),
                *("--ready-file", str(address_file)),
            ],
            log_file=self._dir.log("store"),
            address_file=address_file,
        )

    def _stage(self, stage: Stage) -> Program:
        return Program(
            name=stage,
            command=[sys.executable, "-m", f"headrace_{stage}"],
            log_file=self._dir.log(stage),
            address_file=self._dir.address_file(stage),
            environment=lambda: self._stage_environment(stage),
            probed=True,
            grace_s=DRAIN_S + 5,
        )

    def _service(self, service: Service) -> Program:
        return Program(
            name=service,
            command=[sys.executable, "-m", f"headrace_{service}"],
            log_file=self._dir.log(service),
            address_file=self._dir.address_file(service),
            environment=lambda: service_environment(
                service, self._environment, self._dir, gateway=self.gateway
            ),
            probed=True,
            grace_s=DRAIN_S + 5,
            niceness=LATER_NICENESS if service in self._plan.later else 0,
        )

    async def after_group(self, number: int) -> None:
        """Once broker and store run: tell the stages where, and make the topics."""
        if number != 0:
            return
        if self._broker is not None:
            self._overrides["kafka_bootstrap_servers"] = self._broker.bootstrap_servers
        self.settings = self._load()
        self._fill_environment()
        if self._plan.broker:
            await _apply_topics(self.settings)

    def _fill_environment(self) -> None:
        variables = {
            variable_of(name): value if isinstance(value, str) else json.dumps(value)
            for name, value in self._overrides.items()
        }
        defaults = {
            "HEADRACE_DRAIN_S": str(DRAIN_S),
            "HEADRACE_SESSION_TIMEOUT_S": str(SESSION_TIMEOUT_S),
            "HEADRACE_WORK_DIR": str(self._dir.path / "work"),
            "HEADRACE_EMBED_CACHE_FILE": str(self._dir.cache / "embeddings.ring"),
        }
        roots = json.dumps([str(root.resolve()) for root in self._plan.file_roots])
        self._dir.cache.mkdir(parents=True, exist_ok=True)
        self._environment = {
            **defaults,
            **os.environ,
            **variables,
            "HEADRACE_FILE_ROOTS": roots,
            "PYTHONUNBUFFERED": "1",
        }

    def _stage_environment(self, stage: Stage) -> dict[str, str]:
        environment = dict(self._environment)
        environment["HEADRACE_PROBE_FILE"] = str(self._dir.address_file(stage))
        if stage is not Stage.EMBEDDER:
            environment.pop("OPENAI_API_KEY", None)
        return environment

    def state(self, *, serving: bool) -> StackState:
        """What other commands are told."""
        return StackState(
            pid=os.getpid(),
            settings=public_settings(self.settings),
            probes=self.probes() if serving else {},
            serving=serving,
            file_roots=[str(root.resolve()) for root in self._plan.file_roots],
            gateway=self.gateway if serving else "",
        )

    def probes(self) -> dict[str, str]:
        """Where each part's probes listen, once it runs."""
        programs = [*self._stages, *self._services]
        return {each.name: each.address for each in programs if each.address}


def provider_defaults(
    environ: Mapping[str, str], overrides: Mapping[str, Any]
) -> dict[str, Any]:
    """What naming an endpoint implies.

    Raises:
        ConfigurationError: an endpoint without a model or its dimensions.
    """
    explicit = (
        "HEADRACE_EMBEDDING_PROVIDER" in environ or "embedding_provider" in overrides
    )
    if explicit or "OPENAI_BASE_URL" not in environ:
        return {}
    implied: dict[str, Any] = {"embedding_provider": "openai"}
    for field in ("embedding_model", "embedding_dimensions"):
        if variable_of(field) not in environ and field not in overrides:
            raise ConfigurationError(
                f"OPENAI_BASE_URL is set, so {variable_of(field)} must say which "
                "model of that endpoint to use; or unset OPENAI_BASE_URL to use the "
                "local model"
            )
    if variable_of("tokenizer") not in environ:
        implied["tokenizer"] = "cl100k_base"
    return implied
