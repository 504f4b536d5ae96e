"""``headrace documents``: what its commands do, through the gateway's API."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx

from headrace.client import ApiError, Document, HeadraceClient
from headrace_cli.failures import EXIT_OK, CommandFailed, unreachable
from headrace_cli.output import Output


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """Where the gateway is, and what one shows it."""

    url: str
    key: str


async def list_some(
    reach: Reach, *, filters: Mapping[str, str | None], limit: int, output: Output
) -> int:
    """Print documents; the exit code."""
    found: list[Document] = []
    async with _client(reach) as client:
        async for document in client.documents(**filters):
            found.append(document)
            if len(found) >= limit:
                break
    output.table(
        ["id", "collection", "name", "version", "state", "error"],
        [
            (
                each.id,
                each.collection,
                each.name,
                each.version,
                each.state,
                each.error.code if each.error else "",
            )
            for each in found
        ],
    )
    output.answer({"documents": [each.model_dump() for each in found]})
    return EXIT_OK


async def show_one(reach: Reach, id_: str, *, output: Output) -> int:
    """Print a document; the exit code."""
    async with _client(reach) as client:
        found = await client.get(id_)
    for name in ("id", "collection", "name", "version", "state", "size", "updated_at"):
        output.text(f"{name:<12} {getattr(found, name)}")
    if found.progress:
        done, chunks = found.progress.done, found.progress.chunks
        output.text(f"{'chunks':<12} {done} of {chunks}")
    if found.error:
        output.text(f"{'error':<12} {found.error.code}: {found.error.message}")
        if found.error.advice:
            output.text(f"  next: {found.error.advice}")
    output.table(
        ["stage", "state", "#waited s", "#worked s", "#attempts"],
        [
            (
                each.stage,
                each.state,
                f"{each.waiting_s:.1f}",
                f"{each.working_s:.1f}",
                each.attempts,
            )
            for each in found.timeline
        ],
    )
    output.answer(found.model_dump())
    return EXIT_OK


async def act(reach: Reach, what: str, id_: str, *, output: Output) -> int:
    """``retry`` or ``delete``; the exit code."""
    async with _client(reach) as client:
        acts = {"retry": client.retry, "delete": client.delete}
        done = await acts[what](id_)
    output.text(f"{what} of {done.name} is accepted as version {done.version}")
    output.answer(done.model_dump())
    return EXIT_OK


@asynccontextmanager
async def _client(reach: Reach) -> AsyncIterator[HeadraceClient]:
    """A client whose refusals are the command's."""
    try:
        async with HeadraceClient(reach.url, key=reach.key) as client:
            yield client
    except ApiError as error:
        raise CommandFailed(error.code, error.detail, advice=error.advice) from error
    except (httpx.TransportError, httpx.InvalidURL) as error:
        raise unreachable("the gateway", reach.url, repr(error)) from error
