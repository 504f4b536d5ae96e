"""Where the gateway is, and a client of it whose refusals are the command's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from headrace.client import ApiError, HeadraceClient
from headrace_cli.failures import CommandFailed, unreachable
from headrace_cli.output import Output
from headrace_cli.reaching import reached

EVERY_S = 1.0
"""Between two looks at what is watched."""
_PATIENCE_S = 10.0
"""Somebody sits before it, and would rather be told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """Where the gateway is, and what one shows it."""

    url: str | None
    """``None``: that of the stack on the data directory."""
    key: str
    data_dir: Path


@asynccontextmanager
async def client_of(
    reach: Reach, *, looking: Output | None = None
) -> AsyncIterator[HeadraceClient]:
    """A client.

    Args:
        reach: where the gateway is.
        looking: given by commands that only look, for which a gateway is started where
            none runs; is told of it.

    Raises:
        CommandFailed: there is no gateway, it refuses, or does not answer.
    """
    url = reach.url
    try:
        async with (
            reached(url, data_dir=reach.data_dir, looking=looking) as url,
            HeadraceClient(url, key=reach.key, patience_s=_PATIENCE_S) as client,
        ):
            yield client
    except ApiError as error:
        raise CommandFailed(error.code, error.detail, advice=error.advice) from error
    except (httpx.TransportError, httpx.InvalidURL) as error:
        raise unreachable("the gateway", url or "", repr(error)) from error


async def next_look() -> None:
    """Wait until it is time to look again."""
    await asyncio.sleep(EVERY_S)
