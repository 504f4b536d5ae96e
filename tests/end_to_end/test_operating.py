"""What operators do through the gateway, by command, before a real stack."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from headrace_local.data_dir import DataDir
from headrace_local.stack import StackPlan, running_stack

from headrace.client import HeadraceClient
from headrace.database.engine import Database, upgrade
from headrace.database.key_store import KeyStore
from headrace.database.keys import Scope
from headrace.database.settings import DatabaseSettings
from headrace.messages import Stage
from tests.support.cli import command, environment
from tests.support.eventually import eventually
from tests.support.service_process import ServiceProcess, ended, environment_of

SETTINGS = {
    "embedding_provider": "hash",
    "embedding_dimensions": 16,
    "tokenizer": "cl100k_base",
}

pytestmark = [
    pytest.mark.kafka,
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.asyncio(loop_scope="module"),
]


@dataclass(frozen=True)
class Pipeline:
    """A stack with gateway and registry."""

    url: str
    keys: dict[str, str]
    ann: HeadraceClient
    operator: HeadraceClient

    async def headrace(self, tenant: str, *arguments: str | Path) -> tuple[int, Any]:
        """A command's exit code and its answer."""
        process = await self.begin(tenant, *arguments)
        out, _ = await process.communicate()
        assert process.returncode is not None
        return process.returncode, json.loads(out.splitlines()[-1])

    async def begin(
        self, tenant: str, *arguments: str | Path
    ) -> asyncio.subprocess.Process:
        """A command that is running."""
        return await asyncio.create_subprocess_exec(
            *command(*arguments, "--json"),
            env=environment(
                HEADRACE_GATEWAY=self.url, HEADRACE_API_KEY=self.keys[tenant]
            ),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            # A shell that has put the tests into the background has it ignored.
            preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
        )

    async def state(self, id_: str) -> str:
        return (await self.ann.get(id_)).state

    async def is_paused(self, collection: str) -> bool:
        pauses = await self.operator.admin.pauses()
        return any(each.collection == collection for each in pauses)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pipeline(
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[Pipeline]:
    tmp_path = tmp_path_factory.mktemp("operating")
    url = f"sqlite:///{tmp_path}/headrace.db"
    await upgrade(url)
    database = Database.from_settings(DatabaseSettings(database_url=url))
    keys: dict[str, str] = {}
    for tenant, scopes in (("ann", frozenset(Scope)), ("*", frozenset([Scope.ADMIN]))):
        _, keys[tenant] = await KeyStore(database).create(
            tenant=tenant, scopes=scopes, label="", now_ms=1
        )
    await database.close()
    plan = StackPlan(data_dir=DataDir(tmp_path / "stack"), overrides=SETTINGS)
    async with AsyncExitStack() as stack:
        up = await stack.enter_async_context(
            running_stack(plan, report=lambda _part, _what: None)
        )
        settings = environment_of(
            up.settings, DATABASE_URL=url, HEADRACE_AUTH_MODE="keys"
        )
        gateway = ServiceProcess("headrace_gateway", tmp_path / "gateway", settings)
        registry = ServiceProcess(
            "headrace_registry",
            tmp_path / "registry",
            settings,
            told_by="HEADRACE_PROBE_FILE",
        )
        for service in (gateway, registry):
            stack.enter_context(ended(service))
            await service.start()
        reach = f"http://{gateway.address}"
        ann = await stack.enter_async_context(HeadraceClient(reach, key=keys["ann"]))
        operator = await stack.enter_async_context(HeadraceClient(reach, key=keys["*"]))
        await eventually(lambda: accepts(ann))
        yield Pipeline(reach, keys, ann, operator)


async def accepts(client: HeadraceClient) -> bool:
    return (await client.health()).accepting


async def test_workers_are_known_by_name_and_version_though_idle(
    pipeline: Pipeline,
) -> None:
    async def all_assigned() -> bool:
        found = await pipeline.operator.admin.workers()
        return len(found) == len(Stage) and all(each.partitions for each in found)

    await eventually(all_assigned)
    code, answer = await pipeline.headrace("*", "admin", "workers")
    assert code == 0
    workers = answer["workers"]
    assert [each["stage"] for each in workers] == list(Stage)
    for each in workers:
        assert each["worker"].startswith(each["stage"])
        assert each["version"] == version("headrace")
        assert each["connected"]
        assert each["address"]


async def test_a_paused_stage_stands_still_and_is_seen_to(pipeline: Pipeline) -> None:
    code, _ = await pipeline.headrace(
        "*", "admin", "pause", "--stage", "embedder", "--reason", "a new model"
    )
    assert code == 0
    made = await pipeline.ann.add(collection="mill", name="wheel", text="It turns.")

    async def waits() -> bool:
        depth = await pipeline.operator.admin.depth()
        waiting = {each.stage: each for each in depth.stages if each.records}
        return "embedder" in waiting and waiting["embedder"].age_s > 0

    await eventually(waits)
    code, left = await pipeline.headrace("*", "admin", "drain", "--timeout", "1")
    assert (code, left["left"]) == (1, [{"stage": "embedder", "records": 1}])
    assert [each["reason"] for each in left["pauses"]] == ["a new model"]
    assert await pipeline.state(made.id) in {"queued", "processing"}

    code, _ = await pipeline.headrace("*", "admin", "resume", "--stage", "embedder")
    assert code == 0
    code, left = await pipeline.headrace("*", "admin", "drain", "--timeout", "120")
    assert (code, left["left"]) == (0, [])
    code, shown = await pipeline.headrace(
        "ann", "documents", "show", made.id, "--watch"
    )
    assert (code, shown["state"]) == (0, "indexed")
    depth = await pipeline.operator.admin.depth(collection="mill")
    assert depth.states == {"indexed": 1}


async def test_an_import_has_its_collection_to_itself(
    pipeline: Pipeline, tmp_path: Path
) -> None:
    lines = [{"name": f"{n}.txt", "text": f"wheel {n}"} for n in range(20)]
    file = tmp_path / "lines.ndjson"
    file.write_text("\n".join(json.dumps(line) for line in [*lines, {"name": "bad"}]))
    seen: list[bool] = []

    async def look() -> None:
        while True:
            seen.append(await pipeline.is_paused("books"))
            await asyncio.sleep(0.2)

    looking = asyncio.create_task(look())
    code, done = await pipeline.headrace(
        "ann", "import", file, "--collection", "books", "--exclusive", "--watch"
    )
    looking.cancel()
    await asyncio.wait({looking})
    assert (code, done["done"]) == (1, True), done
    assert done["counts"] == {"refused": 1, "indexed": 20}
    assert [each["line"] for each in done["errors"]] == [21]
    assert True in seen
    assert not await pipeline.is_paused("books")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_an_import_that_is_interrupted_resumes_its_collection(
    pipeline: Pipeline, tmp_path: Path, number: signal.Signals
) -> None:
    file = tmp_path / "lines.ndjson"
    file.write_text('{"name": "never", "text": "never"}\n')
    await pipeline.operator.admin.pause(stage="chunker")
    waiting = await pipeline.ann.add(
        collection="mill", name=f"waits {number}", text="It waits."
    )

    async def waits() -> bool:
        return not (await pipeline.operator.admin.drain(timeout_s=0)).drained

    await eventually(waits)
    process = await pipeline.begin(
        "ann", "import", file, "--collection", "maps", "--exclusive"
    )
    await eventually(lambda: pipeline.is_paused("maps"))
    process.send_signal(number)
    await process.wait()
    assert process.returncode == 128 + number
    assert not await pipeline.is_paused("maps")
    page = await pipeline.ann.page(collection="maps")
    assert page.documents == []

    await pipeline.operator.admin.resume(stage="chunker")

    async def indexed() -> bool:
        return await pipeline.state(waiting.id) == "indexed"

    await eventually(indexed)


async def test_stale_documents_are_looked_for_when_somebody_asks(
    pipeline: Pipeline,
) -> None:
    code, found = await pipeline.headrace("*", "admin", "recover-stale")
    assert code == 0, found
    assert not found["pending"]
    assert (found["last"]["outcome"], found["last"]["problem"]) == ("done", "")
    assert found["last"]["worker"].startswith("registry-")


async def test_a_refusal_reaches_whoever_calls_without_the_client(
    pipeline: Pipeline,
) -> None:
    await pipeline.ann.admin.pause(collection="closed", reason="being sorted")
    async with httpx.AsyncClient(base_url=pipeline.url) as client:
        answer = await client.post(
            "/v1/documents",
            json={"collection": "closed", "name": "n", "text": "t"},
            headers={"Authorization": f"Bearer {pipeline.keys['ann']}"},
        )
    assert (answer.status_code, answer.json()["code"]) == (503, "paused_collection")
    assert answer.json()["reason"] == "being sorted"
    await pipeline.ann.admin.resume(collection="closed")
    made = await pipeline.ann.add(collection="closed", name="n", text="t")

    async def indexed() -> bool:
        return await pipeline.state(made.id) == "indexed"

    await eventually(indexed)


async def test_an_import_that_is_not_alone_any_more_imports_nothing(
    pipeline: Pipeline, tmp_path: Path
) -> None:
    file = tmp_path / "lines.ndjson"
    file.write_text('{"name": "never", "text": "never"}\n')
    await pipeline.operator.admin.pause(stage="indexer")
    await pipeline.ann.add(collection="mill", name="holds it up", text="It waits.")

    async def waits() -> bool:
        return not (await pipeline.operator.admin.drain(timeout_s=0)).drained

    await eventually(waits)
    process = await pipeline.begin(
        "ann", "import", file, "--collection", "ours", "--exclusive"
    )
    await eventually(lambda: pipeline.is_paused("ours"))
    theirs = await pipeline.ann.admin.pause(collection="ours", reason="theirs")
    await pipeline.operator.admin.resume(stage="indexer")
    out, _ = await process.communicate()
    assert (process.returncode, json.loads(out)["error"]["code"]) == (1, "not_alone")
    assert theirs in await pipeline.ann.admin.pauses()
    await pipeline.ann.admin.resume(collection="ours")
    assert (await pipeline.ann.page(collection="ours")).documents == []
