"""``headrace ingest`` and ``headrace delete``: to a pipeline that runs elsewhere."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from headrace.identity import DEFAULT_TENANT
from headrace.kafka_clients import reader, send_events
from headrace.messages import DocumentEvent, Lane, State
from headrace.resolving import resolve_deleted
from headrace.settings import Settings
from headrace_cli.documents import Job
from headrace_cli.emptying import documents_of, taken_in
from headrace_cli.failures import EXIT_FAILED, EXIT_OK, usage
from headrace_cli.following import follow
from headrace_cli.ingesting import Ingested, Ingestion, find, ingest
from headrace_cli.opening import Needs, opened
from headrace_cli.outcomes import Outcomes
from headrace_cli.output import Output
from headrace_cli.progress import shown_progress


@dataclass(frozen=True, kw_only=True)
class Deletion:
    """What a command line asks for."""

    documents: Sequence[str]
    collection: str
    tenant: str | None
    """``None``: ``default`` for single documents, every one for all of them."""
    everything: bool = False
    sure: bool = False
    """Whether all may go."""
    timeout_s: float | None = None

    def __post_init__(self) -> None:
        """Refuse a command line that names nothing, or both."""
        if bool(self.documents) == self.everything:
            raise usage(
                "it is not clear what to delete",
                "name ids of documents, or give --all for the whole collection",
            )


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
        tenant=deletion.tenant or DEFAULT_TENANT,
        lane=Lane.INTERACTIVE,
    )
    job.key("any")  # tenant and collection are checked before anything starts
    events = [job.delete(document) for document in dict.fromkeys(deletion.documents)]
    ingested = Ingested(job, Outcomes(job.id))
    needs = Needs(broker=True, stages=True, store=deletion.everything)
    async with opened(data_dir, needs, output) as pipeline:
        settings = pipeline.settings
        if deletion.everything:
            events = await _all_deletes(deletion, job, settings, output)
        ingested.deleting = len(events)
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


async def _all_deletes(
    deletion: Deletion, job: Job, settings: Settings, output: Output
) -> list[DocumentEvent]:
    """For each document of the collection, once all that was sent before is known."""
    collection, tenant = deletion.collection, deletion.tenant
    if not deletion.sure:
        keys = await documents_of(settings, collection=collection, tenant=tenant)
        tenants = ", ".join(sorted({key.tenant for key in keys})) or "none"
        raise usage(
            f"this deletes all documents of collection {collection!r}: {len(keys)} "
            f"now, of the tenants: {tenants}",
            "add --yes if they are to go; --tenant narrows it down",
        )
    await taken_in(settings, timeout_s=deletion.timeout_s, note=output.note)
    keys = await documents_of(settings, collection=collection, tenant=tenant)
    return [replace(job, tenant=key.tenant).delete(key.document_id) for key in keys]


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
