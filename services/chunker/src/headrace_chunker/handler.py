"""One text in, its slices out: on the same lane, to the same partition number.

Splitting runs in threads. Texts that travel in their record are decoded, split and
encoded there in batches, so that a small document pays little for the change of
thread; a text in the object store has a thread of its own for as long as it streams.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from headrace import fingerprint
from headrace.batching import Batcher
from headrace.clock import Clock
from headrace.errors import DocumentFailure, SharedFailure
from headrace.handler import Delivery, Producer, StatusReporter
from headrace.messages import (
    DocumentRevision,
    Lane,
    LoadedText,
    ObjectReference,
    Operation,
    OutputPosition,
    Stage,
    State,
    StatusEvent,
)
from headrace.metrics import Metrics
from headrace.topology import Noun, Topology
from headrace.wire import output_headers
from headrace_chunker.streaming import Bridge, Sending, finished
from headrace_chunker.work import Inline, Output, Splitter

_BATCH_RECORDS = 64
_BATCH_BYTES = 256 * 1024
"""About 40 ms of splitting; what waits behind it is split together."""
_SENDS_IN_FLIGHT = 4
"""Slices of one document: up to 2 MiB that the broker has not confirmed."""


class Texts(Protocol):
    """Where texts are that do not fit a record (``headrace.objects.Objects``)."""

    def open(self, reference: ObjectReference) -> AsyncGenerator[bytes, None]:
        """The object's bytes in pieces."""


@dataclass(slots=True)
class _Sent:
    """What has gone out of a document."""

    chunks: int = 0
    tokens: int = 0
    position: OutputPosition | None = None

    def add(self, output: Output, position: OutputPosition) -> None:
        self.chunks += output.chunks
        self.tokens += output.tokens
        if self.position is None or self.position.last_offset < position.last_offset:
            self.position = position


class ChunkerHandler:
    """The chunker's ``headrace.handler.Handler``."""

    def __init__(
        self,
        *,
        splitter: Splitter,
        chunker_part: str,
        threads: int,
        objects: Texts,
        topology: Topology,
        producer: Producer,
        status: StatusReporter,
        metrics: Metrics,
        clock: Clock,
    ) -> None:
        """Prepare; nothing runs before the first record.

        Args:
            splitter: does the work in the threads.
            chunker_part: the part of a fingerprint that these settings produce.
            threads: how many of them split at once.
            objects: large texts.
            topology: names of the output topics.
            producer: for the slices.
            status: told of each document that was passed on.
            metrics: the process's.
            clock: for the times in the status.
        """
        self._splitter = splitter
        self._chunker_part = chunker_part
        self._objects = objects
        self._topology = topology
        self._producer = producer
        self._status = status
        self._metrics = metrics
        self._clock = clock
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="chunking")
        # One thread always stays for the texts that travel in their records.
        self._streams = asyncio.Semaphore(max(1, threads - 1))
        # One for each lane: nothing interactive stands behind what is bulk.
        self._batchers = {lane: self._batcher() for lane in Lane}
        self._refused: dict[tuple[str, int], str] = {}

    async def handle(self, delivery: Delivery) -> None:
        """Split the record's text and send its slices and its status.

        Raises:
            Unreadable: the bytes are no loaded text.
            DocumentFailure: ``text_missing``; other faults of the stored text.
            SharedFailure: ``fingerprint_mismatch``; broker or object store are down.
        """
        began_ms = self._clock.now_ms()
        result = await self._batchers[delivery.lane].submit(delivery.record.value)
        if isinstance(result, Exception):
            raise result
        document = result.text.document
        self._check(delivery, document)
        sent = _Sent()
        if len(result.outputs) == 1:
            # Most documents are one slice, which needs no task beside this one.
            await self._send(delivery, document, result.outputs[0], sent)
        else:
            await self._send_all(delivery, result, sent)
        self._metrics.chunks("split").inc(sent.chunks)
        await self._report(delivery, document, sent, began_ms=began_ms)

    def assigned(self, share: float) -> None:  # noqa: ARG002  every share is the same
        """Forget what the partitions of the last assignment were refused for."""
        self._refused.clear()

    def ready(self) -> str | None:
        """Why nothing can be split: the settings are not those of the loader."""
        return next(iter(self._refused.values()), None)

    async def close(self) -> None:
        """Stop the threads; what they do no longer matters."""
        for batcher in self._batchers.values():
            await batcher.close()
        # Waits for the running batch, which takes too long to block the loop.
        await asyncio.to_thread(self._threads.shutdown, cancel_futures=True)

    def _accepts(self, document: DocumentRevision) -> bool:
        return fingerprint.split(document.fingerprint)[1] == self._chunker_part

    def _check(self, delivery: Delivery, document: DocumentRevision) -> None:
        """Refuse a text that was loaded for other chunks; a delete has none."""
        partition = (delivery.record.topic, delivery.record.partition)
        delete = document.operation is Operation.DELETE
        if delete or self._accepts(document):
            self._refused.pop(partition, None)
            return
        reason = (
            f"a text in {partition[0]}/{partition[1]} was loaded for the chunking "
            f"settings of fingerprint {document.fingerprint}, this chunker's part is "
            f"{self._chunker_part}: give the loader and the chunker the same "
            "HEADRACE_CHUNK_* and HEADRACE_TOKENIZER and the same version"
        )
        self._refused[partition] = reason
        raise SharedFailure("fingerprint_mismatch", reason)

    def _batcher(self) -> Batcher[bytes | None, Inline | Exception]:
        return Batcher(
            self._split_batch,
            max_items=_BATCH_RECORDS,
            max_bytes=_BATCH_BYTES,
            max_wait_s=0,
            concurrency=1,
            size_of=lambda value: len(value or b""),
        )

    async def _split_batch(
        self, values: list[bytes | None]
    ) -> list[Inline | Exception]:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self._split_all, values)

    def _split_all(self, values: list[bytes | None]) -> list[Inline | Exception]:
        """In a thread: one record's fault is its own."""
        results: list[Inline | Exception] = []
        for value in values:
            try:
                results.append(self._splitter.inline(value, accept=self._accepts))
            except Exception as error:  # noqa: BLE001  raised again by handle
                results.append(error)
        return results

    async def _send_all(self, delivery: Delivery, result: Inline, sent: _Sent) -> None:
        """Send the slices of a document a few at a time."""
        document = result.text.document
        sending = Sending(in_flight=_SENDS_IN_FLIGHT)
        try:
            if result.text.object is not None:
                await self._stream(delivery, result.text, sending=sending, sent=sent)
            for output in result.outputs:
                await self._start(
                    delivery, document, output, sending=sending, sent=sent
                )
            await sending.finish()
        except BaseException:
            await sending.abort()
            raise

    async def _stream(
        self, delivery: Delivery, text: LoadedText, *, sending: Sending, sent: _Sent
    ) -> None:
        """Read, split and send a text of any size, none of it whole in memory."""
        if text.object is None:
            return
        document = text.document
        async with self._streams, aclosing(self._objects.open(text.object)) as source:
            bridge = Bridge()

            def run() -> None:
                pieces = bridge.pieces(source)
                for output in self._splitter.stream(document, pieces):
                    bridge.call(
                        partial(
                            self._start,
                            delivery,
                            document,
                            output,
                            sending=sending,
                            sent=sent,
                        )
                    )

            try:
                await finished(self._threads.submit(run), stop=bridge.stop)
            except DocumentFailure as error:
                if error.code != "object_not_found":
                    raise
                raise DocumentFailure(
                    "text_missing",
                    f"the text that the loader stored is gone: {error.message}",
                    advice="send the document again, so that it is loaded again",
                    retryable=True,
                ) from error

    async def _start(
        self,
        delivery: Delivery,
        document: DocumentRevision,
        output: Output,
        *,
        sending: Sending,
        sent: _Sent,
    ) -> None:
        await sending.start(partial(self._send, delivery, document, output, sent))

    async def _send(
        self,
        delivery: Delivery,
        document: DocumentRevision,
        output: Output,
        sent: _Sent,
    ) -> None:
        record = delivery.record
        position = await self._producer.send(
            self._topology.topic(Noun.CHUNKS, delivery.lane),
            key=document.key.record_key,
            value=output.value,
            partition=record.partition,
            headers=output_headers(
                record,
                document,
                chunks=output.chunks,
                tokens=output.tokens,
                slice_number=output.slice_number,
            ),
        )
        sent.add(output, position)

    async def _report(
        self,
        delivery: Delivery,
        document: DocumentRevision,
        sent: _Sent,
        *,
        began_ms: int,
    ) -> None:
        now_ms = self._clock.now_ms()
        await self._status.report(
            StatusEvent(
                document.key,
                document.revision,
                document.arrival,
                Stage.CHUNKER,
                State.PASSED_ON,
                attempts=delivery.attempt,
                chunks=sent.chunks,
                tokens=sent.tokens,
                waiting_ms=max(0, began_ms - delivery.record.timestamp_ms),
                working_ms=max(0, now_ms - began_ms),
                output=sent.position,
                at_ms=now_ms,
                metadata=document.metadata,
                lane=document.lane,
            )
        )
