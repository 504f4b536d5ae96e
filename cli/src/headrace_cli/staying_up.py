"""``headrace up``: runs the stack until somebody stops it."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from headrace_local.data_dir import DataDir
from headrace_local.services import Service
from headrace_local.stack import StackPlan, running_stack

from headrace_cli.failures import EXIT_OK
from headrace_cli.output import Output


async def stay_up(
    *,
    data_dir: Path,
    file_roots: Sequence[Path],
    overrides: Mapping[str, Any],
    output: Output,
) -> int:
    """Start everything, say where it is, wait for a signal; the exit code."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    plan = StackPlan(
        data_dir=DataDir(data_dir),
        overrides=overrides,
        file_roots=file_roots,
        services=tuple(Service),
        later=(Service.REGISTRY,),
    )

    def report(part: str, what: str) -> None:
        output.note(f"the {part} {what}")

    output.note(f"starting Kafka, the store and six services on {data_dir}")
    async with running_stack(plan, report=report) as running:
        for name in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(name, stopped.set)
        settings = running.settings
        output.text(f"API      {running.gateway}")
        output.text(f"Kafka    {settings.kafka_bootstrap_servers}")
        output.text(f"Qdrant   {settings.qdrant_url}")
        for part, address in running.probes.items():
            output.text(f"{part:<8} http://{address}/metrics")
        output.text(f"logs     {data_dir / 'logs'}")
        output.text("ready; try")
        output.text(
            f"  curl -F collection=NAME -F file=@FILE {running.gateway}/v1/documents"
        )
        output.text(f"  headrace ingest FILE -c NAME -d {data_dir} --wait")
        output.answer(
            {
                "ready": True,
                "gateway": running.gateway,
                "kafka": settings.kafka_bootstrap_servers,
                "qdrant": settings.qdrant_url,
                "probes": dict(running.probes),
                "data_dir": str(data_dir),
            }
        )
        await running.supervisor.while_running(_wait(stopped))
        output.note("stopping")
    return EXIT_OK


async def _wait(stopped: asyncio.Event) -> None:
    await stopped.wait()
