"""What a 10 MB text and a 10 MB PDF cost: CPU, memory of the services, held loops.

    .venv/bin/python benchmarks/large_files.py

The loader's CPU includes its parser children; memory growth is that of the service
processes themselves. Held is the longest stretch of CPU for which a service's event
loop could do nothing else, as the services measure it.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import random
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import psutil
from headrace_cli.ingesting import Ingestion, find, ingest
from headrace_cli.opening import Pipeline
from headrace_local.data_dir import DataDir
from headrace_local.stack import RunningStack, StackPlan, running_stack
from usage import cpu_seconds

from headrace.messages import Stage

sys.path.insert(0, str(Path(__file__).parent.parent / "examples"))
from make_documents import pdf

SIZE = 10_000_000
WORDS = (
    *("water", "wheel", "gate", "sluice", "channel", "level", "pressure", "flow"),
    *("stone", "grain", "miller", "season", "repair", "oak", "iron", "bearing"),
    *("flood", "drought", "record", "measure", "the", "of", "and", "a", "in", "to"),
    *("is", "was", "for", "with", "on", "by", "at", "from", "before", "after"),
)


def lines(seed: int) -> Iterator[str]:
    """Sentences without end, the same for the same seed."""
    chance = random.Random(seed)
    while True:
        words = chance.choices(WORDS, k=12)
        yield f"{' '.join(words).capitalize()} {chance.randrange(10**6)}."


def text_file(folder: Path) -> Path:
    """A text of 10 MB in paragraphs."""
    path = folder / "large.txt"
    source = lines(1)
    with path.open("w") as file:
        while file.tell() < SIZE:
            file.write(" ".join(itertools.islice(source, 6)) + "\n\n")
    return path


def pdf_file(folder: Path) -> Path:
    """A PDF of 10 MB, about 45 lines a page."""
    path = folder / "large.pdf"
    source = lines(2)
    one = pdf([list(itertools.islice(source, 45)) for _ in range(100)])
    pages = SIZE * 100 // len(one)
    path.write_bytes(pdf([list(itertools.islice(source, 45)) for _ in range(pages)]))
    return path


@dataclass(slots=True)
class Watch:
    """One service while a file goes through."""

    process: psutil.Process
    cpu: float
    memory: int
    peak: int = 0


async def measure(running: RunningStack, path: Path) -> None:
    """Index one file and print what it cost."""
    stages = {
        part.name: psutil.Process(part.process.pid)
        for part in running.supervisor.parts
        if part.name in set(Stage)
    }
    watches = {
        name: Watch(process, cpu_seconds(process), process.memory_info().rss)
        for name, process in stages.items()
    }

    async def sample() -> None:
        while True:
            for watch in watches.values():
                watch.peak = max(watch.peak, watch.process.memory_info().rss)
            await asyncio.sleep(0.02)

    sampling = asyncio.create_task(sample())
    ingestion = Ingestion(
        names=[str(path)], collection="large", tenant="default", lane="bulk"
    )
    pipeline = Pipeline(
        settings=running.settings, file_roots=[path.parent], probes=running.probes
    )
    result = await ingest(ingestion, find(ingestion), pipeline)
    sampling.cancel()
    if result.failures:
        sys.exit(f"{path.name}: {result.failures}")
    size = path.stat().st_size / 1e6
    sys.stdout.write(f"{path.name}: {size:.1f} MB, {result.outcomes.chunks} chunks\n")
    for name, watch in watches.items():
        used = cpu_seconds(watch.process) - watch.cpu
        grown = (watch.peak - watch.memory) / 2**20
        held = await longest_hold(running.probes[name])
        sys.stdout.write(
            f"  {name:9} {used:6.2f} s CPU   {grown:6.1f} MB more   "
            f"loop held {held * 1000:5.1f} ms at most\n"
        )


async def longest_hold(address: str) -> float:
    """What the service says of its event loop."""
    url = f"http://{address}/metrics"
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        text = await response.text()
    for line in text.splitlines():
        if line.startswith("headrace_event_loop_held_seconds_max"):
            return float(line.split()[-1])
    sys.exit(f"{url} does not tell how long the loop was held")


async def main(rounds: int) -> None:
    """Both files, after a small one that loads what is loaded lazily."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        small = folder / "small.txt"
        small.write_text("A small document, so that everything is loaded.\n")
        files = [small, text_file(folder), pdf_file(folder)]
        plan = StackPlan(
            data_dir=DataDir(folder / "data"),
            overrides={
                "embedding_provider": "hash",
                "embedding_dimensions": 64,
                "tokenizer": "cl100k_base",
                "chunk_prose_tokens": 512,
                "chunk_prose_overlap": 0,
            },
            file_roots=[folder],
        )
        async with running_stack(plan, report=print) as running:
            for _ in range(rounds):
                for path in files:
                    await measure(running, path)
                    with path.open("ab") as file:
                        file.write(b"\n")  # another content, so not unchanged


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=1)
    asyncio.run(main(parser.parse_args().rounds))
