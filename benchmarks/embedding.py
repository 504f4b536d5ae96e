"""CPU of embedding: per vector through the API path, per chunk of the local model.

``python benchmarks/embedding.py`` asks a stub that answers at once, in a process of its
own, and prints what this process spends; ``--local`` adds the local model. Wall time is
not shown: it says more about the machine's other work than about this code.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import multiprocessing
import resource
import socket
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx2
import msgspec
import numpy as np
import structlog
from aiohttp import web
from headrace_embedder.batches import Text
from headrace_embedder.breaker import Breaker
from headrace_embedder.cache import CacheKeys, FileCache
from headrace_embedder.calls import CallLimits, Calls
from headrace_embedder.embedding import Embedding
from headrace_embedder.providers.answers import Encoding, Expected, decode
from headrace_embedder.providers.hash_provider import hash_vector
from headrace_embedder.providers.local_model import MODELS, LocalModelProvider
from headrace_embedder.providers.openai_compatible import OpenAICompatibleProvider
from stub_provider import DIMENSIONS, application

from headrace.clock import SystemClock
from headrace.fingerprint import ModelSettings
from headrace.messages import Stage
from headrace.metrics import Metrics
from headrace.retries import Backoff

ROUNDS = 5
CALLS = 40
SLICE = 64
PARAGRAPH = "water wheel mill race sluice gate weir flume pond stone grain flour " * 18


def stub(listening: socket.socket) -> None:
    """The process that answers."""
    web.run_app(application(), sock=listening, print=None, access_log=None)


async def cpu_each(work: Callable[[], Awaitable[object]], *, items: int) -> float:
    """Least CPU microseconds of this process for each item of one ``work``."""
    await work()
    best = float("inf")
    for _ in range(ROUNDS):
        began = time.process_time()
        for _ in range(CALLS):
            await work()
        best = min(best, time.process_time() - began)
    return best / CALLS / items * 1e6


def show(name: str, microseconds: float) -> None:
    print(f"{name:52} {microseconds:8.1f} us CPU a vector")


async def through_the_provider(base_url: str, *, batch: int) -> None:
    """One call after the other, and the same by a bare client."""
    texts = [f"{PARAGRAPH} {number}" for number in range(batch)]
    provider = OpenAICompatibleProvider(
        base_url=base_url, api_key="x", model="stub", dimensions=DIMENSIONS
    )
    spent = await cpu_each(lambda: provider.embed(texts, deadline=60), items=batch)
    show(f"provider, {batch} texts a call", spent)
    await provider.close()
    async with httpx2.AsyncClient() as client:

        async def bare() -> list[list[bytes]]:
            request = {"input": texts, "encoding_format": "base64"}
            answer = await client.post(
                f"{base_url}/embeddings", content=msgspec.json.encode(request)
            )
            expected = Expected(batch, DIMENSIONS)
            return list(decode(answer.content, Encoding.BASE64, expected))

        show(f"bare client, {batch} texts a call", await cpu_each(bare, items=batch))


async def through_the_embedder(base_url: str, file: Path) -> None:
    """Slices of new texts: keys, cache on disk, queue, limits, call."""
    provider = OpenAICompatibleProvider(
        base_url=base_url, api_key="x", model="stub", dimensions=DIMENSIONS
    )
    metrics, clock = Metrics(Stage.EMBEDDER), SystemClock()
    calls = Calls(
        provider,
        limits=CallLimits(
            calls=2,
            requests_per_minute=0,
            tokens_per_minute=0,
            deadline_s=60,
            batch_tokens=10**6,
            batch_min=10,
            batch_max=200,
        ),
        breaker=Breaker(),
        clock=clock,
        metrics=metrics,
        backoff=Backoff(2.0),
        random=lambda: 0.5,
    )
    embedding = Embedding(
        calls=calls,
        cache=FileCache(str(file), max_bytes=1024**3, vector_bytes=4 * DIMENSIONS),
        provider=provider,
        clock=clock,
        metrics=metrics,
        batch_wait_s=0,
        batch_deadline_s=120,
    )
    keys = CacheKeys(ModelSettings("openai", "m", "1", DIMENSIONS), shared=False)
    number = 0

    def slice_of(first: int) -> list[Text]:
        texts = [f"{PARAGRAPH} {first + one}" for one in range(SLICE)]
        return [Text(text, 240, keys.key(text, tenant="default")) for text in texts]

    async def new() -> None:
        nonlocal number
        number += SLICE
        await embedding.embed(slice_of(number))

    show(f"embedder, new slices of {SLICE}", await cpu_each(new, items=SLICE))
    known = await cpu_each(lambda: embedding.embed(slice_of(SLICE)), items=SLICE)
    show(f"embedder, known slices of {SLICE}", known)
    await embedding.close()


async def decoding() -> None:
    """An answer of 64 vectors as base64 and as floats."""
    vector = hash_vector("stub", DIMENSIONS)
    numbers = [float(one) for one in np.frombuffer(vector, dtype="<f4")]
    expected = Expected(SLICE, DIMENSIONS)
    for encoding, written in (
        (Encoding.BASE64, base64.b64encode(vector).decode()),
        (Encoding.FLOAT, numbers),
    ):
        items = [{"index": one, "embedding": written} for one in range(SLICE)]
        body = json.dumps({"data": items}).encode()

        async def decoded(body: bytes = body, encoding: Encoding = encoding) -> None:
            list(decode(body, encoding, expected))

        show(f"decoding {encoding}", await cpu_each(decoded, items=SLICE))


async def local() -> None:
    """Chunks of about 220 tokens, one thread."""
    for name in MODELS:
        model = LocalModelProvider(name, threads=1)
        await model.embed([PARAGRAPH], deadline=60)
        began = time.process_time()
        await model.embed([PARAGRAPH] * 30, deadline=600)
        spent = time.process_time() - began
        print(f"{name:52} {30 / spent:8.1f} chunks a CPU second")
        await model.close()


async def measure(base_url: str, *, with_local: bool) -> None:
    for batch in (8, SLICE, 200):
        await through_the_provider(base_url, batch=batch)
    with TemporaryDirectory() as folder:
        await through_the_embedder(base_url, Path(folder) / "cache")
    await decoding()
    if with_local:
        await local()


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--local", action="store_true")
    chosen = arguments.parse_args()
    # What is said about single calls is not what is measured.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        process = multiprocessing.get_context("fork").Process(
            target=stub, args=(listening,), daemon=True
        )
        process.start()
        base_url = f"http://127.0.0.1:{listening.getsockname()[1]}/v1"
        asyncio.run(measure(base_url, with_local=chosen.local))
        process.terminate()
        process.join()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(f"peak memory {peak} MiB")


if __name__ == "__main__":
    main()
