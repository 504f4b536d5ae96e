"""``headrace ingest`` and ``headrace delete``: to a pipeline that runs elsewhere."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from headrace.messages import Lane, State
from headrace_cli.documents import Job
from headrace_cli.failures import EXIT_FAILED, EXIT_OK
from headrace_cli.following import follow
from headrace_cli.ingesting import Ingested, Ingestion, find, ingest
from headrace_cli.kafka_client import reader, send_events
from headrace_cli.opening import Needs, opened
from headrace_cli.outcomes import Outcomes
from headrace_cli.output import Output
from headrace_cli.progress import shown_progress
from headrace_cli.resolving import resolve_deleted


@dataclass(frozen=True, kw_only=True)
class Deletion:
    """What a command line asks for."""

    documents: Sequence[str]
    collection: str
    tenant: str
    timeout_s: float | None = None


async def ingest_once(
    ingestion: Ingestion, *, data_dir: Path, wait: bool, output: Output
) -> int:
    """Send, maybe wait, print; the exit code."""
    ingestion.job()
    collected = await asyncio.to_thread(find, ingestion)
    for skipped in collected.skipped:
        output.note(f"skipped {skipped.path}: {skipped.reason}")
    needs = Needs(broker=True, stages=True, store=ingestion.delete_missing)
    async with opened(data_dir, needs, output) as pipeline:
        with shown_progress(output) as show:
            ingested = await ingest(
                ingestion,
                collected,
                pipeline,
                wait=wait,
                changed=show,
                note=output.note,
            )
    return _report(ingested, wait=wait, output=output)


async def delete_once(
    deletion: Deletion, *, data_dir: Path, wait: bool, output: Output
) -> int:
    """Send, maybe wait, print; the exit code."""
    job = Job(
        id=f"cli-{uuid.uuid4()}",
        collection=deletion.collection,
        tenant=deletion.tenant,
        lane=Lane.INTERACTIVE,
    )
    events = [job.delete(document) for document in dict.fromkeys(deletion.documents)]
    ingested = Ingested(job, Outcomes(job.id), deleting=len(events))
    needs = Needs(broker=True, stages=True)
    async with opened(data_dir, needs, output) as pipeline:
        settings = pipeline.settings
        async with reader(settings, settings.topology.status) as status:
            await status.seek_to_end()
            ingested.outcomes.expect(event.key for event in events)
            await send_events(settings, events)
            if wait:
                ingested.finished = await follow(
                    status, ingested.outcomes, timeout_s=deletion.timeout_s
                )
                await resolve_deleted(ingested.outcomes.final.values(), settings)
    return _report(ingested, wait=wait, output=output)


def _report(ingested: Ingested, *, wait: bool, output: Output) -> int:
    counts = ingested.outcomes.counts
    failures = ingested.failures if wait else ingested.unusable
    answer = {
        "job": ingested.job.id,
        "collection": ingested.job.collection,
        "accepted": ingested.accepted,
        "deletes": ingested.deleting,
        "skipped": ingested.skipped,
        "failed": [failure.as_dict() for failure in failures],
    }
    if wait:
        finals = {str(state): counts[state] for state in State if state.final}
        finals.pop(str(State.FAILED))
        answer |= finals
    for failure in failures:
        output.text(f"failed: {failure.id}: {failure.code}: {failure.message}")
        if failure.advice:
            output.text(f"  next: {failure.advice}")
    output.text(
        f"sent {ingested.accepted} documents and {ingested.deleting} deletes, "
        f"job {ingested.job.id}"
    )
    if wait:
        done = ", ".join(f"{count} {state}" for state, count in sorted(counts.items()))
        output.text(f"final: {done or 'none'}")
    else:
        output.text("`headrace status` shows how far they are")
    output.answer(answer)
    return EXIT_FAILED if failures else EXIT_OK
