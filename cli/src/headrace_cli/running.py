"""``headrace run``: a stack, a job, a summary."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil
from headrace_local.data_dir import DataDir
from headrace_local.services import Service
from headrace_local.stack import RunningStack, StackPlan, running_stack

from headrace.messages import State
from headrace.open_letters import open_letters
from headrace_cli.failures import EXIT_FAILED, EXIT_OK
from headrace_cli.ingesting import Ingested, Ingestion, find, ingest
from headrace_cli.opening import Pipeline
from headrace_cli.output import Output
from headrace_cli.points import visible_points
from headrace_cli.progress import shown_progress

_LONG_S = 10.0
"""A run that is over before has no use for gateway and registry: whoever asks later
for its documents catches up with what the stages said."""


async def run_job(
    ingestion: Ingestion,
    *,
    data_dir: Path,
    overrides: Mapping[str, Any],
    output: Output,
) -> int:
    """Start, ingest, wait, stop, report; the exit code."""
    ingestion.job()
    collected = await asyncio.to_thread(find, ingestion)
    for skipped in collected.skipped:
        output.note(f"skipped {skipped.path}: {skipped.reason}")
    plan = StackPlan(
        data_dir=DataDir(data_dir),
        overrides=overrides,
        file_roots=collected.roots,
        services=tuple(Service),
        later=tuple(Service),
        later_after_s=_LONG_S,
    )

    def report(part: str, what: str) -> None:
        output.note(f"the {part} {what}")

    output.note(f"starting Kafka, the store and six services on {data_dir}")
    async with running_stack(plan, report=report) as running:
        pipeline = Pipeline(
            settings=running.settings, file_roots=plan.file_roots, probes=running.probes
        )
        with shown_progress(output) as show:
            ingested = await running.supervisor.while_running(
                ingest(ingestion, collected, pipeline, changed=show, note=output.note)
            )
        answer = await _answer(ingested, running)
    _print(ingested, answer, output)
    output.answer(answer)
    return EXIT_FAILED if ingested.failures else EXIT_OK


async def _answer(ingested: Ingested, running: RunningStack) -> dict[str, Any]:
    """What the whole came to, read while the stack still runs."""
    outcomes = ingested.outcomes
    counts = outcomes.counts
    keys = {*outcomes.final, *outcomes.waiting}
    letters = await open_letters(running.settings)
    running.supervisor.sample()
    return {
        "job": ingested.job.id,
        "collection": ingested.job.collection,
        "accepted": ingested.accepted,
        "indexed": counts[State.INDEXED],
        "indexed_with_errors": counts[State.INDEXED_WITH_ERRORS],
        "unchanged": counts[State.UNCHANGED],
        "superseded": counts[State.SUPERSEDED],
        "deleted": counts[State.DELETED],
        "failed": [failure.as_dict() for failure in ingested.failures],
        "skipped": ingested.skipped,
        "dead_letters": sum(each.letter.key in keys for each in letters),
        "chunks": outcomes.chunks,
        "tokens": outcomes.tokens,
        "points": await visible_points(running.settings, ingested.job.collection),
        "seconds": round(ingested.seconds, 3),
        "stages": outcomes.stage_summaries(),
        "peak_memory_mb": _peak_memory_mb(running),
        "restarts": dict(running.supervisor.restarts),
    }


def _peak_memory_mb(running: RunningStack) -> int:
    own = int(psutil.Process(os.getpid()).memory_info().rss)
    return round((running.supervisor.peak_memory + own) / 2**20)


def _print(ingested: Ingested, answer: Mapping[str, Any], output: Output) -> None:
    failures = ingested.failures
    if failures:
        output.text("Failed:")
        output.table(
            ["document", "why", "what to do"],
            [
                (each.id, f"{each.code}: {each.message}", each.advice)
                for each in failures
            ],
        )
        output.text()
    output.table(
        ["stage", "#documents", "#chunks", "#working s", "#waiting s"],
        [
            (
                name,
                stage["documents"],
                stage["chunks"],
                f"{stage['working_seconds']:.2f}",
                f"{stage['waiting_seconds']:.2f}",
            )
            for name, stage in answer["stages"].items()
        ],
    )
    output.text()
    parts = [
        f"{answer['accepted']} documents: {answer['indexed']} indexed",
        f"{answer['unchanged']} unchanged",
    ]
    rare = ("indexed_with_errors", "superseded", "deleted")
    parts += [
        f"{answer[name]} {name.replace('_', ' ')}" for name in rare if answer[name]
    ]
    parts.append(f"{len(answer['failed'])} failed")
    output.text(", ".join(parts))
    output.text(
        f"{answer['chunks']} chunks with {answer['tokens']} tokens in "
        f"{answer['seconds']:.1f} s; {answer['points']} points in "
        f"{answer['collection']}; {answer['peak_memory_mb']} MB at most, all processes"
    )
    if ingested.elsewhere:
        output.note(
            f"{ingested.elsewhere} documents of the collection came from elsewhere and "
            "were left alone"
        )
