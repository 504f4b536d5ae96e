"""How commands end that somebody ends."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator

import pytest
import structlog
import typer
from headrace_cli.output import Output
from headrace_cli.performing import EXIT_TERMINATED, perform


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    before, logs = signal.getsignal(signal.SIGHUP), structlog.get_config()
    yield
    structlog.configure(**logs)
    signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_what_was_begun_ends_in_order(number: signal.Signals) -> None:
    ended = False

    async def work(_: Output) -> int:
        nonlocal ended
        os.kill(os.getpid(), number)
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended = True
        return 0

    with pytest.raises(typer.Exit) as left:
        perform(work, as_json=False)
    assert left.value.exit_code == EXIT_TERMINATED + number
    assert ended


def test_who_ignores_the_end_of_the_terminal_goes_on() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)

    async def work(_: Output) -> int:
        os.kill(os.getpid(), signal.SIGHUP)
        await asyncio.sleep(0.01)
        return 7

    with pytest.raises(typer.Exit) as left:
        perform(work, as_json=False)
    assert left.value.exit_code == 7
