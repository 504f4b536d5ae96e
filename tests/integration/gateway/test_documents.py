"""What /v1/documents promises."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from headrace.database.documents import CONTENTS, DOCUMENTS, OUTBOX
from headrace.handler import Record
from headrace.identity import DocumentKey
from headrace.messages import Lane, ObjectReference, Operation
from headrace.wire import decode_event
from tests.support.fake_producer import Sent
from tests.support.gateway_world import GatewayWorld, gateway_world


@pytest.fixture
async def world(tmp_path: Path, database_url: str) -> AsyncIterator[GatewayWorld]:
    async with gateway_world(tmp_path, url=database_url) as made:
        yield made


def event_of(sent: Sent):
    return decode_event(
        Record(sent.topic, sent.partition, sent.offset, 0, sent.key, sent.value)
    )


async def test_an_upload_is_stored_then_recorded_then_sent(world: GatewayWorld) -> None:
    answer = await world.upload(content=b"x" * 3_000_000)

    assert answer.status_code == 202, answer.text
    accepted = answer.json()
    assert answer.headers["etag"] == '"1"'
    (row,) = await world.rows(DOCUMENTS)
    (content,) = await world.rows(CONTENTS)
    assert (row["id"], row["size"]) == (accepted["id"], 3_000_000)
    assert content["sha256"] == hashlib.sha256(b"x" * 3_000_000).hexdigest()
    assert await world.parts.relay.send_some() == 1
    assert await world.rows(OUTBOX) == []
    (sent,) = world.producer.sent
    event = event_of(sent)
    assert sent.topic == "headrace.documents.v1"
    assert event.key == DocumentKey("default", "books", accepted["id"])
    assert (event.source_version, event.lane) == (1, Lane.INTERACTIVE)
    assert event.metadata.name == "a.txt"
    assert isinstance(event.object, ObjectReference)
    world.objects.authorise(event.object, tenant="default")
    assert await world.objects.get(event.object, 10**7) == b"x" * 3_000_000


async def test_text_and_uri_come_as_json(world: GatewayWorld) -> None:
    text = {
        "collection": "books",
        "name": "t",
        "text": "héllo",
        "attributes": {"a": "b"},
    }
    uri = {"collection": "books", "name": "u", "uri": "https://example.org/x"}

    assert (await world.client.post("/v1/documents", json=text)).status_code == 202
    assert (await world.client.post("/v1/documents", json=uri)).status_code == 202

    await world.parts.relay.send_some()
    first, second = sorted(
        map(event_of, world.producer.sent), key=lambda e: e.metadata.name
    )
    assert first.object is not None
    assert await world.objects.get(first.object, 100) == "héllo".encode()
    assert first.metadata.attributes == {"a": "b"}
    assert (second.uri, second.metadata.source_uri) == (uri["uri"], uri["uri"])


async def test_the_second_of_a_name_is_told_the_first(world: GatewayWorld) -> None:
    first = (await world.upload()).json()

    second = await world.upload(content=b"other")

    assert second.status_code == 409
    assert second.headers["content-type"] == "application/problem+json"
    assert second.json()["existing_id"] == first["id"]
    assert second.json()["code"] == "document_exists"
    assert len(await world.object_keys()) == 1
    other = await world.upload(collection="films")
    assert other.status_code == 202


async def test_a_deleted_name_is_free(world: GatewayWorld) -> None:
    first = (await world.upload()).json()
    gone = await world.client.delete(f"/v1/documents/{first['id']}")
    assert gone.status_code == 202

    second = await world.upload()

    assert second.status_code == 202
    assert second.json()["id"] != first["id"]
    while await world.parts.relay.send_some():
        pass
    events = [event_of(sent) for sent in world.producer.sent]
    of_first = [e for e in events if e.key.document_id == first["id"]]
    assert [(e.operation, e.source_version) for e in of_first] == [
        (Operation.UPSERT, 1),
        (Operation.DELETE, 2),
    ]
    listed = (await world.client.get("/v1/documents")).json()["documents"]
    assert [each["id"] for each in listed] == [second.json()["id"]]
    shown = (await world.client.get(f"/v1/documents/{first['id']}")).json()
    assert shown["deleted_at"]


@pytest.mark.parametrize(("on_conflict", "kept"), [("replace", 1), ("new-version", 2)])
async def test_a_new_version_keeps_the_id(
    world: GatewayWorld, on_conflict: str, kept: int
) -> None:
    first = (await world.upload()).json()

    second = await world.upload(content=b"other", on_conflict=on_conflict)

    assert second.status_code == 202
    assert (second.json()["id"], second.json()["version"]) == (first["id"], 2)
    shown = (await world.client.get(f"/v1/documents/{first['id']}")).json()
    assert len(shown["versions"]) == kept
    assert shown["size"] == 5


async def test_if_match_lets_only_one_of_two_writers(world: GatewayWorld) -> None:
    first = await world.upload()
    url = f"/v1/documents/{first.json()['id']}"
    tag = {"If-Match": first.headers["etag"]}

    mine, theirs = await asyncio.gather(
        world.client.put(url, json={"text": "mine"}, headers=tag),
        world.client.put(url, json={"text": "theirs"}, headers=tag),
    )

    assert sorted([mine.status_code, theirs.status_code]) == [202, 412]
    assert len(await world.object_keys()) == 2  # the first's and the winner's


async def test_the_same_request_has_the_same_answer(world: GatewayWorld) -> None:
    once = {"Idempotency-Key": "k1"}
    first = await world.upload(headers=once)

    again = await world.upload(headers=once)
    other = await world.upload(content=b"other", headers=once)

    assert again.status_code == first.status_code == 202
    assert again.json() == first.json()
    assert again.headers["idempotent-replayed"] == "true"
    assert other.status_code == 409
    assert other.json()["code"] == "idempotency_key_reused"
    assert len(await world.object_keys()) == 1
    assert len(await world.rows(OUTBOX)) == 1


async def test_the_same_request_at_once_is_done_once(world: GatewayWorld) -> None:
    once = {"Idempotency-Key": "k1"}

    answers = await asyncio.gather(*(world.upload(headers=once) for _ in range(8)))

    assert {each.status_code for each in answers} == {202}
    assert len({each.json()["id"] for each in answers}) == 1
    assert len(await world.rows(DOCUMENTS)) == 1
    assert len(await world.object_keys()) == 1


async def test_one_hundred_pairs_at_once_are_one_document_each(
    world: GatewayWorld,
) -> None:
    for number in range(100):
        one, two = await asyncio.gather(
            world.upload(f"{number}.txt", b"one"), world.upload(f"{number}.txt", b"two")
        )
        codes = sorted([one.status_code, two.status_code])
        assert codes == [202, 409], (one.text, two.text)
    assert len(await world.rows(DOCUMENTS)) == 100
    assert len(await world.rows(OUTBOX)) == 100
    assert len(await world.object_keys()) == 100


async def test_pages_follow_each_other_in_every_order(world: GatewayWorld) -> None:
    for number in range(7):
        await world.upload(f"{number % 3}-{number}.txt")
    for sort in ("created", "-created", "updated", "-updated", "name", "-name"):
        seen: list[str] = []
        cursor: str | None = None
        while True:
            query = {"limit": "2", "sort": sort} | (
                {"cursor": cursor} if cursor else {}
            )
            page = (await world.client.get("/v1/documents", params=query)).json()
            seen += [each["name"] for each in page["documents"]]
            cursor = page["next"]
            if cursor is None:
                break
        assert len(seen) == len(set(seen)) == 7
        if sort.endswith("name"):
            assert seen == sorted(seen, reverse=sort.startswith("-"))
    found = await world.client.get("/v1/documents", params={"text": "1-4"})
    assert [e["name"] for e in found.json()["documents"]] == ["1-4.txt"]


async def test_errors_say_what_is_wrong(world: GatewayWorld) -> None:
    client = world.client
    cases = {
        404: await client.get("/nowhere"),
        405: await client.patch("/v1/documents"),
        415: await client.post("/v1/documents", content=b"x"),
        422: await client.post("/v1/documents", json={"collection": "a/b"}),
        400: await client.post(
            "/v1/documents",
            content=b"--x\r\nbroken",
            headers={"content-type": "multipart/form-data; boundary=x"},
        ),
    }
    for status, answer in cases.items():
        assert answer.status_code == status, answer.text
        assert answer.headers["content-type"] == "application/problem+json"
        problem = answer.json()
        assert problem["status"] == status
        assert problem["request_id"] == answer.headers["x-request-id"]


async def test_a_file_beyond_the_limit_leaves_nothing(tmp_path: Path) -> None:
    async with gateway_world(tmp_path, max_upload_bytes=1_000_000) as world:
        answer = await world.upload(content=b"x" * 1_500_000)

        assert answer.status_code == 413
        assert await world.object_keys() == set()
        assert await world.rows(DOCUMENTS) == []


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b'{"a":' * 50_000, id="deep objects"),
        pytest.param(b"[" * 50_000, id="deep lists"),
        pytest.param(b'{"collection": "c", "query": "\\ud800"}', id="half a character"),
        pytest.param(b'{"collection": "c", "query": "x", "limit": 1e999}', id="number"),
        pytest.param(b"\xff\xfe", id="no text"),
        pytest.param(b"1" * 50_000, id="long number"),
    ],
)
@pytest.mark.parametrize("path", ["/v1/search", "/v1/documents"])
async def test_hostile_json_is_refused(tmp_path: Path, path: str, body: bytes) -> None:
    async with gateway_world(tmp_path) as world:
        answer = await world.client.post(
            path, content=body, headers={"content-type": "application/json"}
        )

        assert answer.status_code in {400, 422}, answer.text
        assert answer.headers["content-type"] == "application/problem+json"


async def test_hostile_names_are_kept_as_they_are_or_refused(
    world: GatewayWorld,
) -> None:
    for name in ("<script>alert(1)</script>", "../../etc/passwd", "a\u202eb", "%00"):
        accepted = await world.client.post(
            "/v1/documents", json={"collection": "c", "name": name, "text": "x"}
        )
        assert accepted.status_code == 202, accepted.text
        shown = await world.client.get(f"/v1/documents/{accepted.json()['id']}")
        assert shown.json()["name"] == name
        assert shown.headers["x-content-type-options"] == "nosniff"
    for name in ("a\0b", "a\nb", "", "x" * 1025, "ä" * 600):
        refused = await world.client.post(
            "/v1/documents", json={"collection": "c", "name": name, "text": "x"}
        )
        assert refused.status_code == 422


@pytest.mark.parametrize("origin", ["https://else.example", "null", "http://["])
async def test_no_page_of_another_site_acts_where_nobody_is_asked(
    world: GatewayWorld, origin: str
) -> None:
    refused = await world.upload(headers={"Origin": origin})
    assert (refused.status_code, refused.json()["code"]) == (403, "foreign_origin")
    asked = await world.client.post(
        "/v1/admin/recover-stale", headers={"Origin": origin}
    )
    assert asked.status_code == 403
    assert await world.rows(DOCUMENTS) == []
    own = {"Origin": str(world.client.base_url).rstrip("/")}
    assert (await world.upload(headers=own)).status_code == 202
