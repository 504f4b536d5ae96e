"""The gateway as a process before a real stack: from an upload to a hit."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from headrace_local.data_dir import DataDir
from headrace_local.stack import RunningStack, StackPlan, running_stack

from headrace.database.engine import Database, upgrade
from headrace.database.key_store import KeyStore
from headrace.database.keys import Scope
from headrace.database.settings import DatabaseSettings
from tests.support.eventually import eventually
from tests.support.service_process import ServiceProcess, ended, environment_of

SETTINGS = {
    "embedding_provider": "hash",
    "embedding_dimensions": 16,
    "tokenizer": "cl100k_base",
}

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(300)]


@dataclass(frozen=True)
class Running:
    """A stack with its gateway."""

    stack: RunningStack
    gateway: ServiceProcess
    client: httpx.AsyncClient
    keys: dict[str, dict[str, str]]


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Running]:
    url = f"sqlite:///{tmp_path}/headrace.db"
    await upgrade(url)
    database = Database.from_settings(DatabaseSettings(database_url=url))
    keys: dict[str, dict[str, str]] = {}
    for tenant in ("ann", "bob"):
        _, key = await KeyStore(database).create(
            tenant=tenant, scopes=frozenset(Scope), label="", now_ms=1
        )
        keys[tenant] = {"Authorization": f"Bearer {key}"}
    await database.close()
    plan = StackPlan(data_dir=DataDir(tmp_path / "stack"), overrides=SETTINGS)
    async with AsyncExitStack() as stack:
        up = await stack.enter_async_context(
            running_stack(plan, report=lambda _part, _what: None)
        )
        environment = environment_of(
            up.settings, DATABASE_URL=url, HEADRACE_AUTH_MODE="keys"
        )
        gateway = stack.enter_context(
            ended(ServiceProcess("headrace_gateway", tmp_path / "gateway", environment))
        )
        await gateway.start()
        client = await stack.enter_async_context(
            httpx.AsyncClient(base_url=f"http://{gateway.address}", timeout=60)
        )
        yield Running(up, gateway, client, keys)


async def test_an_upload_is_found_by_its_tenant_alone(running: Running) -> None:
    client, ann, bob = running.client, running.keys["ann"], running.keys["bob"]

    async def accepted() -> bool:
        answer = await client.get("/v1/health", headers=ann)
        return bool(answer.json()["accepting"])

    await eventually(accepted)
    text = b"The mill wheel turns.\n\nThe headrace brings the water."
    answer = await client.post(
        "/v1/documents",
        data={"collection": "mill", "attributes": '{"room": "wheel"}'},
        files={"file": ("mill.txt", text)},
        headers=ann,
    )
    assert answer.status_code == 202, answer.text
    id_ = answer.json()["id"]
    question = {"collection": "mill", "query": "wheel"}

    async def hits(headers: dict[str, str], **filters: object) -> list[str]:
        asked = {**question, **({"filters": filters} if filters else {})}
        found = await client.post("/v1/search", json=asked, headers=headers)
        assert found.status_code == 200, found.text
        return [hit["document"] for hit in found.json()["hits"]]

    await eventually(lambda: hits(ann))
    assert await hits(ann) == [id_]
    assert await hits(ann, attributes={"room": "wheel"}) == [id_]
    assert await hits(ann, attributes={"room": "stones"}) == []
    assert await hits(bob) == []
    assert (await client.get(f"/v1/documents/{id_}", headers=bob)).status_code == 404
    depths = (await client.get("/v1/health/queue", headers=ann)).json()["depths"]
    assert {each["stage"] for each in depths} == {
        *("loader", "chunker", "embedder", "indexer")
    }

    deleted = await client.delete(f"/v1/documents/{id_}", headers=ann)
    assert deleted.status_code == 202

    async def gone() -> bool:
        return not await hits(ann)

    await eventually(gone)
    assert running.gateway.stop() == 0
