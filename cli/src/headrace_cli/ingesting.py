"""Sends the documents of a command line and learns what becomes of them."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from headrace.identity import DocumentKey
from headrace.kafka_clients import reader, send_events
from headrace.messages import DocumentEvent, Lane
from headrace.objects import Objects, tenant_segment
from headrace.qdrant import QdrantStore
from headrace.qdrant_payload import mismatch
from headrace.resolving import resolve_deleted
from headrace.settings import Settings
from headrace.store import CollectionMismatch, CollectionSpec, Store
from headrace_cli.documents import INLINE_BYTES, Job, readable_by_loader
from headrace_cli.failures import CommandFailed
from headrace_cli.following import follow
from headrace_cli.opening import Pipeline
from headrace_cli.outcomes import Failure, Outcomes
from headrace_cli.readiness import obstacles
from headrace_cli.sources import Collected, Source, collect


@dataclass(frozen=True, kw_only=True)
class Ingestion:
    """What a command line asks for."""

    names: Sequence[str]
    collection: str
    tenant: str
    lane: str
    delete_missing: bool = False
    timeout_s: float | None = None

    def job(self) -> Job:
        """A job of its own for this call."""
        job = Job(
            id=f"cli-{uuid.uuid4()}",
            collection=self.collection,
            tenant=self.tenant,
            lane=Lane(self.lane),
        )
        job.key("any")  # tenant and collection are checked before anything starts
        return job


@dataclass(slots=True)
class Ingested:
    """What was sent, and what became of it."""

    job: Job
    outcomes: Outcomes
    accepted: int = 0
    skipped: int = 0
    deleting: int = 0
    elsewhere: int = 0
    """Documents of the collection that did not come from the named folders."""
    unusable: list[Failure] = field(default_factory=list)
    finished: bool = True
    seconds: float = 0.0

    @property
    def failures(self) -> list[Failure]:
        """Everything that did not get there."""
        waiting = [
            Failure(
                key.document_id,
                "not_finished",
                "no final state yet; it is still in the pipeline",
                "it goes on once the stack runs; `headrace status` shows where it is",
            )
            for key in sorted(self.outcomes.waiting)
        ]
        return [*self.unusable, *self.outcomes.failures, *waiting]


def find(ingestion: Ingestion) -> Collected:
    """The documents that the command line names."""
    collected = collect(ingestion.names)
    if (
        not collected.sources
        and not collected.unusable
        and not ingestion.delete_missing
    ):
        raise CommandFailed(
            "nothing_to_do",
            f"there is no document below {', '.join(ingestion.names)}",
            advice="name files, or folders with files that are not hidden",
        )
    return collected


async def ingest(
    ingestion: Ingestion,
    collected: Collected,
    pipeline: Pipeline,
    *,
    wait: bool = True,
    changed: Callable[[Ingested], None] = lambda _ingested: None,
    note: Callable[[str], None] = lambda _line: None,
) -> Ingested:
    """Send everything; with ``wait``, until every document is in a final state.

    ``changed`` is told of progress, ``note`` of what keeps the stages from making any.
    """
    job = ingestion.job()
    began = time.monotonic()
    ingested = Ingested(job, Outcomes(job.id), skipped=len(collected.skipped))
    ingested.unusable = [
        Failure(each.path, each.code, each.message, each.advice)
        for each in collected.unusable
    ]
    settings = pipeline.settings
    if pipeline.probes is not None:  # else its stages may be set to another model
        await refuse_misfit(job.collection, settings)
    explained: set[str] = set()

    async def explain() -> None:
        for line in await obstacles(pipeline.probes or {}):
            if line not in explained:
                explained.add(line)
                note(line)

    async with reader(settings, settings.topology.status) as status:
        await status.seek_to_end()
        events = await _upserts(job, collected, pipeline, ingested)
        ingested.accepted = len(events)
        if ingestion.delete_missing:
            events += await _deletes(job, collected, settings, ingested)
        ingested.outcomes.expect(event.key for event in events)
        await send_events(settings, events)
        changed(ingested)
        if wait:
            ingested.finished = await follow(
                status,
                ingested.outcomes,
                changed=lambda: changed(ingested),
                stalled=explain,
                timeout_s=ingestion.timeout_s,
            )
            await resolve_deleted(ingested.outcomes.final.values(), settings)
    ingested.seconds = time.monotonic() - began
    return ingested


async def refuse_misfit(collection: str, settings: Settings) -> None:
    """Before anything is sent that the loader would not take, and wait with.

    Raises:
        CollectionMismatch: the collection is another model's.
    """
    store = QdrantStore.from_settings(settings)
    try:
        found = (await store.collections()).get(collection)
    finally:
        await store.close()
    wanted = CollectionSpec.of(settings.model)
    problem = found and mismatch(collection, found=asdict(found), wanted=wanted)
    if problem:
        raise CollectionMismatch(problem)


async def _upserts(
    job: Job, collected: Collected, pipeline: Pipeline, ingested: Ingested
) -> list[DocumentEvent]:
    """Files that the loader can read go by their path, others with their bytes."""
    roots = [root.resolve() for root in pipeline.file_roots]
    events: list[DocumentEvent] = []
    objects: Objects | None = None
    for source in collected.sources:
        path = source.path
        if path is None or readable_by_loader(path, roots):
            events.append(job.by_uri(source))
            continue
        try:
            data = await asyncio.to_thread(path.read_bytes)
        except OSError as error:
            ingested.unusable.append(_unreadable(path, error))
            continue
        if len(data) <= INLINE_BYTES:
            events.append(job.inline(source, data))
            continue
        objects = objects or Objects.from_settings(pipeline.settings)
        events.append(await _uploaded(job, source, data, objects))
    return events


async def _uploaded(
    job: Job, source: Source, data: bytes, objects: Objects
) -> DocumentEvent:
    name = uuid.uuid5(uuid.NAMESPACE_URL, source.uri)
    key = f"uploads/{tenant_segment(job.tenant)}/{name}-{uuid.uuid4().hex}"
    return job.by_reference(source, await objects.put(key, data))


def _unreadable(path: Path, error: OSError) -> Failure:
    return Failure(
        str(path),
        "unreadable_file",
        f"the file cannot be read: {error.strerror}",
        "give its owner or this user the right to read it",
    )


async def _deletes(
    job: Job, collected: Collected, settings: Settings, ingested: Ingested
) -> list[DocumentEvent]:
    store = QdrantStore.from_settings(settings)
    try:
        present = {source.document_id for source in collected.sources}
        gone, elsewhere = await missing(store, job, present, collected.roots)
    finally:
        await store.close()
    ingested.deleting = len(gone)
    ingested.elsewhere = elsewhere
    return [job.delete(key.document_id) for key in gone]


async def missing(
    store: Store, job: Job, present: set[str], roots: Sequence[Path]
) -> tuple[list[DocumentKey], int]:
    """Visible documents that came from below the roots and are not there any more.

    And how many others are not there but came from elsewhere: they are somebody
    else's, and stay.
    """
    if job.collection not in await store.collections():
        return [], 0
    below = tuple(f"{root.as_uri()}/" for root in roots)
    exactly = {root.as_uri() for root in roots}
    gone: list[DocumentKey] = []
    elsewhere = 0
    async for record in store.scroll_states(job.collection):
        key = record.key
        if (
            key.tenant != job.tenant
            or key.document_id in present
            or record.live_set is None
        ):
            continue
        uri = ""
        async for point in store.scroll_points(job.collection, key=key):
            uri = str(point.payload.get("source_uri", ""))
            break
        if uri.startswith(below) or uri in exactly:
            gone.append(key)
        else:
            elsewhere += 1
    return sorted(gone), elsewhere
