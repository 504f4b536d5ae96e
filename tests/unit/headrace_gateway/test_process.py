"""How the process starts and ends."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests.support.cli import environment


def started(**variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "headrace_gateway"],
        env=environment(**variables),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_without_a_word_about_who_may_call_it_does_not_start() -> None:
    ended = started()

    assert ended.returncode == 78
    assert "HEADRACE_AUTH_MODE" in ended.stderr


def test_a_database_that_is_none_is_told_without_its_password() -> None:
    ended = started(HEADRACE_AUTH_MODE="none", DATABASE_URL="mysql://u:hunter22@h/d")

    assert ended.returncode == 78
    assert "DATABASE_URL" in ended.stderr
    assert "hunter22" not in ended.stdout + ended.stderr


@pytest.mark.parametrize("times", [1, 2])
def test_told_to_end_while_kafka_is_away_it_does(tmp_path: Path, times: int) -> None:
    probes, api = tmp_path / "probes", tmp_path / "api"
    process = subprocess.Popen(
        [sys.executable, "-m", "headrace_gateway"],
        env=environment(
            HEADRACE_AUTH_MODE="none",
            HEADRACE_HTTP_PORT="0",
            HEADRACE_HTTP_FILE=str(api),
            HEADRACE_PROBE_FILE=str(probes),
            HEADRACE_OBJECT_STORE_URL=f"file://{tmp_path}/objects",
            HEADRACE_EMBEDDING_PROVIDER="hash",
            DATABASE_URL=f"sqlite:///{tmp_path}/headrace.db",
            KAFKA_BOOTSTRAP_SERVERS="127.0.0.1:1",
        ),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        while not api.exists():
            assert process.poll() is None, process.communicate()[0]
            time.sleep(0.05)
        with urllib.request.urlopen(f"http://{api.read_text()}/v1/documents") as answer:
            assert answer.status == 200
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"http://{probes.read_text()}/readyz")
        assert refused.value.code == 503
        for _ in range(times):
            process.send_signal(signal.SIGTERM)
        said, _ = process.communicate(timeout=60)
        assert process.returncode == 0, said
        assert '"event": "stopped"' in said
    finally:
        process.kill()
        process.wait()
