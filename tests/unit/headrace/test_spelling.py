from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from headrace.setting_names import NAMES
from headrace.spelling import misspelt


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("HEADRACE_EMBEDING_MODEL", "HEADRACE_EMBEDDING_MODEL"),
        ("HEADRACE_PARTITION", "HEADRACE_PARTITIONS"),
        ("HEADRACE_FILE_ROOT", "HEADRACE_FILE_ROOTS"),
        ("HEADRACE_RETENTION_HOUR", "HEADRACE_RETENTION_HOURS"),
        ("Headrace_Parser", "HEADRACE_PARSERS"),
    ],
)
def test_what_is_almost_a_setting_is_told(name: str, meant: str) -> None:
    assert misspelt([name, "PATH", "KAFKA_USERNAM"]) == {name: meant}


@pytest.mark.parametrize(
    "name",
    [
        "HEADRACE_EMBEDDER_SERVICE_HOST",
        "HEADRACE_EMBEDDER_PORT",
        "HEADRACE_LOADER_PORT_8080_TCP_ADDR",
        "HEADRACE_LOADER_SERVICE_PORT_PROBES",
        "HEADRACE_",
        "HEADRACE_SOMETHING_NEWER",
    ],
)
def test_what_kubernetes_or_another_version_sets_is_not(name: str) -> None:
    assert misspelt([name]) == {}


def test_settings_of_all_stages_are_known_in_any_case() -> None:
    assert {"HEADRACE_PARSERS", "HEADRACE_EMBED_CALLS", "HEADRACE_DATA_DIR"} <= NAMES
    assert misspelt([*NAMES, *map(str.lower, NAMES)]) == {}


def test_a_stage_says_so_at_its_start(tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "HEADRACE_LEDGER": str(tmp_path / "ledger"),
        "HEADRACE_CONCURENCY": "3",
        # Told before anything is waited for; this ends it there.
        "HEADRACE_OBJECT_STORE_URL": "ftp://nowhere",
    }
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.copying_stage"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 78, done.stderr
    assert "HEADRACE_CONCURENCY" in done.stdout
    assert "HEADRACE_CONCURRENCY" in done.stdout
