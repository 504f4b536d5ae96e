"""``python -m headrace.database``, which the chart runs before an upgrade."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from pathlib import Path


def migrated(url: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "headrace.database"],
        env={**os.environ, "DATABASE_URL": url},
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )


def test_the_schema_is_made_and_the_second_time_left_alone(tmp_path: Path):
    file = tmp_path / "new" / "headrace.db"
    for _ in range(2):
        done = migrated(f"sqlite:///{file}")
        assert done.returncode == 0, done.stderr
        assert done.stdout == "the schema is up to date\n"
    with sqlite3.connect(file) as connection:
        tables = connection.execute("SELECT name FROM sqlite_master").fetchall()
    assert ("documents",) in tables


def test_a_database_that_is_away_fails_the_job(tmp_path: Path):
    done = migrated("postgresql://u:hidden@127.0.0.1:9/headrace")
    assert done.returncode == 1
    assert "hidden" not in done.stdout + done.stderr


def test_a_wrong_url_is_a_wrong_configuration():
    done = migrated("mysql://u:hidden@sql/headrace")
    assert done.returncode == 78
    assert "DATABASE_URL" in done.stderr
    assert "hidden" not in done.stderr
