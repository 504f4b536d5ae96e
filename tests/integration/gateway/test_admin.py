"""The admin API but for dead letters: what fails, is stale, waits, works, is paused."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from headrace_gateway.ahead import Places

from headrace.database.documents import IDEMPOTENCY, OUTBOX
from headrace.database.keys import Scope
from headrace.database.merging import (
    heartbeat_row,
    merge_heartbeats,
    merge_statuses,
    status_row,
)
from headrace.database.recoveries import Look, note
from headrace.errors import SharedFailure
from headrace.identity import Arrival, DocumentKey
from headrace.lag import Member
from headrace.messages import (
    Heartbeat,
    Lane,
    Stage,
    State,
    StatusError,
    StatusEvent,
)
from tests.support.gateway_world import GatewayWorld, gateway_world

AUDIT = "headrace.audit.v1"


@pytest.fixture
async def world(tmp_path: Path, database_url: str) -> AsyncIterator[GatewayWorld]:
    async with gateway_world(tmp_path, url=database_url, auth="keys") as made:
        yield made


async def relay_all(world: GatewayWorld) -> None:
    while await world.parts.relay.send_some():
        pass


async def failed(
    world: GatewayWorld,
    name: str,
    headers: dict[str, str],
    *,
    tenant: str,
    code: str = "provider_broke",
    collection: str = "books",
) -> str:
    """A document that a stage has given up."""
    answer = await world.upload(name, headers=headers, collection=collection)
    id_: str = answer.json()["id"]
    await relay_all(world)
    sent = world.producer.to("headrace.documents.v1")[-1]
    arrival = Arrival(1, sent.topic, sent.partition, sent.offset)
    error = StatusError(code, "it broke", "mend it", retryable=True)
    offset = sent.offset * 10 + sent.partition
    key = DocumentKey(tenant, collection, id_)
    await heard(world, key, State.FAILED, offset=offset, arrival=arrival, error=error)
    return id_


async def heard(
    world: GatewayWorld,
    key: DocumentKey,
    state: State,
    *,
    offset: int,
    arrival: Arrival | None = None,
    error: StatusError | None = None,
) -> None:
    """The registry has heard of it."""
    event = StatusEvent(
        key=key,
        revision=0,
        arrival=arrival or Arrival(1, "elsewhere", 0, offset),
        stage=Stage.LOADER,
        state=state,
        error=error,
        at_ms=1_700_000_000_000,
    )
    row = status_row(event, partition=0, offset=offset)
    async with world.database.writing() as connection:
        await merge_statuses(connection, [row])


async def act(
    world: GatewayWorld, path: str, headers: dict[str, str], **said: Any
) -> Any:
    answer = await world.client.post(f"/v1/admin/{path}", json=said, headers=headers)
    return answer.json() | {"status": answer.status_code}


def acts(world: GatewayWorld) -> list[str]:
    said = [json.loads(each.value or b"") for each in world.producer.to(AUDIT)]
    return [each["action"] for each in said]


async def test_all_that_failed_is_retried_once_and_each_tenant_its_own(
    world: GatewayWorld,
) -> None:
    ann, bob = await world.key("ann"), await world.key("bob")
    operator = await world.key("*", Scope.ADMIN)
    mine = {await failed(world, f"{n}.txt", ann, tenant="ann") for n in range(3)}
    other = await failed(world, "c.txt", ann, tenant="ann", collection="maps")
    theirs = await failed(world, "b.txt", bob, tenant="bob", code="no_pdf")
    (await world.upload("fine.txt", headers=ann)).raise_for_status()

    done = await act(world, "failed/retry", ann, all=True, collection="books")
    assert (done["status"], done["retried"], done["left"]) == (200, 3, 0)
    assert set(done["documents"]) == mine
    assert done["stopped"] is None
    again = await act(world, "failed/retry", ann, all=True, collection="books")
    assert again["retried"] == 0

    both = await act(world, "failed/retry", operator, all=True)
    assert set(both["documents"]) == {other, theirs}
    assert acts(world) == ["failed.retry"] * 3
    assert len(await world.rows(OUTBOX)) == 3 + 1 + 2


async def test_a_retry_says_what_it_leaves_and_goes_on_there(
    world: GatewayWorld,
) -> None:
    ann = await world.key("ann")
    for number in range(5):
        await failed(world, f"{number}.txt", ann, tenant="ann")
    first = await act(world, "failed/retry", ann, all=True, limit=2)
    assert (first["retried"], first["left"], first["stopped"]) == (2, 3, "limit")
    exact = await act(world, "failed/retry", ann, all=True, limit=3)
    assert (exact["retried"], exact["left"], exact["stopped"]) == (3, 0, None)


async def test_filters_choose_by_reason_time_and_import(world: GatewayWorld) -> None:
    ann = await world.key("ann")
    wanted = await failed(world, "a.txt", ann, tenant="ann", code="no_pdf")
    await failed(world, "b.txt", ann, tenant="ann")

    async def chosen(**filters: str) -> int:
        done = await act(world, "failed/retry", ann, all=True, **filters)
        assert done["status"] == 200, done
        found: int = done["retried"]
        return found

    assert await chosen(since="2023-11-14T22:13:21Z") == 0
    assert await chosen(until="2023-11-14T22:13:20Z") == 0
    assert await chosen(job="none-such") == 0
    assert await chosen(code="no_pdf", since="2023-11-14T22:13:20Z") == 1
    shown = await world.client.get(f"/v1/documents/{wanted}", headers=ann)
    assert shown.json()["state"] == "accepted"
    assert await chosen(until="2023-11-14T22:13:21Z") == 1


async def test_ids_that_cannot_be_retried_are_told(world: GatewayWorld) -> None:
    ann, bob = await world.key("ann"), await world.key("bob")
    mine = await failed(world, "a.txt", ann, tenant="ann")
    theirs = await failed(world, "b.txt", bob, tenant="bob")
    fine = (await world.upload("fine.txt", headers=ann)).json()["id"]
    done = await act(world, "failed/retry", ann, ids=[mine, theirs, fine])
    assert done["documents"] == [mine]
    told = {each["id"]: each["code"] for each in done["refused"]}
    assert told == {theirs: "not_found", fine: "not_failed"}
    for nonsense in ({}, {"ids": [mine], "all": True}, {"ids": [mine], "code": "x"}):
        assert (await act(world, "failed/retry", ann, **nonsense))["status"] == 422


async def test_a_retry_under_a_key_is_done_once_though_it_fails_again(
    world: GatewayWorld,
) -> None:
    ann = {**await world.key("ann"), "Idempotency-Key": "once"}
    await failed(world, "a.txt", dict(ann) | {"Idempotency-Key": "x"}, tenant="ann")
    before = len(await world.rows(IDEMPOTENCY))
    assert (await act(world, "failed/retry", ann, all=True))["retried"] == 1
    assert len(await world.rows(IDEMPOTENCY)) == before + 1
    assert len(await world.rows(OUTBOX)) == 1
    await act(world, "failed/retry", ann, all=True)
    assert len(await world.rows(OUTBOX)) == 1


async def test_a_retry_stops_where_nothing_more_can_be_accepted(
    world: GatewayWorld,
) -> None:
    ann = await world.key("ann")
    await failed(world, "a.txt", ann, tenant="ann")
    world.waiting.seconds = 1e6
    done = await act(world, "failed/retry", ann, all=True)
    assert (done["retried"], done["left"]) == (0, 1)
    assert done["stopped"] == "busy_ahead"


async def test_a_retry_stops_where_too_many_are_refused(
    world: GatewayWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headrace_gateway.admin.failed._PAGE", 2)
    monkeypatch.setattr("headrace_gateway.admin.failed._MOST_REFUSED", 3)
    ann = await world.key("ann")
    for number in range(6):
        await failed(world, f"{number}.txt", ann, tenant="ann")
    await act(world, "pause", ann, collection="books")
    done = await act(world, "failed/retry", ann, all=True)
    assert (done["retried"], len(done["refused"])) == (0, 4)
    assert (done["left"], done["stopped"]) == (2, "refused")


async def test_what_cannot_be_noted_is_not_done(world: GatewayWorld) -> None:
    ann, operator = await world.key("ann"), await world.key("*", Scope.ADMIN)
    await failed(world, "a.txt", ann, tenant="ann")
    away = SharedFailure("broker_unavailable", "no broker answers")
    for path, said in (
        ("failed/retry", {"all": True}),
        ("recover-stale", {}),
        ("pause", {"collection": "books", "tenant": "ann"}),
        ("resume", {"all": True}),
        ("drain", {}),
    ):
        world.producer.fail_next(away, topic=AUDIT)
        assert (await act(world, path, operator, **said))["status"] == 503
    assert await world.rows(OUTBOX) == []
    assert not world.parts.pauses.all
    recovery = await world.client.get("/v1/admin/recovery", headers=operator)
    assert recovery.json()["asked_at"] is None


async def test_what_is_asked_of_the_registry_is_pending_until_it_is_done(
    world: GatewayWorld,
) -> None:
    ann, operator = await world.key("ann"), await world.key("*", Scope.ADMIN)
    recoveries = world.parts.recoveries

    async def recovery() -> Any:
        return (await world.client.get("/v1/admin/recovery", headers=ann)).json()

    assert await recovery() == {
        "pending": False,
        "asked_at": None,
        "asked_by": None,
        "last": None,
    }
    assert (await act(world, "recover-stale", ann))["code"] == "operator_only"
    asked = await act(world, "recover-stale", operator)
    assert (asked["status"], asked["pending"], asked["last"]) == (202, True, None)
    assert (await act(world, "recover-stale", operator))["pending"]
    wanted = await recoveries.wanted()
    assert wanted == 2
    # Asked while it is looked: that look does not answer it.
    await act(world, "recover-stale", operator)
    look = Look(
        began_ms=1,
        ended_ms=2,
        outcome="done",
        problem="",
        requeued=3,
        failed=4,
        worker="w",
    )
    async with world.database.writing() as connection:
        await note(connection, look, answers=wanted)
    shown = await recovery()
    assert shown["pending"]
    assert (shown["last"]["requeued"], shown["last"]["failed"]) == (3, 4)
    async with world.database.writing() as connection:
        await note(connection, replace(look, outcome="behind"), answers=None)
    assert await recoveries.wanted() == 3
    async with world.database.writing() as connection:
        await note(connection, look, answers=3)
    assert not (await recovery())["pending"]
    assert acts(world) == ["recover-stale"] * 3


async def test_a_tenant_pauses_its_own_collections_and_nothing_else(
    world: GatewayWorld,
) -> None:
    ann, bob = await world.key("ann"), await world.key("bob")
    operator = await world.key("*", Scope.ADMIN)
    for said in ({"all": True}, {"stage": "loader"}):
        assert (await act(world, "pause", ann, **said))["code"] == "operator_only"
    theirs = await act(world, "pause", ann, collection="books", tenant="bob")
    assert theirs["code"] == "operator_only"
    for nonsense in ({}, {"all": True, "stage": "loader"}, {"tenant": "ann"}):
        assert (await act(world, "pause", operator, **nonsense))["status"] == 422
    nobody = await act(world, "pause", operator, collection="books")
    assert nobody["status"] == 422
    assert acts(world) == []

    paused = await act(world, "pause", ann, collection="books", reason="cleaning")
    assert (paused["tenant"], paused["collection"]) == ("ann", "books")
    assert paused["by"].startswith("key:")
    await act(world, "pause", operator, stage="embedder", reason="a new model")
    await act(world, "pause", operator, collection="books", tenant="bob")

    async def seen(headers: dict[str, str]) -> list[tuple[Any, ...]]:
        answer = await world.client.get("/v1/admin/pauses", headers=headers)
        return [
            (each["stage"], each["tenant"], each["collection"])
            for each in answer.json()["pauses"]
        ]

    stage = ("embedder", None, None)
    assert await seen(ann) == [(None, "ann", "books"), stage]
    assert await seen(bob) == [(None, "bob", "books"), stage]
    assert len(await seen(operator)) == 3

    resumed = await act(world, "resume", ann, collection="books")
    assert resumed["resumed"]
    assert not (await act(world, "resume", ann, collection="books"))["resumed"]
    assert await seen(ann) == [stage]
    assert acts(world) == [*["pause"] * 3, *["resume"] * 2]


async def test_nothing_goes_into_a_paused_collection(world: GatewayWorld) -> None:
    ann, bob = await world.key("ann"), await world.key("bob")
    broken = await failed(world, "broken.txt", ann, tenant="ann")
    text = {"collection": "books", "name": "t", "text": "t"}
    await act(world, "pause", ann, collection="books", reason="cleaning")
    objects = await world.object_keys()

    client = world.client
    refusals = [
        await world.upload("new.txt", headers=ann),
        await client.post("/v1/documents", json=text, headers=ann),
        await client.put(
            f"/v1/documents/{broken}", json={"text": "other"}, headers=ann
        ),
        await client.post(f"/v1/documents/{broken}/retry", headers=ann),
        await client.post(f"/v1/documents/{broken}/reindex", headers=ann),
    ]
    for refusal in refusals:
        said = refusal.json()
        assert (refusal.status_code, said["code"]) == (503, "paused_collection")
        assert int(refusal.headers["retry-after"]) > 0
        assert said["reason"] == "cleaning"
        assert said["paused_by"].startswith("key:")
    assert await world.object_keys() == objects
    many = await act(world, "failed/retry", ann, all=True)
    assert [each["code"] for each in many["refused"]] == ["paused_collection"]
    assert await world.rows(OUTBOX) == []

    elsewhere = await world.upload("a.txt", headers=ann, collection="maps")
    assert elsewhere.status_code == 202
    assert (await world.upload("a.txt", headers=bob)).status_code == 202
    gone = await client.delete(f"/v1/documents/{broken}", headers=ann)
    assert gone.status_code == 202
    await act(world, "resume", ann, collection="books")
    assert (await world.upload("new.txt", headers=ann)).status_code == 202


async def test_where_nobody_is_asked_everybody_is_an_operator(tmp_path: Path) -> None:
    async with gateway_world(tmp_path) as world:
        assert (await act(world, "pause", {}, all=True))["all"]
        mine = await act(world, "pause", {}, collection="books")
        assert mine["tenant"] == "default"
        other = await act(world, "pause", {}, collection="books", tenant="ann")
        assert other["tenant"] == "ann"
        assert (await act(world, "recover-stale", {}))["status"] == 202


async def test_an_import_into_a_paused_collection_waits_until_it_is_resumed(
    world: GatewayWorld,
) -> None:
    ann = await world.key("ann")
    writer = await world.key("ann", Scope.WRITE)
    await act(world, "pause", ann, collection="books")

    async def start(headers: dict[str, str], **query: str) -> Any:
        line = json.dumps({"name": f"n{len(query)}", "text": "t"})
        return await world.client.post(
            "/v1/imports",
            params={"collection": "books", **query},
            content=line,
            headers={**headers, "content-type": "application/x-ndjson"},
        )

    assert (await start(ann)).json()["code"] == "paused_collection"
    assert (await start(writer, while_paused="true")).status_code == 403
    taken = await start(ann, while_paused="true")
    assert taken.status_code == 202, taken.text
    elsewhere = await start(ann, collection="maps")
    assert elsewhere.status_code == 202

    assert await world.parts.feeder.feed_some() == 1
    assert await world.parts.feeder.feed_some() == 0
    job = await world.client.get(f"/v1/imports/{taken.json()['id']}", headers=ann)
    assert job.json()["counts"] == {"waiting": 1}
    await act(world, "resume", ann, collection="books")
    assert await world.parts.feeder.feed_some() == 1


async def test_depth_tells_what_waits_where_and_documents_by_state(
    world: GatewayWorld,
) -> None:
    ann, bob = await world.key("ann"), await world.key("bob")
    operator = await world.key("*", Scope.ADMIN)
    await failed(world, "a.txt", ann, tenant="ann")
    for name in ("b.txt", "c.txt"):
        await world.upload(name, headers=ann)
    gone = await world.upload("d.txt", headers=ann)
    await world.client.delete(f"/v1/documents/{gone.json()['id']}", headers=ann)
    await world.upload("b.txt", headers=bob)
    await heard(
        world, DocumentKey("ann", "maps", "by Kafka"), State.INDEXED, offset=900
    )
    await heard(
        world, DocumentKey("ann", "maps", "on its"), State.PASSED_ON, offset=901
    )
    await heard(world, DocumentKey("ann", "maps", "gone"), State.DELETED, offset=902)
    now_ms = world.clock.now_ms()
    since = {1: now_ms - 60_000, 2: now_ms - 10_000}
    world.waiting.found = [
        Places(Stage.LOADER, Lane.BULK, {0: 0, 1: 7, 2: 1}, since),
        Places(Stage.INDEXER, Lane.INTERACTIVE, {0: 0}, {}),
    ]

    async def depth(headers: dict[str, str], **query: str) -> Any:
        path = "/v1/admin/depth"
        answer = await world.client.get(path, headers=headers, params=query)
        return answer.json()

    seen = await depth(ann)
    bulk, idle = seen["stages"]
    assert (bulk["stage"], bulk["lane"], bulk["records"]) == ("loader", "bulk", 8)
    assert 60 <= bulk["age_s"] < 600
    ages = {each["partition"]: each["age_s"] for each in bulk["partitions"]}
    assert ages[0] == 0
    assert 10 <= ages[2] < ages[1]
    assert (idle["records"], idle["age_s"]) == (0, 0)
    theirs = {"indexed": 1, "processing": 1}
    assert seen["states"] == {"accepted": 2, "failed": 1, **theirs}
    (maps,) = (await depth(ann, collection="maps"))["collections"]
    assert maps["states"] == theirs
    everything = await depth(operator)
    assert everything["states"] == {"accepted": 3, "failed": 1, **theirs}
    groups = [
        (each["tenant"], each["collection"]) for each in everything["collections"]
    ]
    assert groups == [("ann", "books"), ("ann", "maps"), ("bob", "books")]


async def test_workers_are_those_in_the_groups_and_those_who_were_heard(
    world: GatewayWorld,
) -> None:
    ann = await world.key("ann")
    member = Member(client_id="embedder-a-1@1.2.3", host="10.0.0.7", partitions=4)
    world.waiting.groups = {
        Stage.LOADER: [Member(client_id="other", host="10.0.0.8", partitions=0)],
        Stage.EMBEDDER: [member],
    }
    beats = [
        Heartbeat(
            DocumentKey("t", "c", f"d{number}"),
            1,
            Arrival(1, "t", 0, number),
            Stage.EMBEDDER,
            worker,
            1,
            2,
        )
        for number, worker in enumerate(
            ["embedder-a-1", "embedder-a-1", "embedder-b-2"]
        )
    ]
    heard_ms = world.clock.now_ms()
    rows = [
        heartbeat_row(beat, heard_ms=heard_ms, offset=number)
        for number, beat in enumerate(beats)
    ]
    async with world.database.writing() as connection:
        await merge_heartbeats(connection, rows)
    answer = await world.client.get("/v1/admin/workers", headers=ann)
    other, here, gone = answer.json()["workers"]
    assert (other["worker"], other["version"]) == ("other", None)
    assert here == {
        "worker": "embedder-a-1",
        "stage": "embedder",
        "version": "1.2.3",
        "address": "10.0.0.7",
        "connected": True,
        "partitions": 4,
        "documents": 2,
        "heard_at": gone["heard_at"],
    }
    assert (gone["worker"], gone["connected"]) == ("embedder-b-2", False)


async def test_drain_waits_and_says_what_is_left_and_what_holds_it(
    world: GatewayWorld,
) -> None:
    ann, operator = await world.key("ann"), await world.key("*", Scope.ADMIN)
    world.waiting.lefts = [{Stage.LOADER: 2, Stage.INDEXER: 5}, {Stage.INDEXER: 1}, {}]
    done = await act(world, "drain", ann, timeout_s=60)
    assert (done["drained"], done["left"], done["pauses"]) == (True, [], [])

    await act(world, "pause", operator, stage="indexer")
    await act(world, "pause", operator, stage="loader")
    world.waiting.lefts = [{Stage.INDEXER: 5}]
    late = await act(world, "drain", operator, timeout_s=0)
    assert late["left"] == [{"stage": "indexer", "records": 5}]
    assert [each["stage"] for each in late["pauses"]] == ["indexer"]
    other = await act(world, "drain", operator, stage="chunker", timeout_s=0)
    assert other["drained"]
    assert acts(world)[0] == "drain"
