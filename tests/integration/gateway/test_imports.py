"""Many documents in one request."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from headrace_gateway.jobs import Item
from sqlalchemy import update

from headrace.database.documents import DOCUMENTS, IMPORT_ITEMS, IMPORTS, OUTBOX
from headrace.database.merging import merge_statuses, status_row
from headrace.errors import DocumentFailure
from headrace.handler import Record
from headrace.identity import Arrival, DocumentKey
from headrace.messages import Lane, Metadata, Stage, State, StatusEvent
from headrace.wire import decode_event
from tests.support.fake_clock import FakeClock
from tests.support.gateway_world import GatewayWorld, gateway_world

NDJSON = {"content-type": "application/x-ndjson"}


@pytest.fixture
async def world(tmp_path: Path, database_url: str) -> AsyncIterator[GatewayWorld]:
    async with gateway_world(tmp_path, url=database_url) as made:
        yield made


async def start(world: GatewayWorld, lines: list[Any], **query: str) -> dict[str, Any]:
    body = b"\n".join(
        line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines
    )
    answer = await world.client.post(
        "/v1/imports",
        params={"collection": "books", **query},
        content=body,
        headers=NDJSON,
    )
    assert answer.status_code == 202, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_good_lines_become_documents_and_bad_ones_say_why(
    world: GatewayWorld,
) -> None:
    await world.upload("taken.txt")
    lines: list[Any] = [{"name": f"{n}.txt", "text": f"text {n}"} for n in range(70)]
    lines += [b"", b"{broken", {"name": "x"}, {"name": "taken.txt", "text": "y"}]
    lines += [{"name": "u", "uri": "https://example.org/u"}, b"[" * 100_000]

    job = await start(world, lines)
    assert job["total"] == 75
    assert job["counts"] == {"waiting": 72, "refused": 3}
    while await world.parts.feeder.feed_some():
        pass

    url = f"/v1/imports/{job['id']}"
    shown = (await world.client.get(url)).json()
    assert shown["counts"] == {"queued": 71, "refused": 4}
    assert not shown["done"]
    refused = (await world.client.get(f"{url}/items?state=refused")).json()["items"]
    assert [each["number"] for each in refused] == [72, 73, 74, 76]
    assert refused[2]["error"]["code"] == "document_exists"
    assert all(each["error"]["message"][0].isalnum() for each in refused)
    assert all(each["error"]["advice"] for each in refused)
    listed = await world.client.get("/v1/documents", params={"job": job["id"]})
    assert len(listed.json()["documents"]) == 50
    while await world.parts.relay.send_some():
        pass
    bulk = world.producer.to("headrace.documents.bulk.v1")
    assert len(bulk) == 71
    event = decode_event(Record(bulk[0].topic, 0, 0, 0, bulk[0].key, bulk[0].value))
    assert (event.lane, event.metadata.import_job) == (Lane.BULK, job["id"])
    jobs = (await world.client.get("/v1/imports")).json()["imports"]
    assert [each["id"] for each in jobs] == [job["id"]]


async def test_a_line_says_itself_what_is_done_where_its_name_is_taken(
    world: GatewayWorld,
) -> None:
    for name in ("a", "b", "c"):
        await world.upload(name)
    replaced = {"name": "a", "text": "x", "on_conflict": "replace"}
    job = await start(world, [replaced, {"name": "b", "text": "x"}])
    kept = {"name": "c", "text": "x", "on_conflict": "fail"}
    other = await start(world, [kept], on_conflict="replace")
    while await world.parts.feeder.feed_some():
        pass

    versions = {each["name"]: each["version"] for each in await world.rows(DOCUMENTS)}
    assert versions == {"a": 2, "b": 1, "c": 1}
    for id_ in (job["id"], other["id"]):
        shown = (await world.client.get(f"/v1/imports/{id_}")).json()
        assert shown["counts"]["refused"] == 1


async def send(
    world: GatewayWorld, body: bytes, key: str, collection: str = "books"
) -> httpx.Response:
    return await world.client.post(
        "/v1/imports",
        params={"collection": collection},
        content=body,
        headers=NDJSON | {"Idempotency-Key": key},
    )


async def test_the_same_import_has_the_same_answer(world: GatewayWorld) -> None:
    body = b'{"name": "a", "text": "b"}\n{broken'
    first = await send(world, body, "k1")
    assert await world.parts.feeder.feed_some() == 1

    again = await send(world, body, "k1")
    other = await send(world, body + b" ", "k1")
    elsewhere = await send(world, body, "k1", collection="films")
    document = await world.upload(headers={"Idempotency-Key": "k1"})

    assert (first.status_code, again.status_code) == (202, 202)
    assert again.json() == first.json()
    assert first.json()["counts"] == {"waiting": 1, "refused": 1}
    assert "idempotent-replayed" not in first.headers
    assert again.headers["idempotent-replayed"] == "true"
    for reused in (other, elsewhere, document):
        assert reused.status_code == 409
        assert reused.json()["code"] == "idempotency_key_reused"
    assert len(await world.rows(IMPORTS)) == 1
    assert len(await world.rows(IMPORT_ITEMS)) == 2
    assert len(await world.rows(DOCUMENTS)) == 1


async def test_the_same_import_at_once_is_done_once(world: GatewayWorld) -> None:
    body = b"\n".join(b'{"name": "%d", "text": "b"}' % n for n in range(300))

    answers = await asyncio.gather(*(send(world, body, "k1") for _ in range(4)))

    assert {each.status_code for each in answers} == {202}
    assert len({each.json()["id"] for each in answers}) == 1
    assert len(await world.rows(IMPORTS)) == 1
    assert len(await world.rows(IMPORT_ITEMS)) == 300


async def test_an_import_whose_first_try_was_cut_off_is_tried_again(
    world: GatewayWorld,
) -> None:
    line = b'{"name": "a", "text": "b"}'
    stored = asyncio.Event()

    async def half() -> AsyncIterator[bytes]:
        yield b"\n".join(line for _ in range(250)) + b"\n"
        stored.set()
        await asyncio.Event().wait()

    first = asyncio.create_task(
        world.client.post(
            "/v1/imports",
            params={"collection": "books"},
            content=half(),
            headers=NDJSON | {"Idempotency-Key": "k1"},
        )
    )
    await stored.wait()
    first.cancel()
    await asyncio.wait({first})
    assert world.parts.admission.accepting == 0

    again = await send(world, line, "k1")

    assert again.status_code == 202
    assert "idempotent-replayed" not in again.headers
    assert again.json()["total"] == 1


async def test_an_import_waits_while_what_is_ahead_waits(world: GatewayWorld) -> None:
    world.waiting.seconds = 301
    await start(world, [{"name": "a", "text": "b"}])

    assert await world.parts.feeder.feed_some() is None
    world.waiting.seconds = 0
    assert await world.parts.feeder.feed_some() == 1


async def test_a_large_import_does_not_starve_a_small_one(tmp_path: Path) -> None:
    async with gateway_world(tmp_path, auth="keys") as world:
        ann, bob = await world.key("ann"), await world.key("bob")

        async def imported(count: int, headers: dict[str, str], collection: str) -> str:
            body = b"".join(b'{"name": "%d", "text": "t"}\n' % n for n in range(count))
            answer = await world.client.post(
                f"/v1/imports?collection={collection}",
                content=body,
                headers=NDJSON | headers,
            )
            return str(answer.json()["id"])

        large = [await imported(500, ann, f"c{number}") for number in range(3)]
        small = await imported(20, bob, "c")
        await world.parts.feeder.feed_some()
        await world.parts.feeder.feed_some()

        fed = Counter(
            row["import_id"]
            for row in await world.rows(IMPORT_ITEMS)
            if row["state"] == "accepted"
        )
        assert fed[small] == 20
        assert all(fed[each] for each in large)


async def test_an_item_that_this_release_cannot_read_ends_nothing(
    world: GatewayWorld,
) -> None:
    job = await start(world, [{"name": f"{n}", "text": "t"} for n in range(2)])
    async with world.database.writing() as connection:
        await connection.execute(
            update(IMPORT_ITEMS)
            .where(IMPORT_ITEMS.c.number == 1)
            .values(payload={"from": "the future"})
        )

    assert await world.parts.feeder.feed_some() == 2

    shown = (await world.client.get(f"/v1/imports/{job['id']}")).json()
    assert shown["counts"] == {"queued": 1, "refused": 1}


async def test_two_gateways_make_each_document_once(world: GatewayWorld) -> None:
    await start(world, [{"name": f"{n}", "text": "t"} for n in range(40)])
    feeder = world.parts.feeder

    await asyncio.gather(feeder.feed_some(), feeder.feed_some())

    assert len(await world.rows(DOCUMENTS)) == 40
    assert len(await world.rows(OUTBOX)) == 40
    assert len(await world.object_keys()) == 40
    assert {row["state"] for row in await world.rows(IMPORT_ITEMS)} == {"accepted"}


async def test_items_of_one_name_are_versions_of_one_document(
    world: GatewayWorld,
) -> None:
    job = await start(
        world,
        [{"name": "a", "text": "1"}, {"name": "a", "text": "2"}],
        on_conflict="replace",
    )
    await world.parts.feeder.feed_some()

    (document,) = await world.rows(DOCUMENTS)
    assert document["version"] == 2
    shown = (await world.client.get(f"/v1/imports/{job['id']}")).json()
    assert (shown["total"], shown["counts"]) == (2, {"queued": 1})


async def test_a_body_that_is_cut_off_imports_nothing(tmp_path: Path) -> None:
    clock = FakeClock()
    async with gateway_world(tmp_path, clock=clock) as world:
        jobs = world.parts.jobs
        begun = {"tenant": "default", "collection": "books", "on_conflict": "fail"}
        await jobs.begin("1" * 36, **begun, now_ms=clock.now_ms())
        await jobs.add("1" * 36, [Item(1, "a", {"name": "a", "text": "b"})])

        assert await world.parts.feeder.feed_some() == 0
        assert (await world.client.get("/v1/imports")).json()["imports"] == []
        clock.advance(25 * 3600)
        await world.sweeper.sweep()
        assert await world.rows(IMPORTS) == await world.rows(IMPORT_ITEMS) == []


async def test_what_cannot_reach_kafka_ends_its_import(world: GatewayWorld) -> None:
    job = await start(world, [{"name": f"{n}", "text": "t"} for n in range(3)])
    await world.parts.feeder.feed_some()
    world.producer.fail_next(DocumentFailure("record_too_large", "it is too large"))

    await world.parts.relay.send_some()

    url = f"/v1/imports/{job['id']}"
    shown = (await world.client.get(url)).json()
    assert shown["counts"] == {"queued": 2, "failed": 1}


async def test_a_document_that_lost_its_bytes_ends_its_import(
    tmp_path: Path, database_url: str
) -> None:
    clock = FakeClock(now_ms=time.time_ns() // 10**6)
    async with gateway_world(tmp_path, url=database_url, clock=clock) as world:
        job = await start(world, [{"name": "a", "text": "t"}])
        await world.parts.feeder.feed_some()
        await world.parts.relay.send_some()
        (document,) = await world.rows(DOCUMENTS)
        passed_on = StatusEvent(
            key=DocumentKey("default", "books", document["id"]),
            revision=1,
            arrival=Arrival(
                1, "t", document["sent_partition"], document["sent_offset"]
            ),
            stage=Stage.LOADER,
            state=State.PASSED_ON,
            lane=Lane.BULK,
            metadata=Metadata(import_job=job["id"]),
        )
        async with world.database.writing() as connection:
            rows = [status_row(passed_on, partition=0, offset=0)]
            await merge_statuses(connection, rows)
        url = f"/v1/imports/{job['id']}"
        shown = (await world.client.get(url)).json()
        assert shown["counts"] == {"processing": 1}

        for key in await world.object_keys():
            await world.objects.delete(key)
        clock.advance(2 * 3600)
        await world.sweeper.sweep()

        shown = (await world.client.get(url)).json()
        assert (shown["counts"], shown["done"]) == ({"failed": 1}, True)
