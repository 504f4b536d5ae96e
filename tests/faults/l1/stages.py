"""The real stages on simulated ports, put together as their ``app.build`` do."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from headrace_chunker.handler import ChunkerHandler
from headrace_chunker.splitting import split
from headrace_chunker.work import Splitter
from headrace_embedder.breaker import Breaker
from headrace_embedder.cache import CacheKeys
from headrace_embedder.calls import CallLimits, Calls
from headrace_embedder.embedding import Embedding
from headrace_embedder.handler import EmbedderHandler
from headrace_indexer.batch import BatchWriter
from headrace_indexer.completeness import StoredChunks
from headrace_indexer.handler import BatchLimits, IndexerHandler
from headrace_indexer.sweep import Sweep
from headrace_loader.acceptance import Acceptance
from headrace_loader.handler import LoaderHandler
from headrace_loader.loading import Loading, Sources
from headrace_loader.parking import Parking
from headrace_loader.plain_text import plain_text

from headrace import fingerprint
from headrace.clock import Clock
from headrace.control import Control
from headrace.dead_letters import DeadLetterTopics
from headrace.fingerprint import ChunkingSettings, ModelSettings
from headrace.handler import Handler
from headrace.messages import Stage
from headrace.metrics import Metrics
from headrace.retries import Backoff
from headrace.status import StatusTopic
from headrace.store import CollectionSpec
from headrace.topology import Topology
from tests.faults.l1.network import DIMENSIONS, Producer, Provider, Store, Web
from tests.support.chunking import tokenizer
from tests.support.fake_embedding import FakeCache
from tests.support.nothing_parked import NothingParked

MODEL = ModelSettings("hash", "sim", "1", DIMENSIONS)
CHUNKING = ChunkingSettings("cl100k_base", 16, 0, 16, 16, 16)
"""Small, so that short texts have several chunks."""
SPEC = CollectionSpec.of(MODEL)
FINGERPRINT = fingerprint.fingerprint(CHUNKING, MODEL)
NAME = "page.txt"


@dataclass(frozen=True, kw_only=True)
class Ports:
    """What a process is given."""

    topology: Topology
    producer: Producer
    store: Store
    provider: Provider
    web: Web
    clock: Clock
    chance: random.Random


def status_of(ports: Ports, stage: Stage) -> StatusTopic:
    producer: Any = ports.producer
    return StatusTopic(producer, topology=ports.topology, metrics=metrics(stage))


def letters_of(ports: Ports) -> DeadLetterTopics:
    return DeadLetterTopics(ports.producer, topology=ports.topology)


@cache
def metrics(stage: Stage) -> Metrics:
    """One for all processes of a stage: nobody reads them, and they take long."""
    return Metrics(stage)


def build(stage: Stage, ports: Ports) -> Handler:
    """A stage's handler; what it starts belongs to the process that calls this."""
    return _BUILD[stage](ports)


def chunks_of(data: bytes) -> tuple[str, ...]:
    """The chunks of a document: what loader and chunker make of its bytes."""
    return _chunks_of(data)


@cache
def _chunks_of(data: bytes) -> tuple[str, ...]:
    text = plain_text(data, name=NAME, media_type="")
    assert text is not None, "the simulation has no parsers"
    chunks = split(
        text.parts,
        media_type=text.media_type,
        name=NAME,
        settings=CHUNKING,
        tokenizer=tokenizer(CHUNKING.tokenizer),
    )
    return tuple(chunk.text for chunk in chunks)


class _NoFiles:
    """In the place of ``Workspace``: small texts never touch the disk."""

    def file(self) -> Path:
        return Path("/nonexistent/headrace-simulation")

    def remove(self, path: Path) -> None:
        """There is none."""

    def close(self) -> None:
        """Nothing to remove."""


class _NoParsers:
    async def close(self) -> None:
        """None was started."""


def _loader(ports: Ports) -> Handler:
    files: Any = _NoFiles()
    parsers: Any = _NoParsers()
    nothing: Any = None
    web: Any = ports.web
    return LoaderHandler(
        topology=ports.topology,
        fingerprint=FINGERPRINT,
        producer=ports.producer,
        status=status_of(ports, Stage.LOADER),
        clock=ports.clock,
        loading=Loading(
            workspace=files,
            sources=Sources(files=nothing, urls=web, objects=nothing),
            parsers=parsers,
            at_once=4,
            max_bytes=1_000_000,
        ),
        acceptance=Acceptance(ports.store, spec=SPEC),
        objects=nothing,
        parking=Parking(
            topology=ports.topology,
            producer=ports.producer,
            status=status_of(ports, Stage.LOADER),
            clock=ports.clock,
            control=Control,
        ),
        unparking=NothingParked(),
    )


def _chunker(ports: Ports) -> Handler:
    nothing: Any = None
    return ChunkerHandler(
        splitter=Splitter(settings=CHUNKING, tokenizer=tokenizer(CHUNKING.tokenizer)),
        chunker_part=fingerprint.chunker_part(CHUNKING),
        threads=2,
        objects=nothing,
        topology=ports.topology,
        producer=ports.producer,
        status=status_of(ports, Stage.CHUNKER),
        metrics=metrics(Stage.CHUNKER),
        clock=ports.clock,
    )


def _embedder(ports: Ports) -> Handler:
    calls = Calls(
        ports.provider,
        limits=CallLimits(
            calls=2,
            requests_per_minute=0,
            tokens_per_minute=0,
            deadline_s=2.0,
            batch_tokens=10**6,
            batch_min=2,
            batch_max=8,
        ),
        breaker=Breaker(half_open_after=2.0),
        clock=ports.clock,
        metrics=metrics(Stage.EMBEDDER),
        backoff=Backoff(0.2, cap_s=1.0),
        random=ports.chance.random,
    )
    return EmbedderHandler(
        embedding=Embedding(
            calls=calls,
            cache=FakeCache(),
            provider=ports.provider,
            clock=ports.clock,
            metrics=metrics(Stage.EMBEDDER),
            batch_wait_s=0.01,
            batch_deadline_s=5.0,
        ),
        keys=CacheKeys(MODEL, shared=False),
        model_part=fingerprint.model_part(MODEL),
        document_prefix="",
        topology=ports.topology,
        producer=ports.producer,
        status=status_of(ports, Stage.EMBEDDER),
        dead_letters=letters_of(ports),
        metrics=metrics(Stage.EMBEDDER),
        clock=ports.clock,
        worker_version="1",
    )


def _indexer(ports: Ports) -> Handler:
    stored = StoredChunks()
    sweep = Sweep(ports.store, clock=ports.clock, interval_s=20.0)
    return IndexerHandler(
        store=ports.store,
        writer=BatchWriter(ports.store, spec=SPEC, stored=stored, sweep=sweep),
        stored=stored,
        sweeping=asyncio.create_task(sweep.run()),
        status=status_of(ports, Stage.INDEXER),
        metrics=metrics(Stage.INDEXER),
        clock=ports.clock,
        limits=BatchLimits(chunks=8, size=1_000_000, wait_s=0.01, calls=2),
        dimensions=DIMENSIONS,
        model_part=fingerprint.model_part(MODEL),
    )


_BUILD = {
    Stage.LOADER: _loader,
    Stage.CHUNKER: _chunker,
    Stage.EMBEDDER: _embedder,
    Stage.INDEXER: _indexer,
}
