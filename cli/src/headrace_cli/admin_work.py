"""``headrace admin``: what its commands do, through the gateway's API."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from headrace.client.operations import Drained, Paused, Recovery, Retried
from headrace_cli.failures import EXIT_FAILED, EXIT_OK
from headrace_cli.gateway import Reach, client_of, next_look
from headrace_cli.output import Output


async def pause(
    reach: Reach, *, target: Mapping[str, str | None], reason: str, output: Output
) -> int:
    """Pause; the exit code."""
    async with client_of(reach) as client:
        done = await client.admin.pause(**target, reason=reason)
    output.text(f"{name_of(done)} paused")
    output.answer(done.model_dump())
    return EXIT_OK


async def resume(
    reach: Reach, *, target: Mapping[str, str | None], output: Output
) -> int:
    """Resume; the exit code."""
    async with client_of(reach) as client:
        done = await client.admin.resume(**target)
    output.text("resumed" if done.resumed else "nothing of that name was paused")
    _print_pauses(done.pauses, output)
    output.answer(done.model_dump())
    return EXIT_OK


async def pauses(reach: Reach, *, output: Output) -> int:
    """Print what is paused; the exit code."""
    async with client_of(reach) as client:
        found = await client.admin.pauses()
    if not found:
        output.text("nothing is paused")
    _print_pauses(found, output)
    output.answer({"pauses": [each.model_dump() for each in found]})
    return EXIT_OK


async def drain(
    reach: Reach, *, stage: str | None, timeout_s: float, output: Output
) -> int:
    """Wait until nothing is left; 1 where something is."""
    async with client_of(reach) as client:
        done = await client.admin.drain(stage=stage, timeout_s=timeout_s)
    output.text("nothing is left" if done.drained else f"left: {left_of(done)}")
    output.answer(done.model_dump())
    return EXIT_OK if done.drained else EXIT_FAILED


async def retry_failed(
    reach: Reach,
    ids: Sequence[str],
    *,
    filters: Mapping[str, str | None],
    limit: int,
    timeout_s: float,
    output: Output,
) -> int:
    """Process failed documents again; 1 where one was refused or some are left."""
    async with client_of(reach) as client:
        done = await client.admin.retry_failed(
            ids, limit=limit, timeout_s=timeout_s, **filters
        )
    output.text(f"{done.retried} documents are processed again")
    output.table(
        ["not retried", "code", "why"],
        [(each.id, each.code, each.message) for each in done.refused],
    )
    if done.stopped:
        left = "an unknown number" if done.left is None else str(done.left)
        output.text(f"stopped ({done.stopped}): {left} left")
        output.text(f"  next: {_next(done.stopped)}")
    output.answer(done.model_dump())
    return _retry_code(done)


async def recover_stale(
    reach: Reach, *, wait: bool, timeout_s: float, output: Output
) -> int:
    """Have stale documents looked for; 1 where it was not done in time."""
    async with client_of(reach) as client:
        found = await client.admin.recover_stale()
        if wait:
            try:
                async with asyncio.timeout(timeout_s):
                    while found.pending:
                        await next_look()
                        found = await client.admin.recovery()
            except TimeoutError:
                output.note("no registry has done it yet; is one running?")
    _print_recovery(found, output)
    output.answer(found.model_dump())
    return EXIT_FAILED if wait and found.pending else EXIT_OK


async def depth(reach: Reach, *, collection: str | None, output: Output) -> int:
    """Print what waits where; the exit code."""
    async with client_of(reach) as client:
        found = await client.admin.depth(collection=collection)
    output.table(
        ["stage", "lane", "#records", "#oldest s", "by partition"],
        [
            (
                each.stage,
                each.lane,
                each.records,
                f"{each.age_s:.1f}",
                " ".join(
                    f"{at.partition}:{at.records}"
                    for at in each.partitions
                    if at.records
                ),
            )
            for each in found.stages
        ],
    )
    output.text()
    output.table(
        ["tenant", "collection", "documents"],
        [
            (
                each.tenant,
                each.collection,
                ", ".join(f"{count} {state}" for state, count in each.states.items()),
            )
            for each in found.collections
        ],
    )
    output.answer(found.model_dump())
    return EXIT_OK


async def workers(reach: Reach, *, output: Output) -> int:
    """Print which processes there are; the exit code."""
    async with client_of(reach) as client:
        found = await client.admin.workers()
    output.table(
        ["stage", "worker", "version", "address", "#partitions", "#in work", "heard"],
        [
            (
                each.stage,
                each.worker,
                each.version or "",
                each.address or "gone",
                each.partitions,
                each.documents,
                each.heard_at or "",
            )
            for each in found
        ],
    )
    output.answer({"workers": [each.model_dump() for each in found]})
    return EXIT_OK


def name_of(paused: Paused) -> str:
    """What is paused, for people."""
    if paused.all:
        return "everything is"
    if paused.stage:
        return f"the {paused.stage} is"
    return f"the collection {paused.collection} of {paused.tenant} is"


def left_of(drained: Drained) -> str:
    """What is left, for people, and what holds it."""
    left = ", ".join(f"{each.records} for the {each.stage}" for each in drained.left)
    held = ", ".join(f"{name_of(each)} paused" for each in drained.pauses)
    return f"{left} ({held})" if held else left


def _print_pauses(found: Sequence[Paused], output: Output) -> None:
    for each in found:
        why = f": {each.reason}" if each.reason else ""
        output.text(f"{name_of(each)} paused by {each.by} since {each.at}{why}")


def _print_recovery(found: Recovery, output: Output) -> None:
    if found.pending:
        output.text("asked for, not done yet")
    if found.last is not None:
        last = found.last
        problem = f" ({last.problem})" if last.problem else ""
        output.text(
            f"last look at {last.ended_at}: {last.outcome}{problem}, {last.requeued} "
            f"documents queued again, {last.failed} given up"
        )


def _next(stopped: str) -> str:
    if stopped == "refused":
        return "mend why they were refused, or leave them out by a filter"
    return "the same command goes on with them"


def _retry_code(done: Retried) -> int:
    return EXIT_OK if done.stopped is None and not done.refused else EXIT_FAILED
