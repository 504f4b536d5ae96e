"""``headrace run`` end to end beside its slowest stage alone: chunks a second of each.

With the local model the slowest stage is the embedder by far, and alone means the same
chunks through the same provider in one process with nothing beside it.

    .venv/bin/python benchmarks/slowest_stage.py --files 40
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from corpus import copy_to
from headrace_embedder.factory import build_provider
from headrace_embedder.settings import ProviderSettings
from headrace_local.data_dir import DataDir
from headrace_local.stack import StackPlan, running_stack

from headrace.qdrant import QdrantStore

DEADLINE_S = 600.0


def run(files: Path, data_dir: Path) -> tuple[int, float]:
    """Chunks and seconds of ``headrace run``, its start and stop not counted."""
    command = [sys.executable, "-m", "headrace_cli", "run", str(files)]
    command += ["--collection", "bench", "--data-dir", str(data_dir), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    answer = json.loads(done.stdout)
    return answer["chunks"], answer["seconds"]


async def texts_of(data_dir: Path) -> list[str]:
    """The chunks that the run has stored."""
    plan = StackPlan(data_dir=DataDir(data_dir), overrides={}, stages=())
    async with running_stack(plan, report=print) as running:
        store = QdrantStore.from_settings(running.settings)
        try:
            points = store.scroll_points("bench")
            return [str(point.payload["text"]) async for point in points]
        finally:
            await store.close()


async def embed(texts: list[str]) -> float:
    """Seconds that the provider takes for the texts, loaded and warm."""
    provider = await build_provider(ProviderSettings())
    try:
        await provider.embed(texts[:1], deadline=DEADLINE_S)
        started = time.monotonic()
        for at in range(0, len(texts), 16):
            await provider.embed(texts[at : at + 16], deadline=DEADLINE_S)
        return time.monotonic() - started
    finally:
        await provider.close()


def main(rounds: int, files: int) -> None:
    """Alternate the two, print each round and the median ratio."""
    ratios = []
    with tempfile.TemporaryDirectory() as scratch:
        everything = Path(scratch) / "all"
        everything.mkdir()
        copy_to(everything, copies=1)
        chosen = Path(scratch) / "files"
        chosen.mkdir()
        paths = sorted(everything.iterdir())
        for path in paths[:: max(1, len(paths) // files)]:
            path.rename(chosen / path.name)
        for number in range(rounds):
            data_dir = Path(scratch) / f"data{number}"
            chunks, seconds = run(chosen, data_dir)
            alone = asyncio.run(embed(asyncio.run(texts_of(data_dir))))
            ratios.append(alone / seconds)
            print(
                f"{chunks} chunks: run {chunks / seconds:.1f} a second, "
                f"model alone {chunks / alone:.1f}, ratio {alone / seconds:.2f}"
            )
    print(f"median ratio {statistics.median(ratios):.2f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--files", type=int, default=40)
    arguments = parser.parse_args()
    main(arguments.rounds, arguments.files)
