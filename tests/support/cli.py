"""The headrace command as users run it: a process, its answer, its exit code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PATIENCE_S = 240
_OURS = ("HEADRACE_", "KAFKA_", "QDRANT_", "OPENAI_")
_KEPT = ("HEADRACE_CACHE_DIR",)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command said."""

    code: int
    value: dict[str, Any]
    notes: str


def environment(**variables: str) -> dict[str, str]:
    """The environment without settings of ours, so that each test says its own."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name in _KEPT or not name.startswith(_OURS)
    }
    return {**kept, **variables}


def command(*arguments: str | Path) -> list[str]:
    """The command line that runs ``headrace`` with these arguments."""
    return [sys.executable, "-m", "headrace_cli", *map(str, arguments)]


def headrace(*arguments: str | Path, env: Mapping[str, str] | None = None) -> Answer:
    """Run the command with ``--json`` and read its answer."""
    done = subprocess.run(
        command(*arguments, "--json"),
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
        timeout=PATIENCE_S,
        env=environment(**(env or {})),
    )
    lines = done.stdout.strip().splitlines()
    assert len(lines) == 1, (done.returncode, done.stdout, done.stderr)
    return Answer(done.returncode, json.loads(lines[0]), done.stderr)
