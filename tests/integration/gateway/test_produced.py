"""Documents that the gateway never accepted are shown as the registry knows them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from headrace.database.merging import merge_statuses, status_row
from headrace.identity import Arrival, DocumentKey
from headrace.messages import Metadata, Stage, State, StatusError, StatusEvent
from tests.support.gateway_world import GatewayWorld, gateway_world


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[GatewayWorld]:
    async with gateway_world(tmp_path) as made:
        yield made


def said(
    id_: str,
    state: State = State.INDEXED,
    *,
    at: int = 1,
    tenant: str = "default",
    collection: str = "mill",
) -> StatusEvent:
    failed = state is State.FAILED
    return StatusEvent(
        key=DocumentKey(tenant, collection, id_),
        revision=at,
        arrival=Arrival(at, "topic", 0, at),
        stage=Stage.INDEXER if state.final else Stage.LOADER,
        state=state,
        error=StatusError("broken", "it broke", "mend it", retryable=True)
        if failed
        else None,
        chunks=3,
        at_ms=at,
        metadata=Metadata(import_job="job", attributes={"a": "b"}),
    )


async def heard(world: GatewayWorld, events: Sequence[StatusEvent]) -> None:
    rows = [
        status_row(event, partition=0, offset=number)
        for number, event in enumerate(events)
    ]
    async with world.database.writing() as connection:
        await merge_statuses(connection, rows)


async def listed(world: GatewayWorld, **query: Any) -> list[str]:
    answer = await world.client.get("/v1/produced", params=query)
    assert answer.status_code == 200, answer.text
    return [each["name"] for each in answer.json()["documents"]]


async def test_they_are_listed_by_what_was_heard(world: GatewayWorld) -> None:
    await heard(
        world,
        [
            said("a.txt", at=1),
            said("b/B.txt", State.FAILED, at=2),
            said("c.txt", State.PASSED_ON, at=3, collection="yard"),
            said("d.txt", State.DELETED, at=4),
            said("e.txt", at=5, tenant="other"),
        ],
    )

    assert await listed(world) == ["c.txt", "b/B.txt", "a.txt"]
    assert await listed(world, collection="yard") == ["c.txt"]
    assert await listed(world, state="failed") == ["b/B.txt"]
    assert await listed(world, state="processing") == ["c.txt"]
    assert await listed(world, state="deleted") == ["d.txt"]
    assert await listed(world, text="b.t") == ["b/B.txt"]
    assert await listed(world, job="job", state="indexed") == ["a.txt"]
    assert await listed(world, job="another") == []
    wrong = await world.client.get("/v1/produced", params={"state": "queued"})
    assert wrong.status_code == 422


async def test_what_the_gateway_accepted_is_not_among_them(world: GatewayWorld) -> None:
    sent = await world.upload("a.txt")
    await heard(world, [said(sent.json()["id"], collection="c"), said("a.txt", at=2)])
    collection = sent.json()["collection"]
    await heard(world, [said(sent.json()["id"], collection=collection, at=3)])

    assert "a.txt" in await listed(world)
    assert await listed(world, collection=collection) == []


async def test_pages_have_each_of_them_once(world: GatewayWorld) -> None:
    await heard(world, [said(f"{n}.txt", at=1 + n // 3) for n in range(10)])
    seen: list[str] = []
    query: dict[str, Any] = {"limit": 3}
    while True:
        page = (await world.client.get("/v1/produced", params=query)).json()
        seen += [each["name"] for each in page["documents"]]
        if page["next"] is None:
            break
        query["cursor"] = page["next"]

    assert sorted(seen) == sorted(f"{n}.txt" for n in range(10))
    wrong = await world.client.get("/v1/produced", params={"cursor": "x"})
    assert wrong.status_code == 422


async def test_one_is_shown_with_its_history_to_its_tenant_alone(
    world: GatewayWorld,
) -> None:
    await heard(world, [said("a.txt", State.FAILED), said("o", tenant="other")])
    id_ = DocumentKey("default", "mill", "a.txt").uuid

    shown = (await world.client.get(f"/v1/produced/{id_}")).json()
    assert (shown["name"], shown["state"]) == ("a.txt", "failed")
    assert shown["error"]["advice"] == "mend it"
    assert shown["attributes"] == {"a": "b"}
    assert [each["stage"] for each in shown["timeline"]] == ["indexer"]

    other = DocumentKey("other", "mill", "o").uuid
    assert (await world.client.get(f"/v1/produced/{other}")).status_code == 404
