"""Finds the gateway that a command talks to, or starts one to look with.

In this order: the one that is named; that of the stack which runs on the data
directory; for commands that only look, one over what an earlier stack left there.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

from headrace_local.data_dir import DataDir, StackState
from headrace_local.services import Service, database_url
from headrace_local.stack import PATIENCE_S, StackPlan, running_stack
from headrace_registry.catching_up import catch_up

from headrace.database.engine import Database
from headrace.database.settings import DatabaseSettings
from headrace_cli.failures import EXIT_UNREACHABLE, CommandFailed, unreachable
from headrace_cli.opening import remembered, settled_state
from headrace_cli.output import Output


@asynccontextmanager
async def reached(
    url: str | None, *, data_dir: Path, looking: Output | None
) -> AsyncIterator[str]:
    """The gateway's URL, for as long as the block lasts.

    Args:
        url: where the command line says it is, if it does.
        data_dir: of the stack whose gateway it is else.
        looking: where a gateway alone is enough, without the stages: who is told of
            the parts that are started.

    Raises:
        CommandFailed: there is none, and none can be started.
    """
    if url is not None:
        yield url
        return
    directory = DataDir(data_dir)
    state = await settled_state(directory)
    running = state is not None and state.serving and directory.in_use()
    if state is not None and running and await _listens(state.gateway, directory):
        yield state.gateway
        return
    if state is None or looking is None:
        raise _nothing_runs(data_dir)
    async with _alone(directory, state, looking) as alone:
        yield alone


@asynccontextmanager
async def _alone(
    directory: DataDir, state: StackState, output: Output
) -> AsyncIterator[str]:
    """A gateway without a pipeline, that knows what the pipeline has said so far."""
    plan = StackPlan(
        data_dir=directory,
        overrides=remembered(state),
        store=False,
        stages=(),
        services=(Service.GATEWAY,),
    )

    def report(part: str, what: str) -> None:
        output.note(f"the {part} {what}")

    async with running_stack(plan, report=report) as running:
        settings = DatabaseSettings(
            **running.settings.model_dump(),
            DATABASE_URL=database_url(os.environ, directory),
        )
        database = Database.from_settings(settings)
        try:
            await catch_up(running.settings, database)
        finally:
            await database.close()
        yield running.gateway


async def _listens(url: str, directory: DataDir) -> bool:
    """Wait until it does: it may be starting again; not if its stack stops."""
    at = urlsplit(url)
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            _, writer = await asyncio.open_connection(at.hostname, at.port)
        except OSError as error:
            if not directory.in_use():
                return False
            if time.monotonic() > deadline:
                raise unreachable("the gateway", url, repr(error)) from error
            await asyncio.sleep(0.1)
        else:
            writer.close()
            return True


def _nothing_runs(data_dir: Path) -> CommandFailed:
    return CommandFailed(
        "not_running",
        f"no Headrace with a gateway is running on {data_dir}",
        advice=f"start one with `headrace up --data-dir {data_dir}`, name the right "
        "--data-dir, or the gateway by --url",
        exit_code=EXIT_UNREACHABLE,
    )
