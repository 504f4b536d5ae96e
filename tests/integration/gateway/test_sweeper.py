"""Bytes without records, records without bytes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from headrace_gateway import sweeper

from headrace.database.documents import CONTENTS, DOCUMENTS
from headrace.messages import State
from tests.support.eventually import eventually
from tests.support.fake_clock import FakeClock
from tests.support.gateway_world import GatewayWorld, end, gateway_world

HOUR_S = 3600.0


@pytest.fixture
async def world(tmp_path: Path, database_url: str) -> AsyncIterator[GatewayWorld]:
    clock = FakeClock(now_ms=time.time_ns() // 10**6)
    async with gateway_world(tmp_path, url=database_url, clock=clock) as made:
        yield made


async def test_young_orphans_may_be_uploads_and_old_ones_go(
    world: GatewayWorld,
) -> None:
    await world.objects.put("files/default/d/o", b"orphan")
    kept = await world.upload()

    await world.sweeper.sweep()
    assert len(await world.object_keys()) == 2
    world.clock.advance(HOUR_S + 60)
    await world.sweeper.sweep()

    (content,) = await world.rows(CONTENTS)
    assert await world.object_keys() == {content["object_key"]}
    assert kept.status_code == 202


async def test_what_came_to_its_end_meanwhile_stays_as_it_is(
    world: GatewayWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    id_ = (await world.upload()).json()["id"]
    world.clock.advance(HOUR_S + 60)

    async def gone(key: str) -> bool:
        """The stages have ended it while the object store was asked."""
        await end(world, id_, State.INDEXED)
        return False

    monkeypatch.setattr(world.objects, "exists", gone)
    await world.sweeper.sweep()

    shown = (await world.client.get(f"/v1/documents/{id_}")).json()
    assert (shown["state"], shown["error"]) == ("indexed", None)


async def test_a_document_whose_bytes_are_gone_has_failed(world: GatewayWorld) -> None:
    id_ = (await world.upload()).json()["id"]
    (content,) = await world.rows(CONTENTS)
    await world.objects.delete(content["object_key"])
    world.clock.advance(HOUR_S + 60)

    await world.sweeper.sweep()

    url = f"/v1/documents/{id_}"
    shown = (await world.client.get(url)).json()
    assert shown["state"] == "failed"
    assert shown["error"]["code"] == "object_missing"
    assert shown["error"]["advice"]
    listed = await world.client.get("/v1/documents", params={"state": "failed"})
    assert [each["id"] for each in listed.json()["documents"]] == [id_]
    assert await world.parts.relay.send_some() == 0
    put = await world.client.put(url, json={"text": "here again"})
    assert put.status_code == 202
    assert (await world.client.get(url)).json()["state"] == "accepted"


async def test_what_is_there_is_looked_at_in_parts(
    world: GatewayWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeper, "_AT_ONCE", 2)
    monkeypatch.setattr(sweeper, "_ASKED_FOR", 4)
    for number in range(7):
        await world.upload(f"{number}")
        await world.objects.put(f"files/default/d/{number}", b"orphan")
    *_, last = sorted(await world.rows(CONTENTS), key=lambda row: row["document_id"])
    await world.objects.delete(last["object_key"])
    world.clock.advance(HOUR_S + 60)

    async def failed() -> list[str]:
        return [row["id"] for row in await world.rows(DOCUMENTS) if row["failure"]]

    await world.sweeper.sweep()
    assert await failed() == []
    await world.sweeper.sweep()

    assert await failed() == [last["document_id"]]
    assert len(await world.object_keys()) == 6


async def test_replaced_bytes_stay_as_long_as_kafka_may_name_them(
    world: GatewayWorld,
) -> None:
    id_ = (await world.upload()).json()["id"]
    await world.client.put(f"/v1/documents/{id_}", json={"text": "new"})
    assert len(await world.object_keys()) == 2

    world.clock.advance(24 * HOUR_S)
    await world.sweeper.sweep()
    assert len(await world.object_keys()) == 2
    world.clock.advance(7 * 24 * HOUR_S)
    await world.sweeper.sweep()
    assert len(await world.object_keys()) == 1


async def test_bytes_are_not_swept_while_their_form_still_comes(
    world: GatewayWorld,
) -> None:
    stored, swept = asyncio.Event(), asyncio.Event()

    async def form() -> AsyncIterator[bytes]:
        yield (
            b"--b\r\nContent-Disposition: form-data; name=file; filename=a\r\n\r\nx\r\n"
            b'--b\r\nContent-Disposition: form-data; name="collection"\r\n\r\nboo'
        )
        stored.set()
        await swept.wait()
        yield b"ks\r\n--b--\r\n"

    upload = asyncio.create_task(
        world.client.post(
            "/v1/documents",
            content=form(),
            headers={"Content-Type": "multipart/form-data; boundary=b"},
        )
    )
    await stored.wait()
    await eventually(world.object_keys)
    world.clock.advance(HOUR_S + 60)
    await world.sweeper.sweep()
    swept.set()

    answer = await upload

    # Who is told 202 has its bytes; who sends for too long is told so.
    assert answer.status_code == 408, answer.text
    assert await world.rows(CONTENTS) == []
