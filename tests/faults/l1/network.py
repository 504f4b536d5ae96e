"""What lies between the processes and the rest: calls that are slow, fail, or are late.

A call is carried by a task of its own. Whoever made it may be cancelled or killed
meanwhile: then it is called back, or takes effect all the same, as on a real network.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import numpy as np
from headrace_embedder.providers import Rejected, Unclear, answers
from headrace_embedder.providers.answers import Encoding, Expected
from headrace_embedder.providers.hash_provider import hash_vector
from headrace_loader.sources.fetched import Fetched

from headrace.errors import DocumentFailure, SharedFailure
from headrace.handler import Headers
from headrace.identity import DocumentKey
from headrace.messages import Manifest, OutputPosition
from headrace.producer import partition_of
from headrace.state import ChunkSet, StateRecord
from headrace.store import CollectionSpec, Operation, StoreChunks, StoredPoint
from tests.faults.l1.processes import Process, outside
from tests.support.fake_source import FakeBroker
from tests.support.fake_store import FakeStore

T = TypeVar("T")

DIMENSIONS = 4


@dataclass
class Faults:
    """What goes wrong at the moment; ``heal`` ends all of it.

    Attributes:
        store: how the next calls fail: ``before`` or ``after`` they take effect, or
            ``between``, half of it done.
        producer: likewise.
        provider: how the next calls go wrong (see ``Provider``).
        web: the next fetches that fail.
        store_down: every call fails before.
        broker_down: every send fails before.
        provider_down: every call fails, with this.
        refused: texts that contain one of these are rejected.
        slow: seconds that every call takes at most.
    """

    store: deque[str] = field(default_factory=deque)
    producer: deque[str] = field(default_factory=deque)
    provider: deque[str] = field(default_factory=deque)
    web: int = 0
    store_down: bool = False
    broker_down: bool = False
    provider_down: Exception | None = None
    refused: set[str] = field(default_factory=set)
    slow: float = 0.05

    def heal(self) -> None:
        self.store.clear()
        self.producer.clear()
        self.provider.clear()
        self.web = 0
        self.store_down = self.broker_down = False
        self.provider_down = None
        self.refused.clear()
        self.slow = 0.05


class Network:
    """Carries calls."""

    def __init__(self, chance: random.Random, faults: Faults) -> None:
        self.chance = chance
        self.faults = faults
        self.under_way: set[asyncio.Task[Any]] = set()
        self.strays = 0
        """Calls that may have taken effect after their caller was gone."""

    def latency(self) -> float:
        return self.chance.random() ** 3 * self.faults.slow

    async def call(self, process: Process, work: Coroutine[Any, Any, T]) -> T:
        if process.dead:
            work.close()
            await gone()
        task = outside(work)
        self.under_way.add(task)
        task.add_done_callback(self.under_way.discard)
        try:
            answer = await asyncio.shield(task)
        except asyncio.CancelledError:
            if self.chance.random() < 0.5:
                task.cancel()
            self.strays += 1
            raise
        if process.dead:
            await gone()
        return answer


async def gone() -> NoReturn:
    """What a dead process waits for."""
    await asyncio.get_running_loop().create_future()
    raise AssertionError


class Store:
    """One process's connection to the store; see ``headrace.store.Store``."""

    def __init__(self, inner: FakeStore, network: Network, process: Process) -> None:
        self._inner = inner
        self._network = network
        self._process = process

    async def _call(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        return await self._network.call(self._process, self._carry(work))

    async def _carry(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        network, faults = self._network, self._network.faults
        await asyncio.sleep(network.latency())
        how = faults.store.popleft() if faults.store else ""
        if faults.store_down or how == "before":
            raise _store_failed()
        answer = await work()
        if how:
            raise _store_failed()
        await asyncio.sleep(network.latency())
        return answer

    async def ensure_collection(self, collection: str, spec: CollectionSpec) -> None:
        await self._inner.ensure_collection(collection, spec)

    async def collections(self) -> dict[str, CollectionSpec]:
        return await self._inner.collections()

    async def read_states(
        self, collection: str, keys: Sequence[DocumentKey]
    ) -> dict[DocumentKey, StateRecord]:
        return await self._call(lambda: self._inner.read_states(collection, keys))

    async def apply(self, collection: str, operations: Sequence[Operation]) -> None:
        await self._network.call(self._process, self._apply(collection, operations))

    async def _apply(self, collection: str, operations: Sequence[Operation]) -> None:
        network, faults = self._network, self._network.faults
        await asyncio.sleep(network.latency())
        how = faults.store.popleft() if faults.store else ""
        if faults.store_down or how == "before":
            raise _store_failed()
        # A batch is no transaction: others may look and write in between.
        parts = [part for each in operations for part in _parts(each)]
        breaks = network.chance.randint(0, len(parts)) if how == "between" else None
        gaps = network.chance.random() < 0.3
        for number, part in enumerate(parts):
            if number == breaks:
                raise _store_failed()
            await self._inner.apply(collection, [part])
            if gaps:
                await asyncio.sleep(network.latency())
        if how:
            raise _store_failed()
        await asyncio.sleep(network.latency())

    async def count(
        self, collection: str, chunk_set: ChunkSet, *, holes: bool = False
    ) -> int:
        return await self._call(
            lambda: self._inner.count(collection, chunk_set, holes=holes)
        )

    async def read_manifest(
        self, collection: str, chunk_set: ChunkSet
    ) -> Manifest | None:
        return await self._call(
            lambda: self._inner.read_manifest(collection, chunk_set)
        )

    def scroll_states(self, collection: str) -> AsyncIterator[StateRecord]:
        return self._inner.scroll_states(collection)

    def scroll_points(
        self,
        collection: str,
        *,
        key: DocumentKey | None = None,
        with_vectors: bool = False,
    ) -> AsyncIterator[StoredPoint]:
        return self._inner.scroll_points(collection, key=key, with_vectors=with_vectors)

    async def delete_points(self, collection: str, ids: Sequence[str]) -> None:
        await self._call(lambda: self._inner.delete_points(collection, ids))

    async def close(self) -> None:
        """The store belongs to the test."""


def _parts(operation: Operation) -> list[Operation]:
    if isinstance(operation, StoreChunks):
        return [replace(operation, chunks=(chunk,)) for chunk in operation.chunks]
    return [operation]


def _store_failed() -> SharedFailure:
    return SharedFailure("store_unavailable", "failed on command")


class Producer:
    """One process's producer; see ``headrace.handler.Producer``.

    Sends to a partition are appended in the order in which they were started.
    """

    def __init__(
        self, topics: dict[str, FakeBroker], network: Network, process: Process
    ) -> None:
        self._topics = topics
        self._network = network
        self._process = process
        self._last: dict[tuple[str, int], float] = {}

    async def partitions(self, topic: str) -> int:
        return self._topics[topic].counts[topic]

    async def send(
        self,
        topic: str,
        *,
        key: bytes | None,
        value: bytes | None,
        partition: int | None = None,
        spread_by: bytes | None = None,
        headers: Headers = (),
    ) -> OutputPosition:
        broker = self._topics[topic]
        if partition is None:
            spread_by = key if spread_by is None else spread_by
            partition = partition_of(spread_by or b"", broker.counts[topic])
        now = asyncio.get_running_loop().time()
        last = self._last.get((topic, partition), 0.0)
        due = max(now + self._network.latency(), last + 1e-6)
        self._last[topic, partition] = due

        async def carry() -> OutputPosition:
            network, faults = self._network, self._network.faults
            await asyncio.sleep(due - now)
            how = faults.producer.popleft() if faults.producer else ""
            if faults.broker_down or how == "before":
                raise SharedFailure("broker_unavailable", "failed on command")
            sent = broker.produce(
                topic, partition, key=key, value=value, headers=headers
            )
            if how:
                raise SharedFailure("broker_unavailable", "failed, but appended")
            await asyncio.sleep(network.latency())
            return OutputPosition(topic, partition, sent.offset)

        return await self._network.call(self._process, carry())


class Provider:
    """An embeddings API, read by the product's own decoder of answers.

    Each entry of ``Faults.provider`` spoils one call: ``throttled``, ``error``,
    ``hang``, ``refuse``, or an answer that is wrong: ``nan``, ``zero``, ``short``,
    ``few``, ``twice``, ``html``; ``shuffled`` is right, in another order.
    """

    max_texts = 100
    max_tokens = 10**6

    def __init__(
        self, network: Network, process: Process, calls: list[list[str]]
    ) -> None:
        self._network = network
        self._process = process
        self._calls = calls

    async def embed(self, texts: Sequence[str], *, deadline: float) -> list[bytes]:
        self._calls.append(list(texts))
        try:
            async with asyncio.timeout(deadline):
                body = await self._network.call(self._process, self._answer(texts))
        except TimeoutError as error:
            raise Unclear("provider_timeout", f"no answer in {deadline} s") from error
        expected = Expected(len(texts), DIMENSIONS)
        return [
            vector
            for part in answers.decode(body, Encoding.FLOAT, expected)
            for vector in part
        ]

    async def _answer(self, texts: Sequence[str]) -> bytes:
        network, faults = self._network, self._network.faults
        await asyncio.sleep(network.latency())
        how = faults.provider.popleft() if faults.provider else ""
        if faults.provider_down is not None:
            raise faults.provider_down
        if how == "throttled":
            raise SharedFailure("provider_throttled", "status 429", retry_after=0.5)
        if how == "error":
            raise Unclear("provider_failed", "status 500")
        if how == "hang":
            await asyncio.sleep(100)
        if how == "refuse" or any(
            part in text for part in faults.refused for text in texts
        ):
            raise Rejected("rejected_by_provider", "status 400: too long")
        return spoilt(
            how, [{"index": i, "embedding": numbers(t)} for i, t in enumerate(texts)]
        )

    async def close(self) -> None:
        """Nothing is open."""


def spoilt(how: str, data: list[dict[str, Any]]) -> bytes:
    """An answer of an embeddings API, right or wrong."""
    first = data[0]
    match how:
        case "nan":
            # Valid JSON, and infinite in four bytes.
            first["embedding"][0] = 1e300
        case "zero":
            first["embedding"] = [0.0] * DIMENSIONS
        case "short":
            first["embedding"] = first["embedding"][:1]
        case "few":
            data.pop()
        case "twice":
            data[-1]["index"] = 0 if len(data) > 1 else 1
        case "shuffled":
            data.reverse()
        case "html":
            return b"<!doctype html><title>Welcome</title>"
    return json.dumps({"object": "list", "data": data}).encode()


def numbers(text: str) -> list[float]:
    """The vector of a text."""
    vector = np.frombuffer(hash_vector(text, DIMENSIONS), dtype="<f4")
    return [float(number) for number in vector]


class Web:
    """What URLs answer; in the place of ``UrlSource``."""

    def __init__(
        self, pages: dict[str, bytes], network: Network, process: Process
    ) -> None:
        self._pages = pages
        self._network = network
        self._process = process

    async def fetch(self, uri: str, path: Path) -> Fetched:
        async def carry() -> bytes:
            await asyncio.sleep(self._network.latency())
            if self._network.faults.web:
                self._network.faults.web -= 1
                raise DocumentFailure("fetch_failed", "status 503", retryable=True)
            return self._pages[uri]

        data = await self._network.call(self._process, carry())
        return Fetched(size=len(data), name="page.txt", data=data)

    async def close(self) -> None:
        """Nothing is open."""
