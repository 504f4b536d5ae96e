"""The gateway as a process before a real stack: from an upload to a hit."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
import pytest_asyncio
from headrace_local.data_dir import DataDir
from headrace_local.processes import free_port
from headrace_local.stack import RunningStack, StackPlan, running_stack

from headrace.database.engine import Database, upgrade
from headrace.database.key_store import KeyStore
from headrace.database.keys import Scope
from headrace.database.settings import DatabaseSettings
from headrace.kafka_clients import reader
from headrace.settings import Settings
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
    pytest.mark.timeout(300),
    pytest.mark.asyncio(loop_scope="module"),
]


@dataclass(frozen=True)
class Running:
    """A stack with its gateway."""

    stack: RunningStack
    gateway: ServiceProcess
    client: httpx.AsyncClient
    keys: dict[str, dict[str, str]]
    admin: str


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[Running]:
    tmp_path = tmp_path_factory.mktemp("gateway")
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
    admin_port = free_port()
    plan = StackPlan(data_dir=DataDir(tmp_path / "stack"), overrides=SETTINGS)
    async with AsyncExitStack() as stack:
        up = await stack.enter_async_context(
            running_stack(plan, report=lambda _part, _what: None)
        )
        environment = environment_of(
            up.settings,
            DATABASE_URL=url,
            HEADRACE_AUTH_MODE="keys",
            HEADRACE_ADMIN_PORT=str(admin_port),
        )
        gateway = stack.enter_context(
            ended(ServiceProcess("headrace_gateway", tmp_path / "gateway", environment))
        )
        await gateway.start()
        registry = ServiceProcess(
            "headrace_registry",
            tmp_path / "registry",
            environment,
            told_by="HEADRACE_PROBE_FILE",
        )
        stack.enter_context(ended(registry))
        await registry.start()
        client = await stack.enter_async_context(
            httpx.AsyncClient(base_url=f"http://{gateway.address}", timeout=60)
        )
        admin = f"http://127.0.0.1:{admin_port}/v1/admin"
        yield Running(up, gateway, client, keys, admin)


async def first_end(
    client: httpx.AsyncClient, headers: dict[str, str], listens: asyncio.Event
) -> str:
    """The first document that is told to be indexed."""
    async with client.stream("GET", "/v1/events", headers=headers) as stream:
        async for line in stream.aiter_lines():
            if line == ": listening":
                listens.set()
            if line.startswith("data:") and '"state": "indexed"' in line:
                return str(json.loads(line.removeprefix("data:"))["document"])
    raise AssertionError("the stream ended")


async def test_an_upload_is_found_by_its_tenant_alone(running: Running) -> None:
    client, ann, bob = running.client, running.keys["ann"], running.keys["bob"]

    async def accepted() -> bool:
        answer = await client.get("/v1/health", headers=ann)
        return bool(answer.json()["accepting"])

    await eventually(accepted)
    listens = asyncio.Event()
    listening = asyncio.create_task(first_end(client, ann, listens))
    async with asyncio.timeout(60):
        await listens.wait()
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

    async def document() -> dict[str, Any]:
        found: dict[str, Any] = (
            await client.get(f"/v1/documents/{id_}", headers=ann)
        ).json()
        return found

    async def indexed() -> bool:
        return (await document())["state"] == "indexed"

    await eventually(indexed)
    shown = await document()
    stages = [each["stage"] for each in shown["timeline"]]
    assert stages == ["loader", "chunker", "embedder", "indexer"]
    assert shown["progress"]["chunks"] == shown["progress"]["done"] > 0
    assert shown["error"] is None
    assert await listening == id_

    deleted = await client.delete(f"/v1/documents/{id_}", headers=ann)
    assert deleted.status_code == 202

    async def gone() -> bool:
        return not await hits(ann)

    await eventually(gone)


async def test_an_import_comes_to_its_end(running: Running) -> None:
    client, ann = running.client, running.keys["ann"]
    lines = [{"name": f"line {n}", "text": f"wheel number {n}"} for n in range(5)]
    answer = await client.post(
        "/v1/imports?collection=mill",
        content="\n".join(json.dumps(line) for line in [*lines, {"name": "bad"}]),
        headers={**ann, "content-type": "application/x-ndjson"},
    )
    assert answer.status_code == 202, answer.text
    url = f"/v1/imports/{answer.json()['id']}"

    async def done() -> bool:
        return bool((await client.get(url, headers=ann)).json()["done"])

    await eventually(done)
    job = (await client.get(url, headers=ann)).json()
    assert job["counts"] == {"refused": 1, "indexed": 5}
    for document in (
        await client.get("/v1/documents", params={"job": job["id"]}, headers=ann)
    ).json()["documents"]:
        await client.delete(f"/v1/documents/{document['id']}", headers=ann)


async def test_what_failed_is_shown_replayed_and_dropped(running: Running) -> None:
    client, ann, bob = running.client, running.keys["ann"], running.keys["bob"]
    answer = await client.post(
        "/v1/documents",
        data={"collection": "mill"},
        files={
            "file": ("broken.pdf", b"%PDF-1.7 and nothing of it", "application/pdf")
        },
        headers=ann,
    )
    url = f"/v1/documents/{answer.json()['id']}"
    desk = f"{running.admin}/dead-letters"
    elsewhere = await client.get("/v1/admin/dead-letters", headers=ann)
    assert elsewhere.status_code == 404

    async def shown() -> dict[str, Any]:
        found: dict[str, Any] = (await client.get(url, headers=ann)).json()
        return found

    async def letters(headers: dict[str, str]) -> list[dict[str, Any]]:
        found = await client.get(desk, headers=headers)
        assert found.status_code == 200, found.text
        listed: list[dict[str, Any]] = found.json()["dead_letters"]
        return listed

    async def failed() -> bool:
        return (await shown())["state"] == "failed"

    await eventually(failed)
    error = (await shown())["error"]
    assert error["code"]
    assert error["message"]
    (letter,) = await letters(ann)
    assert letter["document"] == answer.json()["id"]
    assert await letters(bob) == []
    whole = await client.get(f"{desk}/{letter['id']}", headers=ann)
    assert whole.json()["size"] > 0
    theirs = await client.get(f"{desk}/{letter['id']}", headers=bob)
    assert theirs.status_code == 404

    again = await client.post(
        f"{desk}/replay", json={"ids": [letter["id"]]}, headers=ann
    )
    assert [each["outcome"] for each in again.json()["replayed"]] == ["failed_again"]
    retried = await client.post(f"{url}/retry", headers=ann)
    assert retried.status_code == 202, retried.text
    assert (await client.post(f"{url}/retry", headers=ann)).status_code == 409
    await eventually(failed)

    gone = {"all": True, "reason": "it is no PDF"}
    assert (await client.post(f"{desk}/drop", json=gone, headers=bob)).json() == {
        "dropped": []
    }
    dropped = await client.post(f"{desk}/drop", json=gone, headers=ann)
    assert letter["id"] in dropped.json()["dropped"]
    assert await letters(ann) == []
    audit = [record async for record in audited(running.stack.settings)]
    acts = [each["action"] for each in audit if each["by"].startswith("key:")]
    assert acts[0] == "dead-letters.replay"
    assert {"dead-letters.drop", "drop"} <= set(acts)


async def audited(settings: Settings) -> AsyncIterator[dict[str, Any]]:
    """What the audit topic says."""
    async with reader(settings, settings.topology.audit) as records:
        async for record in records.all_so_far():
            yield json.loads(record.value or b"{}")


async def test_every_202_reaches_its_end_though_the_gateway_is_killed(
    running: Running,
) -> None:
    ann = running.keys["ann"]
    promised: list[str] = []

    async def send(number: int) -> None:
        """As a client that was told nothing: it asks the same again."""
        once = {**ann, "Idempotency-Key": f"upload-{number}"}
        said = {
            "collection": "mill",
            "name": f"upload-{number}",
            "text": f"wheel {number}",
        }
        while True:
            url = f"http://{running.gateway.address}/v1/documents"
            try:
                async with httpx.AsyncClient(timeout=60) as client:
                    answer = await client.post(url, json=said, headers=once)
            except httpx.TransportError:
                await asyncio.sleep(0.2)
                continue
            if answer.status_code == 202:
                promised.append(answer.json()["id"])
                return
            assert answer.status_code in {429, 503}, answer.text
            await asyncio.sleep(0.5)

    async with asyncio.TaskGroup() as sending:
        for number in range(40):
            sending.create_task(send(number))
        for kills in (5, 25):
            await eventually(lambda kills=kills: len(promised) >= kills)
            running.gateway.kill()
            await running.gateway.start()

    assert len(set(promised)) == 40
    client = httpx.AsyncClient(
        base_url=f"http://{running.gateway.address}", headers=ann, timeout=60
    )
    async with client:

        async def states() -> dict[str, str]:
            page = (await client.get("/v1/documents?limit=200")).json()
            return {
                each["id"]: each["state"]
                for each in page["documents"]
                if each["name"].startswith("upload-")
            }

        async def all_ended() -> bool:
            # What was sent to Kafka twice is found unchanged the second time.
            return set((await states()).values()) <= {"indexed", "unchanged"}

        await eventually(all_ended)
        assert set(await states()) == set(promised)
    assert running.gateway.stop() == 0
    assert ann["Authorization"].removeprefix("Bearer ") not in running.gateway.log
