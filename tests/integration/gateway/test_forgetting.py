"""What has ended goes after a while, and nothing else does; on both databases."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from headrace.database.documents import (
    CONTENTS,
    DOCUMENTS,
    IDEMPOTENCY,
    IMPORT_ITEMS,
    IMPORTS,
    OUTBOX,
)
from headrace.messages import State
from tests.support.fake_clock import FakeClock
from tests.support.gateway_world import GatewayWorld, end, gateway_world

DAY_S = 24 * 3600.0
HISTORY_S = 31 * DAY_S


@pytest.fixture
async def world(tmp_path: Path, database_url: str) -> AsyncIterator[GatewayWorld]:
    clock = FakeClock(now_ms=time.time_ns() // 10**6)
    async with gateway_world(tmp_path, url=database_url, clock=clock) as made:
        yield made


async def deleted(world: GatewayWorld, name: str) -> str:
    id_: str = (await world.upload(name)).json()["id"]
    assert (await world.client.delete(f"/v1/documents/{id_}")).status_code == 202
    return id_


async def test_a_deleted_document_goes_with_all_that_was_its_own(
    world: GatewayWorld,
) -> None:
    id_ = await deleted(world, "a.txt")
    await end(world, id_, State.DELETED)
    kept = (await world.upload("a.txt")).json()["id"]

    await world.sweeper.sweep()
    assert len(await world.rows(DOCUMENTS)) == 2
    world.clock.advance(HISTORY_S)
    await world.sweeper.sweep()

    assert [each["id"] for each in await world.rows(DOCUMENTS)] == [kept]
    (content,) = await world.rows(CONTENTS)
    assert content["document_id"] == kept
    assert await world.object_keys() == {content["object_key"]}
    assert (await world.client.get(f"/v1/documents/{id_}")).status_code == 404
    assert (await world.upload("a.txt")).status_code == 409


async def test_what_is_not_known_to_be_deleted_stays(world: GatewayWorld) -> None:
    """The pipeline has failed it, or has not spoken, or Kafka has not got it."""
    failed = await deleted(world, "failed")
    await end(world, failed, State.FAILED)
    spoken = await deleted(world, "unheard")
    while await world.parts.relay.send_some():
        pass
    unsent = await deleted(world, "unsent")

    world.clock.advance(HISTORY_S)
    await world.sweeper.sweep()

    ids = {each["id"] for each in await world.rows(DOCUMENTS)}
    assert ids == {failed, spoken, unsent}
    assert {e["document_id"] for e in await world.rows(OUTBOX)} == {unsent}


async def test_an_import_goes_once_all_of_it_has_ended(world: GatewayWorld) -> None:
    url = await imported(world, "one", "two")
    first, second = sorted(
        await world.rows(DOCUMENTS), key=lambda document: str(document["name"])
    )
    await end(world, first["id"], State.INDEXED)

    world.clock.advance(HISTORY_S)
    await world.sweeper.sweep()
    # The second one is still on its way.
    assert (await world.client.get(url)).status_code == 200
    await end(world, second["id"], State.FAILED)
    await world.sweeper.sweep()

    assert (await world.client.get(url)).status_code == 404
    assert await world.rows(IMPORTS) == await world.rows(IMPORT_ITEMS) == []
    assert len(await world.rows(DOCUMENTS)) == 2


async def test_an_import_keeps_the_documents_that_it_counts(
    world: GatewayWorld,
) -> None:
    url = await imported(world, "one", "two")
    first, second = await world.rows(DOCUMENTS)
    await end(world, first["id"], State.INDEXED)
    await world.client.delete(f"/v1/documents/{first['id']}")
    await end(world, first["id"], State.DELETED)
    world.clock.advance(HISTORY_S)
    await world.sweeper.sweep()
    assert len(await world.rows(DOCUMENTS)) == 2
    assert (await world.client.get(url)).status_code == 200

    await end(world, second["id"], State.INDEXED)
    await world.sweeper.sweep()

    assert [each["id"] for each in await world.rows(DOCUMENTS)] == [second["id"]]


async def imported(world: GatewayWorld, *names: str) -> str:
    lines = [json.dumps({"name": name, "text": name}) for name in names]
    answer = await world.client.post(
        "/v1/imports?collection=books",
        content="\n".join(lines),
        headers={"content-type": "application/x-ndjson"},
    )
    assert answer.status_code == 202, answer.text
    while await world.parts.feeder.feed_some():
        pass
    assert len(await world.rows(DOCUMENTS)) == len(names)
    return f"/v1/imports/{answer.json()['id']}"


async def test_many_answers_go_some_at_a_time(
    world: GatewayWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headrace_gateway.forgetting._AT_ONCE", 2)
    for number in range(5):
        headers = {"Idempotency-Key": f"k{number}"}
        await world.upload(f"{number}", headers=headers)
    world.clock.advance(2 * DAY_S)
    await world.upload("new", headers={"Idempotency-Key": "new"})

    await world.sweeper.sweep()

    assert [each["key"] for each in await world.rows(IDEMPOTENCY)] == ["new"]


@pytest.mark.parametrize("hours", [720, 1000])
async def test_history_outlives_events(tmp_path: Path, hours: int) -> None:
    settings: dict[str, Any] = {"retention_hours": hours, "history_days": 30}
    with pytest.raises(ValidationError, match="HEADRACE_HISTORY_DAYS"):
        async with gateway_world(tmp_path, **settings):
            pass
