"""The embedder's work on one record: a slice of chunks in, the same slice out."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

import structlog

from headrace import fingerprint, wire
from headrace.clock import Clock
from headrace.errors import DocumentFailure, SharedFailure
from headrace.handler import (
    DeadLetters,
    Delivery,
    Producer,
    Record,
    StatusReporter,
)
from headrace.identity import DocumentKey
from headrace.messages import (
    ChunkSlice,
    DeadLetter,
    EmbeddedChunk,
    EmbeddedSlice,
    Hole,
    Operation,
    OutputPosition,
    Stage,
    State,
    StatusError,
    StatusEvent,
)
from headrace.metrics import Metrics
from headrace.topology import Topology
from headrace_embedder.batches import Outcome, Text
from headrace_embedder.cache import CacheKeys
from headrace_embedder.embedding import Embedding

REMEMBERED_DOCUMENTS = 4096
"""Documents of several slices of which counts are kept until their last slice."""
CHARACTERS_A_TOKEN = 3
"""Low, so that the prefix's tokens are rather counted too high."""


@dataclass(slots=True)
class _Counts:
    """Of the slices of one revision that this process has passed on."""

    tokens: dict[int, int] = field(default_factory=dict)
    holes: dict[int, int] = field(default_factory=dict)
    working_ms: int = 0


class EmbedderHandler:
    """See ``headrace.handler.Handler``.

    The counts in the status of a document of several slices are those that this
    process saw; after a restart in its midst they are short. What is stored is counted
    by the indexer.
    """

    def __init__(
        self,
        *,
        embedding: Embedding,
        keys: CacheKeys,
        model_part: str,
        document_prefix: str,
        topology: Topology,
        producer: Producer,
        status: StatusReporter,
        dead_letters: DeadLetters,
        metrics: Metrics,
        clock: Clock,
        worker_version: str,
    ) -> None:
        self._embedding = embedding
        self._keys = keys
        self._model_part = model_part
        self._prefix = document_prefix
        self._prefix_tokens = -(-len(document_prefix) // CHARACTERS_A_TOKEN)
        self._outputs = topology.outputs(Stage.EMBEDDER)
        self._producer = producer
        self._status = status
        self._dead_letters = dead_letters
        self._metrics = metrics
        self._clock = clock
        self._worker_version = worker_version
        self._foreign: dict[tuple[str, int], str] = {}
        self._counts: OrderedDict[tuple[DocumentKey, int], _Counts] = OrderedDict()
        self._log = structlog.get_logger(__name__)

    async def handle(self, delivery: Delivery) -> None:
        """See ``Handler.handle``."""
        began_ms = self._clock.now_ms()
        began = self._clock.monotonic()
        record = delivery.record
        chunks = wire.decode_chunk_slice(record.value)
        if chunks.document.operation is Operation.DELETE:
            embedded = EmbeddedSlice(chunks.document, chunks.slice_number)
        else:
            self._check_model(delivery, chunks)
            outcomes = await self._embedding.embed(self._texts(chunks))
            embedded = _embedded(chunks, outcomes)
        for one in embedded.chunks:
            if one.hole is not None:
                letter = self._letter(record, chunks, one.chunk.number, one.hole)
                await self._dead_letters.put(letter)
        tokens = sum(one.chunk.token_count for one in embedded.chunks)
        output = await self._producer.send(
            self._outputs[delivery.lane],
            key=chunks.document.key.record_key,
            value=wire.encode_embedded_slice(embedded),
            partition=record.partition,
            headers=wire.output_headers(
                record,
                chunks.document,
                chunks=len(embedded.chunks),
                tokens=tokens,
                slice_number=chunks.slice_number,
            ),
        )
        counts = self._count(embedded, tokens)
        counts.working_ms += round((self._clock.monotonic() - began) * 1000)
        if _is_last(embedded):
            event = self._event(
                delivery, embedded, counts, output=output, began_ms=began_ms
            )
            await self._status.report(event)
            self._counts.pop((chunks.document.key, chunks.document.revision), None)

    def assigned(self, share: float) -> None:
        """See ``Handler.assigned``."""
        self._embedding.calls.assigned(share)
        # Whose partition it is now will find out for itself.
        self._foreign.clear()

    def ready(self) -> str | None:
        """See ``Handler.ready``."""
        if self._foreign:
            return next(iter(self._foreign.values()))
        return self._embedding.calls.blocked

    async def close(self) -> None:
        """See ``Handler.close``."""
        await self._embedding.close()

    def _texts(self, chunks: ChunkSlice) -> list[Text]:
        tenant = chunks.document.key.tenant
        return [
            Text(
                text=self._prefix + chunk.text,
                tokens=chunk.token_count + self._prefix_tokens,
                key=self._keys.key(chunk.text, tenant=tenant),
            )
            for chunk in chunks.chunks
        ]

    def _check_model(self, delivery: Delivery, chunks: ChunkSlice) -> None:
        """Never mix models: vectors of two in one document mean nothing together."""
        partition = (delivery.record.topic, delivery.record.partition)
        _, _, model_part = fingerprint.split(chunks.document.fingerprint)
        if model_part == self._model_part:
            self._foreign.pop(partition, None)
            return
        text = (
            f"chunks on {partition[0]}/{partition[1]} were made for the model "
            f"{model_part}, this embedder has "
            f"{self._model_part}"
        )
        if delivery.replays:
            raise DocumentFailure(
                "needs_reindex",
                text,
                advice="Send the document again: its chunks belong to another model.",
            )
        self._foreign[partition] = f"model_mismatch: {text}"
        raise SharedFailure(
            "model_mismatch",
            f"{text}; run an embedder with the former model until they are through, "
            "or set loader, chunker and embedder to the same HEADRACE_EMBEDDING_*",
        )

    def _letter(
        self, record: Record, chunks: ChunkSlice, number: int, hole: Hole
    ) -> DeadLetter:
        document = chunks.document
        refused = hole.reason == "rejected_by_provider"
        advice = (
            "Replay it once the model accepts such a text."
            if refused
            else "Replay it; the provider worked for other texts meanwhile."
        )
        traceparent = record.header("traceparent") or b""
        return DeadLetter(
            stage=Stage.EMBEDDER,
            error=StatusError(
                hole.reason,
                f"chunk {number} has no vector: {hole.detail}",
                advice,
                retryable=not refused,
            ),
            attempts=hole.attempts,
            origin_topic=record.topic,
            origin_partition=record.partition,
            origin_offset=record.offset,
            origin_timestamp_ms=record.timestamp_ms,
            key=document.key,
            revision=document.revision,
            arrival=document.arrival,
            fingerprint=document.fingerprint,
            first_chunk=number,
            end_chunk=number + 1,
            original_key=record.key,
            original_value=record.value,
            original_headers=record.headers,
            traceparent=traceparent.decode("ascii", "replace"),
            failed_at_ms=self._clock.now_ms(),
            worker_version=self._worker_version,
        )

    def _count(self, embedded: EmbeddedSlice, tokens: int) -> _Counts:
        name = (embedded.document.key, embedded.document.revision)
        counts = self._counts.setdefault(name, _Counts())
        if len(self._counts) > REMEMBERED_DOCUMENTS:
            self._counts.popitem(last=False)
        holes = sum(one.hole is not None for one in embedded.chunks)
        # By slice, so that a slice that comes again is not counted twice.
        counts.tokens[embedded.slice_number] = tokens
        counts.holes[embedded.slice_number] = holes
        self._metrics.chunks("hole").inc(holes)
        self._metrics.chunks("embedded").inc(len(embedded.chunks) - holes)
        return counts

    def _event(
        self,
        delivery: Delivery,
        embedded: EmbeddedSlice,
        counts: _Counts,
        *,
        output: OutputPosition,
        began_ms: int,
    ) -> StatusEvent:
        document = embedded.document
        manifest = embedded.manifest
        return StatusEvent(
            key=document.key,
            revision=document.revision,
            arrival=document.arrival,
            stage=Stage.EMBEDDER,
            state=State.PASSED_ON,
            attempts=delivery.attempt,
            chunks=0 if manifest is None else manifest.chunk_count,
            tokens=sum(counts.tokens.values()),
            failed_chunks=sum(counts.holes.values()),
            waiting_ms=max(began_ms - delivery.record.timestamp_ms, 0),
            working_ms=counts.working_ms,
            output=output,
            at_ms=self._clock.now_ms(),
            metadata=document.metadata,
            lane=document.lane,
        )


def _is_last(embedded: EmbeddedSlice) -> bool:
    """A delete has one slice and no manifest."""
    deleted = embedded.document.operation is Operation.DELETE
    return deleted or embedded.manifest is not None


def _embedded(chunks: ChunkSlice, outcomes: list[Outcome]) -> EmbeddedSlice:
    embedded = [
        EmbeddedChunk(chunk, hole=outcome)
        if isinstance(outcome, Hole)
        else EmbeddedChunk(chunk, vector=outcome)
        for chunk, outcome in zip(chunks.chunks, outcomes, strict=True)
    ]
    return EmbeddedSlice(
        chunks.document, chunks.slice_number, tuple(embedded), chunks.manifest
    )
