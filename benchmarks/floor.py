"""The floor: the same four stages over the same Kafka with bare clients.

No retries, no ids, no order, no completeness, no metrics: what is left is what Kafka,
HTTP, gRPC and a byte-pair encoder cost. A limit to compare with, not a product. Each
stage runs in a process of its own and prints the CPU seconds it used after importing
and connecting.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import resource
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import grpc
import msgspec
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from corpus import text_files
from qdrant_client.grpc import points_pb2
from rs_bpe.bpe import openai as bpe

CHUNK_TOKENS = 512
SLICE = 64


class Item(msgspec.Struct, array_like=True):
    """A document's slice on its way: texts, then vectors beside them."""

    name: str
    texts: list[str]
    vectors: list[bytes] = []


class Embedding(msgspec.Struct):
    """One entry of the provider's answer."""

    index: int
    embedding: str


class Answer(msgspec.Struct):
    """The provider's answer."""

    data: list[Embedding]


def cpu_seconds() -> float:
    """User and system time of this process so far."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def split(text: str, tokenizer: bpe.Tokenizer) -> list[str]:
    """Greedy paragraphs up to the limit; counts once per paragraph."""
    chunks: list[str] = []
    current: list[str] = []
    used = 0
    for paragraph in text.split("\n\n"):
        count = tokenizer.count(paragraph) + 1
        if used + count > CHUNK_TOKENS and current:
            chunks.append("\n\n".join(current))
            current, used = [], 0
        if count > CHUNK_TOKENS:
            tokens = tokenizer.encode(paragraph)
            chunks += [
                tokenizer.decode(tokens[at : at + CHUNK_TOKENS]) or ""
                for at in range(0, len(tokens), CHUNK_TOKENS)
            ]
        else:
            current.append(paragraph)
            used += count
    if current:
        chunks.append("\n\n".join(current))
    return [chunk for chunk in chunks if chunk.strip()]


def producer(servers: str, compression: str | None) -> AIOKafkaProducer:
    """An idempotent producer."""
    return AIOKafkaProducer(
        bootstrap_servers=servers,
        acks="all",
        enable_idempotence=True,
        linger_ms=5,
        compression_type=compression,
        max_request_size=2 * 1024 * 1024,
    )


async def records(
    consumer: AIOKafkaConsumer, documents: int
) -> AsyncIterator[list[bytes]]:
    """Batches of values until every document was seen; commits behind each batch."""
    seen: set[bytes] = set()
    while len(seen) < documents:
        batches = await consumer.getmany(timeout_ms=200, max_records=500)
        batch = [record for part in batches.values() for record in part]
        if batch:
            yield [record.value for record in batch]
            await consumer.commit()
            seen |= {record.key for record in batch if record.headers}
    return


async def load(prefix: str, servers: str, files: list[Path]) -> int:
    """Files to texts."""
    async with producer(servers, "zstd") as sink:
        waits = [
            await sink.send(
                f"{prefix}.texts",
                msgspec.msgpack.encode(Item(str(path), [path.read_text("utf-8")])),
                key=str(path).encode(),
                headers=[("last", b"1")],
            )
            for path in files
        ]
        await asyncio.gather(*waits)
    return len(files)


async def chunk(
    prefix: str,
    servers: str,
    consumer: AIOKafkaConsumer,
    documents: int,
    tokenizer: bpe.Tokenizer,
) -> int:
    """Texts to slices of chunks."""
    decode = msgspec.msgpack.Decoder(Item).decode
    total = 0
    async with producer(servers, "zstd") as sink:
        async for values in records(consumer, documents):
            waits = []
            for value in values:
                item = decode(value)
                texts = split(item.texts[0], tokenizer)
                total += len(texts)
                for at in range(0, max(len(texts), 1), SLICE):
                    part = Item(item.name, texts[at : at + SLICE])
                    waits.append(
                        await sink.send(
                            f"{prefix}.chunks",
                            msgspec.msgpack.encode(part),
                            key=item.name.encode(),
                            headers=[("last", b"1")]
                            if at + SLICE >= len(texts)
                            else [],
                        )
                    )
            await asyncio.gather(*waits)
    return total


async def embed(
    prefix: str,
    servers: str,
    consumer: AIOKafkaConsumer,
    documents: int,
    provider_url: str,
) -> int:
    """Slices to slices with vectors; batches across records."""
    decode = msgspec.msgpack.Decoder(Item).decode
    answer = msgspec.json.Decoder(Answer).decode
    total = 0
    async with producer(servers, None) as sink, aiohttp.ClientSession() as session:
        async for values in records(consumer, documents):
            items = [decode(value) for value in values]
            texts = [text for item in items for text in item.texts]
            vectors: list[bytes] = []
            for at in range(0, len(texts), SLICE):
                body = {
                    "model": "stub",
                    "input": texts[at : at + SLICE],
                    "encoding_format": "base64",
                }
                async with session.post(
                    f"{provider_url}/v1/embeddings", data=msgspec.json.encode(body)
                ) as response:
                    data = answer(await response.read()).data
                vectors += [base64.b64decode(entry.embedding) for entry in data]
            total += len(texts)
            at, waits = 0, []
            for item in items:
                item.vectors = vectors[at : at + len(item.texts)]
                at += len(item.texts)
                waits.append(
                    await sink.send(
                        f"{prefix}.vectors",
                        msgspec.msgpack.encode(item),
                        key=item.name.encode(),
                        headers=[("last", b"1")] if len(item.texts) < SLICE else [],
                    )
                )
            await asyncio.gather(*waits)
    return total


def varint(number: int) -> bytes:
    """Protobuf's unsigned varint."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def framed(field: int, payload: bytes) -> bytes:
    """A length-delimited Protobuf field."""
    return varint(field << 3 | 2) + varint(len(payload)) + payload


async def index(consumer: AIOKafkaConsumer, documents: int, store_target: str) -> int:
    """Slices with vectors to upserts, raw float32 to the wire."""
    decode = msgspec.msgpack.Decoder(Item).decode
    total = 0
    async with grpc.aio.insecure_channel(
        store_target, options=[("grpc.max_send_message_length", -1)]
    ) as channel:
        upsert = channel.unary_unary("/qdrant.Points/Upsert")
        async for values in records(consumer, documents):
            points: list[bytes] = []
            for value in values:
                item = decode(value)
                for text, vector in zip(item.texts, item.vectors, strict=True):
                    total += 1
                    point = points_pb2.PointStruct(id={"num": total})
                    point.payload["text"].string_value = text
                    point.payload["name"].string_value = item.name
                    data = framed(4, framed(1, framed(101, framed(1, vector))))
                    points.append(framed(3, point.SerializeToString() + data))
            for at in range(0, len(points), SLICE):
                head = framed(1, b"bench") + b"\x10\x01"
                await upsert(head + b"".join(points[at : at + SLICE]))
    return total


async def run(arguments: argparse.Namespace) -> dict[str, float]:
    """One stage from start to end."""
    files = text_files(arguments.folder)
    topics = {"chunk": "texts", "embed": "chunks", "index": "vectors"}
    servers, prefix = arguments.servers, arguments.prefix
    if arguments.stage == "load":
        before = cpu_seconds()
        count = await load(prefix, servers, files)
        return {"cpu": cpu_seconds() - before, "count": count}
    consumer = AIOKafkaConsumer(
        f"{prefix}.{topics[arguments.stage]}",
        bootstrap_servers=servers,
        group_id=f"{prefix}.{arguments.stage}",
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        max_partition_fetch_bytes=8 * 1024 * 1024,
    )
    # Loaded before, as the product's has been when its measurement begins.
    tokenizer = bpe.cl100k_base()
    tokenizer.count("once")
    async with consumer:
        before = cpu_seconds()
        if arguments.stage == "chunk":
            count = await chunk(prefix, servers, consumer, len(files), tokenizer)
        elif arguments.stage == "embed":
            count = await embed(
                prefix, servers, consumer, len(files), arguments.provider
            )
        else:
            count = await index(consumer, len(files), arguments.store)
        return {"cpu": cpu_seconds() - before, "count": count}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stage", choices=["load", "chunk", "embed", "index"])
    parser.add_argument("--servers", required=True)
    parser.add_argument("--prefix", required=True)
    parser.add_argument("--provider", default="")
    parser.add_argument("--store", default="")
    parser.add_argument("--folder", type=Path)
    print(json.dumps(asyncio.run(run(parser.parse_args()))))
