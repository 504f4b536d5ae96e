"""The client keeps to what the gateway describes, and works with it."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import BaseModel

from headrace.client import (
    ApiError,
    Change,
    HeadraceClient,
    Overrun,
    answers,
    operations,
)
from headrace.identity import Arrival, DocumentKey
from headrace.messages import Metadata, Stage, State, StatusError, StatusEvent
from tests.support.eventually import eventually
from tests.support.gateway_world import GatewayWorld, gateway_world

SERVED = {
    "Accepted": "AcceptedView",
    "Failure": "ErrorView",
    "Progress": "Progress",
    "Document": "DocumentView",
    "StageReport": "StageView",
    "DocumentDetail": "DocumentDetail",
    "DocumentPage": "DocumentPage",
    "Produced": "ProducedView",
    "ProducedDetail": "ProducedDetail",
    "ProducedPage": "ProducedList",
    "Hit": "HitView",
    "Hits": "Hits",
    "ImportJob": "JobView",
    "ImportItem": "ItemView",
    "ImportItems": "ItemPage",
    "Health": "Health",
    "ImportJobs": "JobPage",
    "Queue": "Queue",
    "StageDepth": "StageDepth",
    "Working": "Worker",
    "WorkingList": "Workers",
    "Paused": "PauseView",
    "PauseList": "Pauses",
    "Resumed": "Resumed",
    "Left": "Left",
    "Drained": "Drained",
    "NotRetried": "NotRetried",
    "Retried": "Retried",
    "Look": "Look",
    "Recovery": "Recovery",
    "PartitionDepth": "PartitionDepth",
    "LaneDepth": "LaneDepth",
    "CollectionStates": "CollectionStates",
    "Depth": "Depth",
    "Worker": "WorkerView",
    "WorkerList": "WorkerList",
    "DeadLetters": "Letters",
    "DeadLetter": "Letter",
    "Replayed": "Replayed",
    "Replays": "Replays",
    "Dropped": "Dropped",
}


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[GatewayWorld]:
    async with gateway_world(tmp_path) as made:
        yield made


def kinds(schema: dict[str, Any]) -> set[str]:
    """The JSON types that a member may have."""
    if "$ref" in schema:
        return {"object"}
    if "anyOf" in schema:
        return set().union(*(kinds(each) for each in schema["anyOf"]))
    return {schema["type"]}


def models() -> dict[str, type[BaseModel]]:
    return {
        name: found
        for module in (answers, operations)
        for name, found in vars(module).items()
        if isinstance(found, type)
        and issubclass(found, BaseModel)
        and found is not BaseModel
    }


async def test_every_type_is_what_is_served(world: GatewayWorld) -> None:
    served = world.app.openapi()["components"]["schemas"]
    assert set(models()) == set(SERVED)
    for name, model in models().items():
        said = served[SERVED[name]]["properties"]
        for member, schema in model.model_json_schema()["properties"].items():
            assert member in said, (name, member)
            assert kinds(said[member]) <= kinds(schema), (name, member)


async def test_every_call_is_one_that_is_described(world: GatewayWorld) -> None:
    paths = world.app.openapi()["paths"]
    schemas = world.app.openapi()["components"]["schemas"]
    id_ = "01a2038e-a3c8-7d82-b5c6-a3fc3cac9617"
    seen: set[tuple[str, str]] = set()
    timeouts: dict[str, float] = {}

    def answer(request: httpx.Request) -> httpx.Response:
        path = request.url.path.replace(id_, "{id}")
        timeouts[path] = request.extensions["timeout"]["read"]
        operation = paths[path][request.method.lower()]
        seen.add((request.method, path))
        allowed = {each["name"] for each in operation.get("parameters", ())}
        assert set(request.url.params) <= allowed
        content = request.headers.get("content-type", "").partition(";")[0]
        if content:
            described = operation["requestBody"]["content"][content]["schema"]
        if content == "application/json":
            name = described.get("$ref", "").rpartition("/")[2]
            described = schemas.get(name, described)
            assert set(json.loads(request.content)) <= set(described["properties"])
        return httpx.Response(404, json={"code": "not_found", "detail": "no"})

    async def lines() -> AsyncIterator[bytes]:
        yield b"{}\n"

    async with HeadraceClient(
        "http://g", transport=httpx.MockTransport(answer)
    ) as client:
        for call in (
            client.upload(b"x", collection="c", name="n"),
            client.add(collection="c", name="n", text="t"),
            client.replace(id_, text="t", version=1),
            client.delete(id_),
            client.retry(id_),
            client.reindex(id_),
            client.get(id_),
            client.page(collection="c", state="failed", job="j", text="t"),
            anext(client.produced(collection="c", state="failed", job="j", text="t")),
            client.produced_document(id_),
            client.search("q", collection="c"),
            client.start_import(lines(), collection="c", while_paused=True, key="once"),
            client.import_job(id_),
            anext(client.import_items(id_, state="refused")),
            anext(client.imports()),
            anext(client.changes(collection="c", document="d", job="j")),
            client.health(),
            client.queue(),
            client.working(),
            client.admin.pause(stage="loader", reason="r"),
            client.admin.resume(collection="c", tenant="t"),
            client.admin.pauses(),
            client.admin.drain(stage="loader", timeout_s=300),
            client.admin.retry_failed(
                collection="c",
                code="x",
                since="2026-01-31T12:00:00Z",
                until="2026-01-31T12:00:00Z",
                job="j",
            ),
            client.admin.recover_stale(),
            client.admin.recovery(),
            client.admin.depth(collection="c"),
            client.admin.workers(),
            client.admin.dead_letters(
                stage="loader", code="c", document="d", collection="c", since="s"
            ),
            client.admin.dead_letter(id_),
            client.admin.replay(["a"], rate=1.0),
            client.admin.drop(collection="c", reason="r"),
        ):
            with pytest.raises(ApiError) as refused:
                await call
            assert refused.value.code == "not_found"
    described = {
        (method.upper(), path) for path, found in paths.items() for method in found
    }
    assert described == seen
    assert timeouts["/v1/admin/drain"] > 300


async def test_a_document_from_upload_to_its_end(world: GatewayWorld) -> None:
    transport = httpx.ASGITransport(world.app)
    async with HeadraceClient("http://gateway", transport=transport) as client:
        file = io.BytesIO(b"text of a file")
        first = await client.upload(file, collection="books", name="a.txt")
        with pytest.raises(ApiError) as refused:
            await client.add(collection="books", name="a.txt", text="x")
        assert refused.value.problem["existing_id"] == first.id
        changed = await client.replace(first.id, text="other", version=1)
        assert changed.version == 2
        assert (await client.get(first.id)).state == "accepted"
        assert [each.id async for each in client.documents()] == [first.id]
        assert await client.search("x", collection="none") == []
        assert (await client.health()).accepting
        await client.delete(first.id)
        assert [each async for each in client.documents()] == []


async def test_what_is_busy_is_asked_again(world: GatewayWorld) -> None:
    asked: list[bytes] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.headers["idempotency-key"].encode())
        if len(asked) < 3:
            return httpx.Response(503, headers={"Retry-After": "0"}, json={})
        return httpx.Response(
            202,
            content=json.dumps(
                {"id": "1", "version": 1, "collection": "c", "name": "n"}
                | {"created": True}
            ),
        )

    async with HeadraceClient(
        "http://g", transport=httpx.MockTransport(answer)
    ) as client:
        done = await client.add(collection="c", name="n", text="t")
    assert done.id == "1"
    assert len(asked) == 3
    assert len(set(asked)) == 1


async def test_changes_are_told_as_they_come_until_the_gateway_stops(
    world: GatewayWorld,
) -> None:
    feed = world.parts.feed
    error = StatusError("no_pdf", "It is none.", "Send one.")
    event = StatusEvent(
        key=DocumentKey("default", "books", "id"),
        revision=7,
        arrival=Arrival(1, "t", 0, 0),
        stage=Stage.LOADER,
        state=State.FAILED,
        error=error,
        metadata=Metadata(name="a.pdf", import_job="j"),
    )
    other = replace(event, key=DocumentKey("default", "maps", "id"))
    transport = httpx.ASGITransport(world.app)
    async with HeadraceClient("http://gateway", transport=transport) as client:

        async def heard() -> list[Change]:
            return [each async for each in client.changes(collection="books")]

        listening = asyncio.create_task(heard())
        await eventually(lambda: feed.listeners)
        for each in (other, event):
            feed.publish(each)
        await eventually(lambda: all(each.waiting.empty() for each in feed._listeners))
        world.parts.stopping.set()
        (change,) = await listening
    assert (change.document, change.stage, change.state) == ("id", "loader", "failed")
    assert change.error is not None
    assert change.error.advice == "Send one."


async def test_who_reads_changes_too_slowly_is_told(world: GatewayWorld) -> None:
    def answer(_: httpx.Request) -> httpx.Response:
        return httpx.Response(
            200, content=b": listening\n\nevent: overrun\ndata: {}\n\n"
        )

    async with HeadraceClient(
        "http://g", transport=httpx.MockTransport(answer)
    ) as client:
        with pytest.raises(Overrun):
            await anext(client.changes())
