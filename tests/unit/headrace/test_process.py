"""Logs, metrics, probes, settings and the loop's measure."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest
import structlog
from pydantic import SecretStr

from headrace import logs
from headrace.errors import ConfigurationError
from headrace.kafka import client_options
from headrace.loop_delay import MeasuringSelector, new_event_loop
from headrace.messages import Stage
from headrace.metrics import LagMetrics, Metrics
from headrace.probes import Probes
from headrace.process import EXIT_CONFIGURATION, load_settings
from headrace.producer import partition_of
from headrace.settings import Settings, StageSettings


@pytest.fixture
def _own_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield
    root.handlers, root.level = handlers, level
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


@pytest.mark.usefixtures("_own_logging")
def test_logs_are_json_and_hide_secrets(capsys: pytest.CaptureFixture[str]) -> None:
    settings = Settings(
        kafka_password=SecretStr("hunter2-hunter2"),
        qdrant_api_key=SecretStr("qk-12345"),
    )
    logs.configure(level="info", settings=settings, stage="loader")
    log = structlog.get_logger()
    log.info(
        "connecting",
        url="https://me:hunter2-hunter2@host/x",
        api_key="anything",
        header="Authorization: Bearer abc.def",
        places=["sk-aaaaaaaaaaaa", 3],
        text="x" * 5000,
    )
    log.error("failed", exc_info=ValueError("refused qk-12345"))
    logging.getLogger("other").warning("https://u:p4ssw0rd@h/")
    logging.getLogger("httpx2").info("HTTP Request: POST, one line for each call")
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["event"][:6] for line in lines] == ["connec", "failed", "https:"]
    assert all(line["stage"] == "loader" for line in lines)
    assert len(lines[0]["text"]) == 2000
    whole = json.dumps(lines)
    for secret in ("hunter2", "anything", "abc.def", "sk-aaa", "qk-12345", "p4ssw0rd"):
        assert secret not in whole
    assert "ValueError: refused [hidden]" in lines[1]["exception"]


def test_metrics_have_the_prefix_and_the_stage() -> None:
    metrics = Metrics(Stage.LOADER)
    metrics.retries("timeout").inc()
    value = metrics.registry.get_sample_value(
        "headrace_retries_total", {"stage": "loader", "reason": "timeout"}
    )
    assert value == 1
    for family in metrics.registry.collect():
        if family.name.startswith(("process_", "python_")):
            continue
        assert family.name.startswith("headrace_")
        assert family.documentation
        for sample in family.samples:
            assert sample.labels["stage"] == "loader"


def test_lag_metrics_name_the_stage() -> None:
    metrics = LagMetrics()
    metrics.wanted_replicas(Stage.INDEXER).set(3)
    value = metrics.registry.get_sample_value(
        "headrace_stage_wanted_replicas", {"stage": "indexer"}
    )
    assert value == 3


async def test_probes_say_why_not(tmp_path: Path) -> None:
    problem: str | None = "topics are missing"
    probes = Probes(
        registry=Metrics("x").registry, alive=lambda: None, ready=lambda: problem
    )
    file = tmp_path / "address"
    address = await probes.start(host="127.0.0.1", port=0, address_file=str(file))
    assert file.read_text() == address

    async def get(path: str) -> tuple[int, str]:
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://{address}{path}") as answer,
        ):
            return answer.status, await answer.text()

    try:
        assert await get("/livez") == (200, "ok\n")
        assert await get("/readyz") == (503, "topics are missing\n")
        problem = None
        assert await get("/readyz") == (200, "ok\n")
        status, page = await get("/metrics")
        assert status == 200
        assert "headrace_build_info" in page
    finally:
        await probes.stop()


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("HEADRACE_SESSION_TIMEOUT_S", "1", "HEADRACE_SESSION_TIMEOUT_S: .*equal to 6"),
        ("KAFKA_SECURITY_PROTOCOL", "TLS", "KAFKA_SECURITY_PROTOCOL: .*'SSL'"),
        ("HEADRACE_CHUNK_PROSE_OVERLAP", "500", "HEADRACE_CHUNK_PROSE_OVERLAP must"),
    ],
)
def test_a_bad_setting_is_named(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, message: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError, match=message):
        load_settings(StageSettings)


def test_a_secret_is_not_shown_when_it_is_wrong(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HEADRACE_PARTITIONS", "canary-value")
    with pytest.raises(ConfigurationError) as raised:
        load_settings(StageSettings)
    assert "canary" not in str(raised.value)


NO_BROKER = {
    "HEADRACE_OBJECT_STORE_URL": "file:///dev/shm",
    "HEADRACE_PROBE_HOST": "127.0.0.1",
    "HEADRACE_PROBE_PORT": "0",
    "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1",
}


def started(*lines: str, **variables: str) -> subprocess.Popen[str]:
    """A stage that waits for a broker for ever, with something of its own before."""
    program = (
        *lines,
        "from headrace.lifecycle import main",
        "from headrace.messages import Stage",
        "from headrace.settings import StageSettings",
        "main(Stage.LOADER, StageSettings, lambda context: None)",
    )
    return subprocess.Popen(
        [sys.executable, "-c", "\n".join(program)],
        env={**os.environ, **NO_BROKER, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def waiting(process: subprocess.Popen[str]) -> None:
    """Return once it waits for the broker."""
    assert process.stdout is not None
    for line in process.stdout:
        if "waiting for Kafka" in line:
            return
    pytest.fail(f"it ended with {process.wait()}")


def test_a_bad_object_store_ends_the_process_though_no_broker_answers() -> None:
    process = started(HEADRACE_OBJECT_STORE_URL="ftp://host/x")
    _, said = process.communicate(timeout=60)
    assert process.returncode == EXIT_CONFIGURATION
    assert "HEADRACE_OBJECT_STORE_URL" in said


@pytest.mark.parametrize("times", [1, 2])
def test_a_stage_that_is_told_to_end_while_it_starts_does(times: int) -> None:
    process = started()
    waiting(process)
    for _ in range(times):
        process.send_signal(signal.SIGTERM)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert '"event": "stopped"' in said


def test_a_stage_ends_without_taking_the_interpreter_apart() -> None:
    # Threads of the object store may still want to enter it.
    process = started("import atexit, os", "atexit.register(os.abort)")
    waiting(process)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 0


def test_kafka_options() -> None:
    settings = Settings(
        kafka_bootstrap_servers="a:1, b:2",
        kafka_security_protocol="SASL_SSL",
        kafka_username="me",
        kafka_password=SecretStr("pw"),
    )
    options = client_options(settings)
    assert options["bootstrap_servers"] == ["a:1", "b:2"]
    assert options["sasl_plain_password"] == "pw"
    assert options["ssl_context"].check_hostname
    with pytest.raises(ConfigurationError, match="KAFKA_USERNAME"):
        client_options(settings.model_copy(update={"kafka_username": ""}))
    with pytest.raises(ConfigurationError, match="KAFKA_CA_FILE"):
        client_options(settings.model_copy(update={"kafka_ca_file": "/nowhere"}))


@pytest.mark.parametrize(
    ("key", "hashed"),
    [
        # From the tests of Kafka's Java client (Utils.murmur2).
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
def test_partitions_are_those_of_java(key: bytes, hashed: int) -> None:
    for count in (1, 6, 7):
        assert partition_of(key, count) == (hashed & 0x7FFFFFFF) % count


def test_a_held_loop_is_measured_in_cpu_time() -> None:
    holds: list[float] = []
    selector = MeasuringSelector()
    selector.report = holds.append

    async def scenario() -> None:
        await asyncio.sleep(0.01)
        time.sleep(0.1)  # noqa: ASYNC251  blocked, but not by us: no CPU is used
        await asyncio.sleep(0)
        assert max(holds, default=0) < 0.05
        end = time.thread_time() + 0.08
        while time.thread_time() < end:
            pass
        await asyncio.sleep(0)

    with asyncio.Runner(loop_factory=lambda: new_event_loop(selector)) as runner:
        runner.run(scenario())
    assert max(holds) >= 0.08
