"""kill -9 of every stage, again and again, in the middle of a load that changes.

Documents are made, updated, shrunk and deleted in both lanes while the stages die; at
the end each must be at its newest event, whole, once, and nothing else may be left.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer
from headrace_cli.verifying import KafkaReaders
from headrace_local.data_dir import DataDir
from headrace_local.stack import RunningStack, StackPlan, running_stack

from headrace.group_offsets import all_offsets
from headrace.identity import DocumentKey
from headrace.messages import DocumentEvent, Lane, Operation, Stage
from headrace.qdrant import QdrantStore
from headrace.settings import Settings
from headrace.verify import Oracle
from headrace.wire import encode_event
from tests.support.eventually import eventually

DOCUMENTS = int(os.environ.get("HEADRACE_KILL_DOCUMENTS", "2000"))
KILLS_OF_EACH_STAGE = 3
COLLECTION = "kills"
SETTINGS = {
    "embedding_provider": "hash",
    "embedding_dimensions": 16,
    "tokenizer": "cl100k_base",
    "chunk_prose_tokens": 32,
    "chunk_prose_overlap": 0,
    "chunk_whole_tokens": 32,
}


@dataclass(slots=True)
class Upstream:
    """A producer that remembers what each document must be in the end."""

    producer: AIOKafkaProducer
    settings: Settings
    random: random.Random
    expected: dict[DocumentKey, str | None] = field(default_factory=dict)
    sent_at: dict[DocumentKey, int] = field(default_factory=dict)

    async def upsert(self, key: DocumentKey, version: int, paragraphs: int) -> None:
        text = "\n\n".join(
            f"Document {key.document_id} says in version {version}, paragraph "
            f"{number}: {self.random.getrandbits(256):064x} and no more than that."
            for number in range(paragraphs)
        )
        await self._send(DocumentEvent(key=key, inline=text.encode()), text)

    async def delete(self, key: DocumentKey) -> None:
        await self._send(DocumentEvent(key=key, operation=Operation.DELETE), None)

    async def _send(self, event: DocumentEvent, text: str | None) -> None:
        lane = self.random.choice(list(Lane))
        topic = self.settings.topology.inputs(Stage.LOADER)[lane]
        key = event.key
        # Events of one document are milliseconds apart, as the order across lanes is
        # that of the broker's clock.
        while True:
            sent = await self.producer.send_and_wait(
                topic, encode_event(event), key=key.record_key
            )
            if sent.timestamp > self.sent_at.get(key, 0):
                break
        self.sent_at[key] = sent.timestamp
        self.expected[key] = text


async def lag(settings: Settings) -> int:
    """Records that no stage has committed yet."""
    return sum(
        each.end - max(each.begin, each.committed or 0)
        for each in await all_offsets(settings)
    )


async def load(upstream: Upstream, enough: asyncio.Event) -> None:
    """Make every document, change some meanwhile, and go on changing until enough."""
    keys = [
        DocumentKey("default", COLLECTION, f"document/{number}")
        for number in range(DOCUMENTS)
    ]
    for number, key in enumerate(keys):
        await upstream.upsert(key, 1, upstream.random.randint(1, 5))
        if number >= 20 and number % 3 == 0:
            await change(upstream, keys[upstream.random.randrange(number - 10)])
    while not enough.is_set():
        for key in upstream.random.sample(keys, 20):
            await change(upstream, key)
        await eventually(lambda: few_waiting(upstream.settings), patience_s=120)


async def change(upstream: Upstream, key: DocumentKey) -> None:
    """Update, shrink or delete a document."""
    chance = upstream.random.random()
    if chance < 0.25:
        await upstream.delete(key)
        return
    paragraphs = 1 if chance < 0.6 else upstream.random.randint(2, 6)
    await upstream.upsert(key, upstream.random.randrange(10**6), paragraphs)


async def few_waiting(settings: Settings) -> bool:
    """Whether the stages have nearly caught up."""
    return await lag(settings) < 100


async def kill_stages(running: RunningStack, ready_again: Counter[str]) -> None:
    """Kill every stage three times while there is work for it."""
    pids = {part.name: part.process for part in running.supervisor.parts}
    for turn in range(1, KILLS_OF_EACH_STAGE + 1):
        for stage in Stage:
            before = await lag(running.settings)
            await eventually(lambda before=before: moved(running.settings, before))
            os.kill(pids[stage].pid, signal.SIGKILL)
            await eventually(lambda stage=stage, turn=turn: ready_again[stage] >= turn)


async def moved(settings: Settings, before: int) -> bool:
    """Whether the lag is another one than before."""
    return await lag(settings) != before


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_nothing_is_lost_and_nothing_is_twice(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seed = int(os.environ.get("HEADRACE_KILL_SEED") or random.randrange(10**6))
    with capsys.disabled():
        sys.stdout.write(f"\nHEADRACE_KILL_SEED={seed}\n")
    ready_again: Counter[str] = Counter()

    def report(name: str, what: str) -> None:
        sys.stdout.write(f"{name} {what}\n")
        ready_again[name] += what == "is ready again"

    plan = StackPlan(data_dir=DataDir(tmp_path), overrides=SETTINGS)
    async with running_stack(plan, report=report) as running:
        settings = running.settings
        expected = await load_and_kill(running, ready_again, seed)
        await eventually(lambda: drained(settings), patience_s=300)
        store = QdrantStore.from_settings(settings)
        try:
            readers = KafkaReaders(settings)
            verified = await Oracle(
                store, offsets=readers, letters=readers, statuses=readers
            ).verify()
            assert not verified.findings
            await assert_newest(store, expected)
        finally:
            await store.close()


async def drained(settings: Settings) -> bool:
    """Whether every stage has committed everything."""
    return await lag(settings) == 0


async def load_and_kill(
    running: RunningStack, ready_again: Counter[str], seed: int
) -> dict[DocumentKey, str | None]:
    """Send everything while the stages die; what each document must be then."""
    settings = running.settings
    producer = AIOKafkaProducer(
        bootstrap_servers=settings.kafka_bootstrap_servers,
        acks="all",
        enable_idempotence=True,
    )
    async with producer:
        upstream = Upstream(producer, settings, random.Random(seed))
        enough = asyncio.Event()
        loading = asyncio.create_task(load(upstream, enough))
        try:
            await kill_stages(running, ready_again)
            enough.set()
            await loading
        finally:
            loading.cancel()
    return upstream.expected


async def assert_newest(
    store: QdrantStore, expected: dict[DocumentKey, str | None]
) -> None:
    """Every document's live points are its newest text, each part once."""
    texts: dict[str, list[tuple[int, str]]] = {}
    async for point in store.scroll_points(COLLECTION):
        assert point.payload["live"] == "yes", point.payload
        part = (point.payload["start"], point.payload["text"])
        texts.setdefault(point.payload["document_id"], []).append(part)
    wrong = {}
    for key, text in expected.items():
        parts = sorted(texts.pop(key.document_id, []))
        found = "".join(part for _, part in parts)
        # White space between chunks is in no chunk.
        if "".join(found.split()) != "".join((text or "").split()):
            wrong[key.document_id] = (text, found)
    assert not wrong
    assert not texts
