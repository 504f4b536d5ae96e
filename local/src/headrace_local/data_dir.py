"""What a stack keeps in its data directory, and who may use it."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

FORMAT = 1


class DataDirInUse(Exception):
    """Another stack runs on this directory."""


@dataclass(frozen=True, slots=True)
class StackState:
    """What other commands need to know of a stack: ``stack.json``.

    It outlives the stack, so that a search after a run finds the same model.
    """

    pid: int
    settings: Mapping[str, Any]
    """Fields of ``Settings``, without secrets."""
    probes: Mapping[str, str] = field(default_factory=dict)
    """Per stage or service, where its probes and metrics listen."""
    serving: bool = False
    """Whether other commands may use it: all of it runs, until somebody stops it."""
    file_roots: Sequence[str] = ()
    """What its loader may read of this machine."""
    gateway: str = ""
    """URL of its HTTP API."""
    format: int = FORMAT


@dataclass(frozen=True, slots=True)
class DataDir:
    """The paths below one data directory."""

    path: Path

    @property
    def kafka(self) -> Path:
        """The broker's."""
        return self.path / "kafka"

    @property
    def store(self) -> Path:
        """The vector store's."""
        return self.path / "store"

    @property
    def objects(self) -> Path:
        """Large texts and letters."""
        return self.path / "objects"

    @property
    def database(self) -> Path:
        """What gateway and registry keep, in SQLite."""
        return self.path / "headrace.db"

    @property
    def cache(self) -> Path:
        """What may be deleted while nothing runs."""
        return self.path / "cache"

    def log(self, part: str) -> Path:
        """Log of one part."""
        return self.path / "logs" / f"{part}.log"

    def address_file(self, part: str) -> Path:
        """Where a part writes its address."""
        return self.path / "run" / part

    @property
    def _state(self) -> Path:
        return self.path / "stack.json"

    @property
    def _lock(self) -> Path:
        return self.path / "lock"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Own the directory; the kernel gives it back when the process ends, however.

        Raises:
            DataDirInUse: naming the process that has it.
            OSError: the directory cannot be made or written.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        with self._lock.open("a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                owner = file.read().strip() or "unknown"
                raise DataDirInUse(
                    f"{self.path} is in use by another headrace (process {owner}); "
                    "stop it, talk to it with `headrace ingest`, or give another "
                    "--data-dir"
                ) from None
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
            yield

    def in_use(self) -> bool:
        """Whether a stack owns the directory now."""
        try:
            with self._lock.open("r") as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except BlockingIOError:
            return True
        return False

    def write_state(self, state: StackState) -> None:
        """Replace ``stack.json`` in one step."""
        partly = self._state.with_suffix(".partly")
        partly.write_text(json.dumps(asdict(state), indent=1, sort_keys=True))
        partly.replace(self._state)

    def read_state(self) -> StackState | None:
        """What the last stack said; ``None`` where there was none that we can read."""
        try:
            state = StackState(**json.loads(self._state.read_text()))
        except (FileNotFoundError, ValueError, TypeError):
            return None
        return state if state.format == FORMAT else None

    def remember(self, **settings: Any) -> None:
        """Change settings that the next stack on this directory starts with."""
        state = self.read_state()
        if state is not None:
            self.write_state(replace(state, settings={**state.settings, **settings}))
