"""``headrace documents``: what its commands do, through the gateway's API."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from headrace.client import (
    Document,
    DocumentDetail,
    HeadraceClient,
    Produced,
    ProducedDetail,
)
from headrace_cli.failures import EXIT_FAILED, EXIT_OK
from headrace_cli.gateway import Reach, client_of, next_look
from headrace_cli.output import Output

UNDER_WAY = ("accepted", "queued", "processing")
_FAILED = ("failed", "indexed_with_errors")
_NOT_YET_IN_KAFKA = ("accepted", "queued")
_PRODUCED = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-5")
"""An id that is made of a document's key: the API gives others to what it accepts."""


async def list_some(
    reach: Reach,
    *,
    filters: Mapping[str, str | None],
    limit: int,
    watch: bool,
    output: Output,
) -> int:
    """Print documents; the exit code.

    Watched, they are printed again as they change, until somebody has seen enough.
    """
    async with client_of(reach, looking=output) as client:
        found = await _some(client, filters, limit)
        _print(found, output)
        if not watch:
            output.answer({"documents": [each.model_dump() for each in found]})
            return EXIT_OK
        for each in found:
            output.answer(each.model_dump())
        while True:
            await next_look()
            before = {each.id: each for each in found}
            found = await _some(client, filters, limit)
            for each in reversed(found):
                if before.get(each.id) != each:
                    output.text(_line(each))
                    output.answer(each.model_dump())


async def show_one(reach: Reach, id_: str, *, watch: bool, output: Output) -> int:
    """Print a document; the exit code.

    Watched, it is printed as it changes until it is at its end; then 1 where it failed.
    """
    async with client_of(reach, looking=output) as client:
        found = await _one(client, id_)
        while watch and found.state in UNDER_WAY:
            output.text(_line(found))
            output.answer(found.model_dump())
            before = found
            while found == before:
                await next_look()
                found = await _one(client, id_)
    _print_one(found, output)
    output.answer(found.model_dump())
    return EXIT_FAILED if watch and found.state in _FAILED else EXIT_OK


async def act(reach: Reach, what: str, id_: str, *, output: Output) -> int:
    """``retry`` or ``delete``; the exit code."""
    async with client_of(reach) as client:
        acts = {"retry": client.retry, "delete": client.delete}
        done = await acts[what](id_)
    output.text(f"{what} of {done.name} is accepted as version {done.version}")
    output.answer(done.model_dump())
    return EXIT_OK


async def _some(
    client: HeadraceClient, filters: Mapping[str, str | None], limit: int
) -> list[Document | Produced]:
    found: list[Document | Produced] = []
    async for document in client.documents(**filters):
        found.append(document)
        if len(found) >= limit:
            return found
    if filters.get("state") in _NOT_YET_IN_KAFKA:
        return found
    async for produced in client.produced(**filters):
        found.append(produced)
        if len(found) >= limit:
            break
    return found


async def _one(client: HeadraceClient, id_: str) -> DocumentDetail | ProducedDetail:
    """By its id, which tells who has the document's record."""
    if _PRODUCED.match(id_):
        return await client.produced_document(id_)
    return await client.get(id_)


def _version(each: Document | Produced) -> int | str:
    return each.version if isinstance(each, Document) else ""


def _line(each: Document | Produced) -> str:
    stage = f" after the {each.stage}" if each.stage and each.state in UNDER_WAY else ""
    error = f": {each.error.code}: {each.error.message}" if each.error else ""
    version = f" version {each.version}" if isinstance(each, Document) else ""
    return f"{each.id}  {each.name} {version} is {each.state}{stage}{error}"


def _print(found: Sequence[Document | Produced], output: Output) -> None:
    output.table(
        ["id", "collection", "name", "version", "state", "error"],
        [
            (
                each.id,
                each.collection,
                each.name,
                _version(each),
                each.state,
                each.error.code if each.error else "",
            )
            for each in found
        ],
    )


def _print_one(found: DocumentDetail | ProducedDetail, output: Output) -> None:
    for name in ("id", "collection", "name", "version", "state", "size", "updated_at"):
        if hasattr(found, name):
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
