"""Finds the pipeline that a command talks to, or starts what the command needs of it.

In this order: the stack that runs on the data directory; Kafka and Qdrant named by the
environment; for commands that only look, the parts they need, over what an earlier run
left in the data directory.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headrace_local.data_dir import DataDir, StackState
from headrace_local.stack import PATIENCE_S, StackPlan, running_stack, variable_of
from headrace_local.supervisor import Supervisor

from headrace.messages import Stage
from headrace.process import load_settings
from headrace.settings import Settings
from headrace_cli.failures import EXIT_UNREACHABLE, CommandFailed
from headrace_cli.output import Output

_BEHIND_THE_LOADER = (Stage.CHUNKER, Stage.EMBEDDER, Stage.INDEXER)
_ADDRESSES = ("kafka_bootstrap_servers", "qdrant_url", "object_store_url")


@dataclass(frozen=True, kw_only=True)
class Needs:
    """What a command must be able to reach."""

    broker: bool = False
    store: bool = False
    stages: bool = False
    draining: bool = False
    """Where it starts parts itself, the stages behind the loader too."""


@dataclass(frozen=True, kw_only=True)
class Pipeline:
    """What a command works with."""

    settings: Settings
    file_roots: Sequence[Path] = ()
    """What its loader reads of this machine."""
    probes: Mapping[str, str] | None = None
    gateway: str = ""
    """URL of the HTTP API of a stack that runs."""
    supervisor: Supervisor | None = None
    """Where this command started the parts itself."""


@asynccontextmanager
async def opened(
    data_dir: Path, needs: Needs, output: Output
) -> AsyncIterator[Pipeline]:
    """The pipeline for a command.

    Raises:
        CommandFailed: there is none, and the command cannot start one.
    """
    directory = DataDir(data_dir)
    state = await settled_state(directory)
    if state is not None and state.serving and directory.in_use():
        yield Pipeline(
            settings=_settings(state.settings),
            file_roots=[Path(root) for root in state.file_roots],
            probes=state.probes,
            gateway=state.gateway,
        )
        return
    named = {
        "KAFKA_BOOTSTRAP_SERVERS": needs.broker or needs.stages,
        "QDRANT_URL": needs.store,
    }
    missing = [name for name, used in named.items() if used and name not in os.environ]
    if not missing:
        yield Pipeline(settings=load_settings(Settings))
        return
    if needs.stages or state is None:
        raise _nothing_runs(data_dir, missing, state)
    plan = StackPlan(
        data_dir=directory,
        overrides=remembered(state),
        broker=needs.broker,
        stages=_BEHIND_THE_LOADER if needs.draining else (),
    )

    def report(part: str, what: str) -> None:
        output.note(f"the {part} {what}")

    async with running_stack(plan, report=report) as running:
        yield Pipeline(settings=running.settings, supervisor=running.supervisor)


async def settled_state(directory: DataDir) -> StackState | None:
    """The directory's state, once no stack on it is just starting or stopping."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        state = directory.read_state()
        passing = directory.in_use() and not (state and state.serving)
        if not passing or time.monotonic() > deadline:
            return state
        await asyncio.sleep(0.1)


def _nothing_runs(
    data_dir: Path, missing: Sequence[str], state: StackState | None
) -> CommandFailed:
    lacking = " and ".join(missing)
    if state is None:
        message = (
            f"no Headrace was ever started on {data_dir}, and {lacking} is not set"
        )
    else:
        message = f"no Headrace is running on {data_dir}, and {lacking} is not set"
    return CommandFailed(
        "not_running",
        message,
        advice=f"start one with `headrace up --data-dir {data_dir}`, name the right "
        f"--data-dir, or set {lacking}",
        exit_code=EXIT_UNREACHABLE,
    )


def _settings(fields: Mapping[str, Any]) -> Settings:
    """The settings another process of ours wrote down, and our own secrets."""
    load_settings(Settings)
    known = {name: value for name, value in fields.items() if _known(name)}
    return Settings(**known)


def remembered(state: StackState) -> dict[str, Any]:
    """What an earlier stack was set to, but its addresses and what is set anew."""
    return {
        name: value
        for name, value in state.settings.items()
        if _known(name)
        and name not in _ADDRESSES
        and variable_of(name) not in os.environ
    }


def _known(name: str) -> bool:
    """A newer version may have written fields that we do not have."""
    return name in Settings.model_fields
