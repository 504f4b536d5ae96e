"""CPU of splitting documents, beside the cost of counting their tokens once.

``python benchmarks/chunking.py [FILE…]`` splits the files, or the corpus where none is
given, in every encoding asked for, and prints for each the least and the median of
several rounds. "Counting" is what the bare tokenizer takes for the same text in pieces
of 64 KiB, measured in the same rounds: no splitter that knows its counts can be below.
``--stage`` runs the documents through the stage's handler instead, records and slices
included but no broker, and prints its CPU and the longest hold of the event loop.
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import statistics
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from corpus import text_files
from headrace_chunker.handler import ChunkerHandler
from headrace_chunker.splitting import split
from headrace_chunker.tokenizers import Tokenizer, load_tokenizer
from headrace_chunker.work import Splitter

from headrace.clock import SystemClock
from headrace.fingerprint import ChunkingSettings, chunker_part
from headrace.handler import Delivery, Headers, Record
from headrace.identity import Arrival, DocumentKey
from headrace.loop_delay import SHORTEST_S, MeasuringSelector, new_event_loop
from headrace.messages import (
    DocumentRevision,
    Lane,
    LoadedText,
    Metadata,
    ObjectReference,
    OutputPosition,
    Stage,
    StatusEvent,
    TextPart,
)
from headrace.metrics import Metrics
from headrace.topology import Topology
from headrace.wire import encode_loaded_text, write_text_parts

PART = 64 * 1024
INLINE = 400 * 1024
PIECE = 1024 * 1024
IN_FLIGHT = 64


@dataclass(frozen=True, slots=True)
class Work:
    """What one round does."""

    documents: list[tuple[str, str]]
    tokenizer: Tokenizer
    settings: ChunkingSettings


def parts(text: str) -> Iterator[TextPart]:
    return (TextPart(text[at : at + PART]) for at in range(0, len(text), PART))


def split_all(work: Work) -> tuple[int, int]:
    chunks = tokens = 0
    for name, text in work.documents:
        for chunk in split(
            parts(text),
            media_type="",
            name=name,
            settings=work.settings,
            tokenizer=work.tokenizer,
        ):
            chunks += 1
            tokens += chunk.token_count
    return chunks, tokens


def count_all(work: Work) -> int:
    return sum(
        work.tokenizer.count(part.text)
        for _, text in work.documents
        for part in parts(text)
    )


def cpu_seconds(work: Callable[[], object]) -> float:
    began = time.thread_time()
    work()
    return time.thread_time() - began


def report(work: Work, *, rounds: int) -> None:
    chunks, _ = split_all(work)
    tokens = count_all(work)
    size = sum(len(text.encode()) for _, text in work.documents)
    counting, splitting = [], []
    for _ in range(rounds):
        counting.append(cpu_seconds(lambda: count_all(work)))
        splitting.append(cpu_seconds(lambda: split_all(work)))
    units = tokens / 512
    for label, seconds in (("counting", counting), ("splitting", splitting)):
        least, median = min(seconds), statistics.median(seconds)
        print(
            f"{work.settings.tokenizer:12} {label:9} {least / units * 1e6:6.0f} "
            f"(median {median / units * 1e6:.0f}) µs per 512 tokens, "
            f"{size / least / 1e6:5.1f} MB per CPU second, "
            f"{least / chunks * 1e6:6.0f} µs for each of {chunks} chunks"
        )


class Stored:
    """Texts in memory that play the object store."""

    def __init__(self) -> None:
        self._texts: dict[str, bytes] = {}

    def put(self, name: str, text: str) -> ObjectReference:
        """Keep a text as the loader stores it."""
        self._texts[name] = b"".join(write_text_parts(parts(text)))
        return ObjectReference(name)

    async def open(self, reference: ObjectReference) -> AsyncGenerator[bytes, None]:
        """As ``headrace.objects.Objects``."""
        data = self._texts[reference.uri]
        for at in range(0, len(data), PIECE):
            yield data[at : at + PIECE]


class Sink:
    """A producer and a status reporter that confirm at once."""

    chunks = 0

    async def send(
        self,
        topic: str,
        *,
        key: bytes | None,
        value: bytes | None,
        partition: int | None = None,
        headers: Headers = (),
    ) -> OutputPosition:
        """As ``headrace.handler.Producer``."""
        del key, value, headers
        return OutputPosition(topic, partition or 0, 0)

    async def report(self, event: StatusEvent) -> None:
        """As ``headrace.handler.StatusReporter``."""
        self.chunks += event.chunks


def records(work: Work, stored: Stored) -> list[Record]:
    """The documents as the loader would send them."""
    result = []
    for number, (name, text) in enumerate(work.documents):
        document = DocumentRevision(
            DocumentKey("default", "benchmark", f"{number}/{name}"),
            1,
            f"{0:012}-{chunker_part(work.settings)}-{0:012}",
            bytes(32),
            Arrival(1, "documents", 0, number),
            metadata=Metadata(name=name),
        )
        large = len(text.encode()) > INLINE
        loaded = LoadedText(
            document,
            None if large else tuple(parts(text)),
            stored.put(name, text) if large else None,
        )
        key = document.key.record_key
        value = encode_loaded_text(loaded)
        result.append(Record("headrace.texts.v1", 0, number, 1, key, value))
    return result


async def handle_all(work: Work, waiting: list[Record], stored: Stored) -> None:
    sink = Sink()
    handler = ChunkerHandler(
        splitter=Splitter(settings=work.settings, tokenizer=work.tokenizer),
        chunker_part=chunker_part(work.settings),
        threads=3,
        objects=stored,
        topology=Topology(),
        producer=sink,
        status=sink,
        metrics=Metrics(Stage.CHUNKER),
        clock=SystemClock(),
    )
    count = len(waiting)

    async def worker() -> None:
        while waiting:
            await handler.handle(Delivery(waiting.pop(), Lane.INTERACTIVE))

    began = time.process_time()
    await asyncio.gather(*(worker() for _ in range(IN_FLIGHT)))
    seconds = time.process_time() - began
    print(
        f"{work.settings.tokenizer:12} stage     {seconds / sink.chunks * 1e6:6.0f} "
        f"µs for each of {sink.chunks} chunks of {count} documents"
    )
    await handler.close()


def run_stage(work: Work) -> None:
    stored = Stored()
    waiting = records(work, stored)[::-1]
    selector = MeasuringSelector()
    held: list[float] = []
    loop = new_event_loop(selector)
    selector.report = held.append
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(handle_all(work, waiting, stored))
    longest = max(held, default=SHORTEST_S) * 1e3
    print(f"event loop held for at most {longest:.0f} ms of CPU at a stretch")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--tokens", type=int, default=512, help="size of a chunk")
    parser.add_argument("--overlap", type=int, default=0)
    parser.add_argument("--stage", action="store_true")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument(
        "--tokenizer", nargs="+", default=["cl100k_base", "o200k_base", "minilm"]
    )
    options = parser.parse_args()
    files = options.files or text_files()
    documents = [(path.name, path.read_text(encoding="utf-8")) for path in files]
    for name in options.tokenizer:
        size = options.tokens
        work = Work(
            documents,
            load_tokenizer(name),
            ChunkingSettings(name, size, options.overlap, size, size, size),
        )
        if options.stage:
            run_stage(work)
        else:
            report(work, rounds=options.rounds)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"peak memory {peak / 1024:.0f} MiB")


if __name__ == "__main__":
    main()
