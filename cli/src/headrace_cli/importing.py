"""``headrace import``: sends a file to the gateway and follows what becomes of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from headrace.client import ApiError, HeadraceClient, ImportJob, OnConflict
from headrace.client.operations import Paused
from headrace_cli.admin_work import left_of
from headrace_cli.failures import EXIT_FAILED, EXIT_OK, CommandFailed
from headrace_cli.gateway import Reach, client_of, next_look
from headrace_cli.output import Output

_FAILED = ("refused", "failed", "indexed_with_errors")
_MOST_ERRORS = 1000
"""That are told; the counts are of all."""
_PIECE = 256 * 1024
_OBEYED_WITHIN_S = 2.0
"""By then every gateway refuses, and every loader sets aside, what is paused."""
_REASON = "headrace import --exclusive"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is to be imported, and how."""

    file: Path
    collection: str
    on_conflict: OnConflict
    exclusive: bool
    drain_s: float
    watch: bool
    wait: bool
    timeout_s: float | None


class Importing:
    """One import.

    Args:
        plan: what, and how.
        gateway: takes it.
        admin: where ``/v1/admin`` is.
        output: what is said.
    """

    def __init__(
        self, plan: Plan, *, gateway: Reach, admin: Reach, output: Output
    ) -> None:
        self._plan = plan
        self._gateway = gateway
        self._admin = admin
        self._output = output

    async def run(self) -> int:
        """Import; the exit code."""
        plan, output = self._plan, self._output
        async with client_of(self._gateway) as client:
            if plan.exclusive:
                async with self._alone():
                    job = await self._send(client)
            else:
                job = await self._send(client)
            output.note(f"import {job.id}: {job.total} lines")
            if not plan.wait:
                output.text(f"import {job.id} is accepted: {_counted(job)}")
                output.answer({**job.model_dump(), "errors": []})
                return EXIT_OK
            job = await self._followed(client, job)
            errors = await self._errors(client, job)
        self._tell(job, errors)
        failed = any(job.counts.get(state) for state in _FAILED)
        return EXIT_OK if job.done and not failed else EXIT_FAILED

    async def _send(self, client: HeadraceClient) -> ImportJob:
        plan = self._plan
        return await client.start_import(
            _pieces(plan.file),
            collection=plan.collection,
            on_conflict=plan.on_conflict,
            while_paused=plan.exclusive,
        )

    @asynccontextmanager
    async def _alone(self) -> AsyncIterator[None]:
        """While nothing else goes into the collection, and nothing is under way.

        It is resumed however this ends, unless this process is killed.

        Raises:
            CommandFailed: somebody else has paused it, or something stays under way.
        """
        plan, output = self._plan, self._output
        async with client_of(self._admin) as client:
            for each in await client.admin.pauses():
                if each.collection == plan.collection:
                    raise CommandFailed(
                        "paused_collection",
                        f"{plan.collection} is paused by {each.by} since {each.at}",
                        advice="import without --exclusive once it is resumed, or "
                        f"`headrace admin resume --collection {plan.collection}`",
                    )
            mine: Paused | None = None
            try:
                # Within: whoever is interrupted does not know whether it was done.
                mine = await client.admin.pause(
                    collection=plan.collection, reason=_REASON
                )
                output.note(f"{plan.collection} is paused; waiting for the stages")
                await asyncio.sleep(_OBEYED_WITHIN_S)
                drained = await client.admin.drain(timeout_s=plan.drain_s)
                if not drained.drained:
                    raise CommandFailed(
                        "not_drained",
                        f"after {plan.drain_s:.0f} s there is left: {left_of(drained)}",
                        advice="nothing was imported; give it more --drain-timeout, or "
                        "pause what keeps the stages busy",
                    )
                if mine not in await client.admin.pauses():
                    raise CommandFailed(
                        "not_alone",
                        f"somebody else has resumed or paused {plan.collection}",
                        advice="nothing was imported; try again when they are done",
                    )
                yield
            finally:
                await self._resume(client, mine)

    async def _resume(self, client: HeadraceClient, mine: Paused | None) -> None:
        """Resume, unless what holds the collection now is somebody else's pause."""
        name = self._plan.collection
        try:
            if mine is None or mine in await client.admin.pauses():
                await client.admin.resume(collection=name)
                self._output.note(f"{name} is resumed")
        except (ApiError, httpx.TransportError) as error:
            raise CommandFailed(
                "still_paused",
                f"{name} could not be resumed and is still paused: {error!r}",
                advice=f"run `headrace admin resume --collection {name}`",
            ) from error

    async def _followed(self, client: HeadraceClient, job: ImportJob) -> ImportJob:
        """The import at its end, or where it is when time is over."""
        shown = None
        try:
            async with asyncio.timeout(self._plan.timeout_s):
                while True:
                    job = await client.import_job(job.id)
                    if self._plan.watch and job.counts != shown:
                        shown = job.counts
                        self._output.text(_counted(job))
                        self._output.answer(job.model_dump())
                    if job.done:
                        return job
                    await next_look()
        except TimeoutError:
            self._output.note(
                f"not at its end after {self._plan.timeout_s:.0f} s; "
                "it goes on without this command"
            )
            return job

    async def _errors(
        self, client: HeadraceClient, job: ImportJob
    ) -> list[dict[str, Any]]:
        """What was refused, by line, and then what failed on its way."""
        errors: list[dict[str, Any]] = []
        async for item in client.import_items(job.id, state="refused"):
            if len(errors) >= _MOST_ERRORS:
                return errors
            error = item.error.model_dump() if item.error else {}
            errors.append(
                {"line": item.number, "name": item.name, "document": None, **error}
            )
        for state in ("failed", "indexed_with_errors"):
            async for each in client.documents(job=job.id, state=state):
                if len(errors) >= _MOST_ERRORS:
                    return errors
                error = each.error.model_dump() if each.error else {}
                errors.append(
                    {"line": None, "name": each.name, "document": each.id, **error}
                )
        return errors

    def _tell(self, job: ImportJob, errors: list[dict[str, Any]]) -> None:
        output = self._output
        output.text(_counted(job))
        if errors:
            output.table(
                ["#line", "name", "code", "why"],
                [
                    (
                        each["line"] or "",
                        each["name"] or each["document"] or "",
                        each.get("code", ""),
                        each.get("message", ""),
                    )
                    for each in errors
                ],
            )
        if len(errors) >= _MOST_ERRORS:
            output.text(f"and more: `headrace documents list --job {job.id}`")
        output.answer({**job.model_dump(), "errors": errors})


async def _pieces(file: Path) -> AsyncIterator[bytes]:
    """The file's bytes, read beside the loop."""
    with file.open("rb") as opened:
        while piece := await asyncio.to_thread(opened.read, _PIECE):
            yield piece


def _counted(job: ImportJob) -> str:
    counts = ", ".join(f"{count} {state}" for state, count in job.counts.items())
    return f"{counts or 'nothing'} of {job.total} lines"
