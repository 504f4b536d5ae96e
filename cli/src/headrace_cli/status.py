"""``headrace status``: how far the stages are behind, and documents by state."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from headrace.group_offsets import all_offsets
from headrace.kafka_clients import reader
from headrace.messages import Stage
from headrace.open_letters import open_letters
from headrace.settings import Settings
from headrace.status import status_of
from headrace.verify import PartitionOffsets
from headrace_cli.failures import EXIT_OK
from headrace_cli.opening import Needs, Pipeline, opened
from headrace_cli.output import Output
from headrace_cli.overview import Overview
from headrace_cli.readiness import pauses, readiness

_EVERY_S = 2.0


async def show_status(*, data_dir: Path, watch: bool, output: Output) -> int:
    """Print it once, or for ever; the exit code."""
    async with opened(data_dir, Needs(broker=True), output) as pipeline:
        while True:
            answer = await read_status(pipeline)
            _print(answer, output)
            output.answer(answer)
            if not watch:
                return EXIT_OK
            await asyncio.sleep(_EVERY_S)


async def read_status(pipeline: Pipeline) -> dict[str, Any]:
    """Everything that the command shows."""
    settings = pipeline.settings
    overview = Overview()
    async with reader(settings, settings.topology.status) as status:
        async for record in status.all_so_far():
            if (event := status_of(record)) is not None:
                overview.accept(event)
    oldest = overview.oldest_on_the_way(round(time.time() * 1000))
    letters = await open_letters(settings)
    return {
        "stages": await _stages(settings, pipeline.probes or {}),
        "services": await _services(pipeline.probes or {}),
        "gateway": pipeline.gateway,
        "documents": dict(sorted(overview.documents.items())),
        "oldest": None
        if oldest is None
        else {"document": str(oldest[0]), "age_seconds": round(oldest[1], 1)},
        "dead_letters": len(letters),
    }


async def _stages(
    settings: Settings, probes: Mapping[str, str]
) -> dict[str, dict[str, Any]]:
    offsets = await all_offsets(settings)
    stages: dict[str, dict[str, Any]] = {}
    for stage in Stage:
        own = [each for each in offsets if each.stage is stage]
        stages[stage] = {
            "lag": _lag(own),
            "bulk_lag": _lag([each for each in own if ".bulk." in each.topic]),
            "partitions_with_lag": sum(_lag([each]) > 0 for each in own),
            "waits_for": await pauses(probes[stage]) if stage in probes else [],
            "ready": await readiness(probes[stage]) if stage in probes else "unknown",
        }
    return stages


async def _services(probes: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Gateway and registry, where they run beside the stages."""
    return {
        name: {"ready": await readiness(address)}
        for name, address in probes.items()
        if name not in set(Stage)
    }


def _lag(offsets: Sequence[PartitionOffsets]) -> int:
    return sum(
        each.end - max(each.begin, each.committed or 0)
        for each in offsets
        if each.end > max(each.begin, each.committed or 0)
    )


def _print(answer: Mapping[str, Any], output: Output) -> None:
    output.table(
        ["stage", "#lag", "#of it bulk", "#partitions with lag", "ready", "waits for"],
        [
            (
                name,
                stage["lag"],
                stage["bulk_lag"],
                stage["partitions_with_lag"],
                stage["ready"],
                ", ".join(stage["waits_for"]),
            )
            for name, stage in answer["stages"].items()
        ],
    )
    for name, service in answer["services"].items():
        where = f" at {answer['gateway']}" if name == "gateway" else ""
        output.text(f"{name}{where}, ready: {service['ready']}")
    output.text()
    states = [f"{count} {state}" for state, count in answer["documents"].items()]
    output.text(f"documents: {', '.join(states) or 'none yet'}")
    if answer["oldest"]:
        oldest = answer["oldest"]
        output.text(
            f"oldest on the way: {oldest['document']}, {oldest['age_seconds']:.0f} s"
        )
    output.text(f"open dead letters: {answer['dead_letters']}")
