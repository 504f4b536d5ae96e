"""How the process starts and ends."""

from __future__ import annotations

import subprocess
import sys

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
