"""``headrace doctor``: one check after the other, each with what to do."""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from headrace_embedder.factory import build_provider
from headrace_embedder.settings import ProviderSettings

from headrace.kafka_clients import admin_client, sender
from headrace.objects import Objects
from headrace.process import load_settings
from headrace.qdrant import QdrantStore
from headrace.settings import Settings
from headrace.spelling import misspelt
from headrace_cli.checking_database import Replicas, look
from headrace_cli.failures import EXIT_FAILED, EXIT_OK, CommandFailed
from headrace_cli.opening import Needs, Pipeline, opened
from headrace_cli.output import Output
from headrace_cli.performing import explained
from headrace_cli.readiness import readiness
from headrace_cli.topic_work import problems_of_topics

_FREE_BYTES = 2 * 1024**3
_SKEW_S = 5.0
_DEADLINE_S = 60.0
_CHECK_S = 90.0


@dataclass(frozen=True, slots=True)
class Check:
    """What was looked at, and what it came to."""

    name: str
    ok: bool
    detail: str
    advice: str = ""


async def check_everything(
    *, data_dir: Path, replicas: Replicas, output: Output
) -> int:
    """Check, print; the exit code."""
    checks = [
        _spelling(),
        await _guarded("disk", lambda: _disk(data_dir)),
        await _guarded("model", _model),
        await _guarded("database", lambda: _database(data_dir, replicas)),
    ]
    try:
        needs = Needs(broker=True, store=True)
        async with opened(data_dir, needs, output) as pipeline:
            settings = pipeline.settings
            checks += [
                await _guarded("broker", lambda: _broker(settings)),
                await _guarded("topics", lambda: _topics(settings)),
                await _guarded("clock", lambda: _clock(settings)),
                await _guarded("store", lambda: _store(settings)),
                await _guarded("objects", lambda: _objects(settings)),
            ]
            checks += await _parts(pipeline)
    except CommandFailed as failure:
        checks.append(Check("pipeline", False, failure.message, failure.advice))
    output.table(
        ["check", "", "detail"],
        [(each.name, "ok" if each.ok else "FAILED", each.detail) for each in checks],
    )
    for each in checks:
        if not each.ok and each.advice:
            output.text(f"{each.name}: {each.advice}")
    healthy = all(each.ok for each in checks)
    output.answer({"ok": healthy, "checks": [asdict(each) for each in checks]})
    return EXIT_OK if healthy else EXIT_FAILED


async def _guarded(name: str, check: Callable[[], Awaitable[Check]]) -> Check:
    """A check that cannot end the others."""
    try:
        async with asyncio.timeout(_CHECK_S):
            return await check()
    except TimeoutError:
        return Check(name, False, f"no answer within {_CHECK_S:.0f} s")
    except Exception as error:
        failure = explained(error)
        if failure is None:
            raise
        return Check(name, False, failure.message, failure.advice)


def _spelling() -> Check:
    """Never a failure: an unknown variable may be another version's."""
    found = misspelt(os.environ)
    doubts = [f"{name} is not read; {meant} is" for name, meant in found.items()]
    return Check("settings", True, "; ".join(doubts) or "no name looks misspelt")


async def _disk(data_dir: Path) -> Check:
    return await asyncio.to_thread(_free_space, data_dir)


def _free_space(data_dir: Path) -> Check:
    data_dir = data_dir.absolute()
    existing = next(each for each in (data_dir, *data_dir.parents) if each.exists())
    free = shutil.disk_usage(existing).free
    return Check(
        "disk",
        free >= _FREE_BYTES,
        f"{free / 1024**3:.1f} GiB free at {existing}",
        "make room, or choose another --data-dir",
    )


async def _model() -> Check:
    settings = load_settings(ProviderSettings)
    model = settings.model
    provider = await build_provider(settings)
    try:
        vectors = await provider.embed(["a mill wheel"], deadline=_DEADLINE_S)
    finally:
        await provider.close()
    dimensions = len(vectors[0]) // 4
    return Check(
        "model",
        dimensions == model.dimensions,
        f"{model.provider} {model.model} gives {dimensions} dimensions, "
        f"{model.dimensions} are set",
        "set HEADRACE_EMBEDDING_DIMENSIONS to what the model gives",
    )


async def _database(data_dir: Path, replicas: Replicas) -> Check:
    found = await look(data_dir, replicas)
    return Check("database", found.enough, found.detail, found.advice)


async def _broker(settings: Settings) -> Check:
    async with admin_client(settings) as admin:
        cluster = await admin.describe_cluster()
    return Check(
        "broker",
        True,
        f"{len(cluster['brokers'])} at {settings.kafka_bootstrap_servers}",
    )


async def _topics(settings: Settings) -> Check:
    problems = await problems_of_topics(settings)
    return Check(
        "topics",
        not problems,
        "; ".join(problems) or "all there, as they should be",
        "`headrace topics apply` makes what is missing",
    )


async def _clock(settings: Settings) -> Check:
    """Ask the broker for its time, by a record that everybody ignores."""
    async with sender(settings) as out:
        before = time.time()
        sent = await (
            await out.start(settings.topology.heartbeats, key=b"doctor", value=None)
        )
        after = time.time()
    if sent.timestamp_type != 1:
        return Check(
            "clock",
            False,
            f"{settings.topology.heartbeats} does not keep the broker's time",
            "set message.timestamp.type=LogAppendTime on it",
        )
    broker = sent.timestamp / 1000
    skew = max(before - broker, broker - after, 0.0)
    return Check(
        "clock",
        skew <= _SKEW_S,
        f"{skew:.1f} s between this machine and the broker",
        "set both by NTP; ages and times would be wrong by as much",
    )


async def _store(settings: Settings) -> Check:
    store = QdrantStore.from_settings(settings)
    try:
        collections = await store.collections()
    finally:
        await store.close()
    wanted = settings.embedding_dimensions
    other = [
        f"{name} ({spec.model}, {spec.dimensions})"
        for name, spec in sorted(collections.items())
        if (spec.model, spec.dimensions) != (settings.embedding_model, wanted)
    ]
    detail = f"{len(collections)} collections at {settings.qdrant_url}"
    if other:
        detail += f"; made with another model than is set: {', '.join(other)}"
    return Check(
        "store",
        not other,
        detail,
        "set HEADRACE_EMBEDDING_MODEL and _DIMENSIONS to theirs, or reindex them",
    )


async def _objects(settings: Settings) -> Check:
    objects = Objects.from_settings(settings)
    key = "doctor/default/check"
    await objects.put(key, b"check")
    await objects.delete(key)
    return Check("objects", True, f"{settings.object_store_url} can be written")


async def _parts(pipeline: Pipeline) -> list[Check]:
    """Readiness of the stages and services whose probes we know."""
    checks: list[Check] = []
    for part, address in (pipeline.probes or {}).items():
        ready = await readiness(address)
        checks.append(Check(part, ready == "yes", f"ready: {ready}", "see its log"))
    return checks
