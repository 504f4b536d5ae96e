"""The loader's work on one event: load, accept, pass on; or park it.

Deletes are accepted without loading. The order of effects is: state record (accepted
and read back), object (where the text is large), record on ``texts``, status. Each may
happen again after a crash with the same result, and the offset is committed after all.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from headrace.clock import Clock
from headrace.errors import DocumentFailure
from headrace.handler import Delivery, Producer, StatusReporter
from headrace.headers import reentry_headers
from headrace.identity import Arrival
from headrace.messages import (
    DocumentEvent,
    DocumentRevision,
    Lane,
    LoadedText,
    Metadata,
    ObjectReference,
    Operation,
    OutputPosition,
    Stage,
    State,
    StatusEvent,
)
from headrace.objects import READ_SIZE, Objects, text_key
from headrace.state import Accepted, Candidate, Verdict
from headrace.topology import Noun, Topology
from headrace.wire import (
    arrival_of,
    decode_event,
    encode_loaded_text,
    needs_rekey,
    output_headers,
)
from headrace_loader.acceptance import Acceptance
from headrace_loader.content import Content
from headrace_loader.parking import Parking
from headrace_loader.threads import in_thread

_ENDED = {Verdict.UNCHANGED: State.UNCHANGED, Verdict.SUPERSEDED: State.SUPERSEDED}


class Loads(Protocol):
    """What the handler needs of ``loading.Loading``."""

    @property
    def problem(self) -> str | None:
        """Why documents cannot be loaded."""

    async def load(self, event: DocumentEvent, *, cautious: bool = False) -> Content:
        """The event's text."""

    async def close(self) -> None:
        """Release everything."""


class Unparks(Protocol):
    """What the handler needs of ``unparking.Unparking``."""

    @property
    def problem(self) -> str | None:
        """Why parked events cannot go back."""

    async def close(self) -> None:
        """Let none go back any more."""


@dataclass(frozen=True, slots=True)
class _Work:
    """One try at one event."""

    delivery: Delivery
    event: DocumentEvent
    arrival: Arrival
    lane: Lane
    started_ms: int


class LoaderHandler:
    """Implements ``headrace.handler.Handler``."""

    def __init__(
        self,
        *,
        topology: Topology,
        fingerprint: str,
        producer: Producer,
        status: StatusReporter,
        clock: Clock,
        loading: Loads,
        acceptance: Acceptance,
        objects: Objects,
        parking: Parking,
        unparking: Unparks,
    ) -> None:
        self._topology = topology
        self._fingerprint = fingerprint
        self._producer = producer
        self._status = status
        self._clock = clock
        self._loading = loading
        self._acceptance = acceptance
        self._objects = objects
        self._parking = parking
        self._unparking = unparking

    async def handle(self, delivery: Delivery) -> None:
        """See ``Handler``."""
        record = delivery.record
        event = decode_event(record)
        if needs_rekey(record, event):
            # One key must have one owner and one order, whoever produced it and how.
            await self._producer.send(
                record.topic,
                key=event.key.record_key,
                value=record.value,
                headers=reentry_headers(record),
            )
            return
        if self._parking.wanted(event.key):
            await self._parking.park(record, event, came_by=delivery.lane)
            return
        work = _Work(
            delivery=delivery,
            event=event,
            arrival=arrival_of(record),
            lane=event.lane or delivery.lane,
            started_ms=self._clock.now_ms(),
        )
        await self._acceptance.ensure(event.key.collection)
        if event.operation is Operation.DELETE:
            await self._accept(work, None)
            return
        content = await self._loading.load(event, cautious=delivery.attempt > 1)
        try:
            await self._accept(work, content)
        finally:
            content.close()

    def assigned(self, share: float) -> None:  # noqa: ARG002  the port's
        """Nothing here depends on the share."""
        self._acceptance.forget_problem()

    def ready(self) -> str | None:
        """What people must mend: the work directory, topics, or settings."""
        return (
            self._loading.problem or self._acceptance.problem or self._unparking.problem
        )

    async def close(self) -> None:
        """Release children, connections and files."""
        await self._unparking.close()
        await self._acceptance.close()
        await self._loading.close()

    async def _accept(self, work: _Work, content: Content | None) -> None:
        event = work.event
        metadata = event.metadata if content is None else content.metadata
        decision = await self._acceptance.accept(
            Candidate(
                key=event.key,
                arrival=work.arrival,
                source_version=event.source_version,
                content_hash=b"" if content is None else content.content_hash,
                fingerprint=self._fingerprint,
            ),
            name=metadata.name,
        )
        if decision.verdict is Verdict.VERSION_CONFLICT:
            raise DocumentFailure(
                "version_conflict",
                f"source version {event.source_version} was accepted before with "
                "another content",
                advice="send the document again with a higher source version",
            )
        if decision.verdict in _ENDED:
            await self._report(work, _ENDED[decision.verdict], metadata)
            return
        if decision.accepted is None:
            raise RuntimeError(f"no accepted fields for {decision.verdict}")
        document = self._document(work, decision.accepted, metadata)
        loaded = await self._loaded_text(document, content)
        output = await self._producer.send(
            self._topology.topic(Noun.TEXTS, work.lane),
            key=event.key.record_key,
            value=encode_loaded_text(loaded),
            headers=output_headers(work.delivery.record, document),
        )
        await self._report(
            work,
            State.PASSED_ON,
            metadata,
            revision=document.revision,
            output=output,
        )

    def _document(
        self, work: _Work, accepted: Accepted, metadata: Metadata
    ) -> DocumentRevision:
        event = work.event
        return DocumentRevision(
            key=event.key,
            revision=accepted.revision,
            fingerprint=self._fingerprint,
            content_hash=accepted.content_hash,
            arrival=work.arrival,
            source_version=event.source_version,
            lane=work.lane,
            metadata=metadata,
            on_partial=event.on_partial,
            operation=event.operation,
            accepted_at_ms=self._clock.now_ms(),
        )

    async def _loaded_text(
        self, document: DocumentRevision, content: Content | None
    ) -> LoadedText:
        """Inline where it is small, else as a claim check that is in the store."""
        if content is None:
            return LoadedText(document)
        reference: ObjectReference | None = None
        if content.path is not None:
            key = text_key(document.key.tenant, content.digest)
            reference = await self._objects.put(key, _blocks(content.path))
        return LoadedText(
            document,
            parts=content.parts,
            object=reference,
            parser=content.parser,
            length=content.length,
        )

    async def _report(
        self,
        work: _Work,
        state: State,
        metadata: Metadata,
        *,
        revision: int = 0,
        output: OutputPosition | None = None,
    ) -> None:
        """Tell the status topic; an event that ended here took no revision."""
        now_ms = self._clock.now_ms()
        await self._status.report(
            StatusEvent(
                key=work.event.key,
                revision=revision,
                arrival=work.arrival,
                stage=Stage.LOADER,
                state=state,
                attempts=work.delivery.attempt,
                waiting_ms=max(0, work.started_ms - work.delivery.record.timestamp_ms),
                working_ms=max(0, now_ms - work.started_ms),
                output=output,
                at_ms=now_ms,
                metadata=metadata,
                lane=work.lane,
            )
        )


async def _blocks(path: Path) -> AsyncIterator[bytes]:
    file = await in_thread(path.open, "rb")
    with file:
        while block := await in_thread(file.read, READ_SIZE):
            yield block
