"""CPU per 512-token chunk of each stage and in all, beside the floor of the same run.

Both pipelines index the same files (``corpus.py``) over the same broker and the same
provider stub, one after the other, several times. Only the CPU of the stages counts
(user and system, children included, after they are ready); broker, provider and store
run beside them and are not counted.

    .venv/bin/python benchmarks/pipeline.py --rounds 5
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from corpus import copy_to
from headrace_cli.ingesting import Ingested, Ingestion, find, ingest
from headrace_cli.opening import Pipeline
from headrace_local.broker import Broker
from headrace_local.data_dir import DataDir
from headrace_local.processes import free_port
from headrace_local.stack import StackPlan, running_stack
from usage import cpu_seconds

HERE = Path(__file__).parent
STAGES = ("load", "chunk", "embed", "index")
PARTITIONS = 3


@asynccontextmanager
async def program(*command: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A process that ends with the block."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, *command, cwd=HERE, stdout=asyncio.subprocess.PIPE
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def listening(port: int) -> None:
    """Wait until something accepts connections on the port."""
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.05)
        else:
            writer.close()
            return


async def floor(
    servers: str, provider: str, store: str, prefix: str, files: Path
) -> dict[str, float]:
    """Microseconds of CPU per chunk by stage, with bare clients."""
    admin = AIOKafkaAdminClient(bootstrap_servers=servers)
    await admin.start()
    try:
        await admin.create_topics(
            [
                NewTopic(
                    f"{prefix}.{noun}",
                    PARTITIONS,
                    1,
                    topic_configs={"max.message.bytes": str(2 * 1024 * 1024)},
                )
                for noun in ("texts", "chunks", "vectors")
            ]
        )
    finally:
        await admin.close()
    common = ["--servers", servers, "--prefix", prefix, "--provider", provider]
    common += ["--store", store, "--folder", str(files)]
    results: dict[str, dict[str, float]] = {}

    async def stage(name: str) -> None:
        async with program("floor.py", name, *common) as process:
            out, _ = await process.communicate()
            results[name] = json.loads(out)

    await asyncio.gather(*(stage(name) for name in STAGES))
    chunks = results["index"]["count"]
    figures = {name: results[name]["cpu"] / chunks * 1e6 for name in STAGES}
    return figures | {"total": sum(figures.values()), "chunks": chunks}


async def product(servers: str, provider: str, files: Path) -> dict[str, float]:
    """Microseconds of CPU per chunk by stage, of Headrace itself."""
    os.environ["KAFKA_BOOTSTRAP_SERVERS"] = servers
    os.environ["OPENAI_BASE_URL"] = f"{provider}/v1"
    os.environ["OPENAI_API_KEY"] = "none"
    prefix = f"bench{time.monotonic_ns()}"
    overrides = {
        "topic_prefix": prefix,
        "partitions": PARTITIONS,
        "document_partitions": PARTITIONS,
        "embedding_provider": "openai",
        "embedding_model": "stub",
        "embedding_dimensions": 1536,
        "tokenizer": "cl100k_base",
        "chunk_prose_tokens": 512,
        "chunk_prose_overlap": 0,
        "chunk_code_tokens": 512,
        "chunk_table_tokens": 512,
        "chunk_whole_tokens": 512,
    }
    with tempfile.TemporaryDirectory() as scratch:
        plan = StackPlan(
            data_dir=DataDir(Path(scratch)),
            overrides=overrides,
            file_roots=[files],
        )
        async with running_stack(plan, report=print) as running:
            stages = {
                str(part.name): psutil.Process(part.process.pid)
                for part in running.supervisor.parts
                if part.name in ("loader", "chunker", "embedder", "indexer")
            }
            pipeline = Pipeline(
                settings=running.settings,
                file_roots=plan.file_roots,
                probes=running.probes,
            )

            async def index(name: Path) -> Ingested:
                ingestion = Ingestion(
                    names=[str(name)],
                    collection="bench",
                    tenant="default",
                    lane="bulk",
                )
                return await ingest(ingestion, find(ingestion), pipeline)

            await index(next(files.iterdir()))  # loads what is loaded lazily
            before = {name: cpu_seconds(process) for name, process in stages.items()}
            result = await index(files)
            after = {name: cpu_seconds(process) for name, process in stages.items()}
            if result.failures:
                sys.exit(f"not everything was indexed: {result.failures}")
    figures = {
        name: (after[name] - before[name]) / result.outcomes.chunks * 1e6
        for name in stages
    }
    return figures | {"total": sum(figures.values()), "chunks": result.outcomes.chunks}


async def main(rounds: int, *, copies: int, only_floor: bool) -> None:
    """Alternate floor and product, print medians and the ratio."""
    provider_port, store_port = free_port(), free_port()
    results: dict[str, list[dict[str, float]]] = {"floor": [], "headrace": []}
    with tempfile.TemporaryDirectory() as scratch:
        files = Path(scratch) / "files"
        files.mkdir()
        copy_to(files, copies=copies)
        broker = Broker(data_dir=Path(scratch) / "broker")
        await broker.start()
        try:
            async with (
                program("stub_provider.py", "--port", str(provider_port)),
                program("stub_store.py", "--port", str(store_port)),
            ):
                await asyncio.gather(listening(provider_port), listening(store_port))
                servers = broker.bootstrap_servers
                provider = f"http://127.0.0.1:{provider_port}"
                store = f"127.0.0.1:{store_port}"
                for number in range(rounds):
                    result = await floor(
                        servers, provider, store, f"floor{number}", files
                    )
                    results["floor"].append(result)
                    if not only_floor:
                        results["headrace"].append(
                            await product(servers, provider, files)
                        )
        finally:
            await broker.stop()
    medians = {}
    for name, rows in results.items():
        for row in rows:
            print(name, {key: round(value) for key, value in row.items()})
        if rows:
            medians[name] = {
                key: statistics.median(row[key] for row in rows) for key in rows[0]
            }
            print("median", name, {k: round(v) for k, v in medians[name].items()})
    if len(medians) > 1:
        ratio = medians["floor"]["total"] / medians["headrace"]["total"]
        print(f"floor / headrace = {ratio:.2f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--copies", type=int, default=4)
    parser.add_argument("--only-floor", action="store_true")
    arguments = parser.parse_args()
    asyncio.run(
        main(arguments.rounds, copies=arguments.copies, only_floor=arguments.only_floor)
    )
