"""CPU time of the insert path: the client's and the local store's, per point.

Run: ``python -m benchmarks.store``. Documents of 64 chunks with 1,536 dimensions and
1.5 KB of text, each inserted, set live and flipped in one ``apply``. CPU time, not wall
time: other work on the machine lengthens the one and hardly the other. The second row
is qdrant-client's own way for the same points in the same run.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import struct
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from headrace.identity import Arrival, DocumentKey
from headrace.messages import (
    Chunk,
    DocumentRevision,
    EmbeddedChunk,
    Manifest,
    Metadata,
)
from headrace.qdrant import QdrantStore
from headrace.qdrant_messages import qdrant
from headrace.qdrant_operations import calls
from headrace.qdrant_payload import chunk_fields, chunk_id, document_fields
from headrace.qdrant_values import to_wire_map
from headrace.qdrant_wire import update_batch
from headrace.state import Accepted, ChunkSet
from headrace.store import (
    CollectionSpec,
    Flip,
    Operation,
    SetLive,
    StoreChunks,
    StoredChunk,
    WriteAccepted,
)
from tests.support.store_process import StoreProcess

DIMENSIONS = 1536
CHUNKS = 64
MAX_BYTES = 4 * 1024 * 1024


def documents(count: int) -> list[list[Operation]]:
    """What the indexer applies for each document."""
    numbers = random.Random(1)
    text = "lorem ipsum dolor sit amet " * 56
    made: list[list[Operation]] = []
    for one in range(count):
        key = DocumentKey("default", "bench", f"document-{one}")
        arrival = Arrival(1_700_000_000_000 + one, "topic", 0, one)
        document = DocumentRevision(
            key=key,
            revision=arrival.append_time_ms,
            fingerprint="0" * 38,
            content_hash=numbers.randbytes(32),
            arrival=arrival,
            metadata=Metadata(name=f"{one}.pdf", media_type="application/pdf"),
        )
        stored = tuple(
            StoredChunk(
                document=document,
                embedded=EmbeddedChunk(
                    Chunk(number, text, 512, number * 1500, number * 1500 + 1500),
                    vector=struct.pack(
                        f"<{DIMENSIONS}f",
                        *(numbers.random() - 0.5 for _ in range(DIMENSIONS)),
                    ),
                ),
                manifest=Manifest(CHUNKS, b"m" * 32) if number == CHUNKS - 1 else None,
            )
            for number in range(CHUNKS)
        )
        chunk_set = ChunkSet(
            key, document.revision, document.fingerprint, document.content_hash
        )
        accepted = Accepted(arrival, None, document.content_hash, document.revision)
        made.append(
            [
                WriteAccepted(key, accepted, None),
                StoreChunks(stored),
                SetLive(chunk_set),
                Flip(chunk_set, CHUNKS, 0),
            ]
        )
    return made


def generated_classes(operations: list[Operation]) -> bytes:
    """The upsert as the generated classes write it from lists of floats."""
    points = []
    for operation in operations:
        if not isinstance(operation, StoreChunks):
            continue
        for stored in operation.chunks:
            vector = stored.embedded.vector or b""
            numbers = list(struct.unpack(f"<{len(vector) // 4}f", vector))
            fields = {**document_fields(stored.document), **chunk_fields(stored)}
            named = qdrant.Vector(dense=qdrant.DenseVector(data=numbers))
            points.append(
                qdrant.PointStruct(
                    id=qdrant.PointId(uuid=chunk_id(stored)),
                    payload=to_wire_map(fields),
                    vectors=qdrant.Vectors(
                        vectors=qdrant.NamedVectors(vectors={"dense": named})
                    ),
                )
            )
    request = qdrant.UpsertPoints(collection_name="bench", points=points, wait=True)
    data: bytes = request.SerializeToString()
    return data


def encoded(operations: list[Operation]) -> list[bytes]:
    """The same, and the other operations, as the adapter writes them."""
    return [
        update_batch("bench", call.operations)
        for call in calls(operations, max_bytes=MAX_BYTES)
    ]


def cpu_s(work: Callable[[], object]) -> float:
    """CPU seconds of this process."""
    started = time.process_time()
    work()
    return time.process_time() - started


def child_cpu_s(pid: int) -> float:
    """CPU seconds of another process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / 100


async def insert(url: str, batches: list[list[Operation]]) -> None:
    """One document to a call, as for documents that arrive one by one."""
    store = QdrantStore(url)
    for batch in batches:
        await store.apply("bench", batch)
    await store.close()


async def prepare(url: str) -> None:
    """An empty collection."""
    store = QdrantStore(url)
    await store.drop_collection("bench")
    await store.ensure_collection("bench", CollectionSpec("m", "1", DIMENSIONS))
    await store.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=40)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    batches = documents(options.documents)
    points = options.documents * CHUNKS
    rows: dict[str, list[float]] = {}

    def note(name: str, seconds: float) -> None:
        rows.setdefault(name, []).append(seconds / points * 1e6)

    with tempfile.TemporaryDirectory() as directory:
        process = StoreProcess(Path(directory, "data"))
        process.start()
        try:
            for _ in range(options.runs):
                asyncio.run(prepare(process.url))
                note("encode", cpu_s(lambda: [encoded(one) for one in batches]))
                note(
                    "encode, generated classes",
                    cpu_s(lambda: [generated_classes(one) for one in batches]),
                )
                before = child_cpu_s(process.pid)
                note(
                    "client in all",
                    cpu_s(lambda: asyncio.run(insert(process.url, batches))),
                )
                note("local store", child_cpu_s(process.pid) - before)
        finally:
            process.stop()
    print(f"{points} points of {DIMENSIONS} dimensions, {CHUNKS} to a call,")
    print(f"Python {sys.version.split()[0]}; microseconds of CPU a point:")
    for name, values in rows.items():
        print(f"{name:28}{min(values):8.1f} least of {len(values)}")


if __name__ == "__main__":
    main()
