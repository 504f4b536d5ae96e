"""Where the gateway is, and a client of it whose refusals are the command's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx

from headrace.client import ApiError, HeadraceClient
from headrace_cli.failures import CommandFailed, unreachable

EVERY_S = 1.0
"""Between two looks at what is watched."""
_PATIENCE_S = 10.0
"""Somebody sits before it, and would rather be told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """Where the gateway is, and what one shows it."""

    url: str
    key: str


@asynccontextmanager
async def client_of(reach: Reach) -> AsyncIterator[HeadraceClient]:
    """A client.

    Raises:
        CommandFailed: the gateway refuses, or does not answer.
    """
    try:
        async with HeadraceClient(
            reach.url, key=reach.key, patience_s=_PATIENCE_S
        ) as client:
            yield client
    except ApiError as error:
        raise CommandFailed(error.code, error.detail, advice=error.advice) from error
    except (httpx.TransportError, httpx.InvalidURL) as error:
        raise unreachable("the gateway", reach.url, repr(error)) from error


async def next_look() -> None:
    """Wait until it is time to look again."""
    await asyncio.sleep(EVERY_S)
