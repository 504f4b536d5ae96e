"""API keys: what is stored, who may do what, how they are rotated."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from headrace.database.documents import API_KEYS
from headrace.database.key_store import KeyStore, TooManyKeys
from headrace.database.keys import Scope, id_of, matches, new_key
from tests.support.fake_clock import FakeClock
from tests.support.gateway_world import GatewayWorld, gateway_world


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[GatewayWorld]:
    async with gateway_world(tmp_path, auth="keys", clock=FakeClock()) as made:
        yield made


def test_only_the_whole_key_matches() -> None:
    id_, key = new_key()

    assert id_of(key) == id_
    assert id_of(key[:-1]) is None
    assert id_of("Bearer " + key) is None
    assert not matches(key, None)


async def test_what_is_stored_is_not_the_key(world: GatewayWorld) -> None:
    headers = await world.key("ann")

    key = headers["Authorization"].removeprefix("Bearer ")
    (row,) = await world.rows(API_KEYS)
    assert key not in str(dict(row))
    assert key.rpartition("_")[2] not in str(dict(row))


@pytest.mark.parametrize(
    "authorization",
    ["", "Bearer", "Bearer x", "Basic abc", "Bearer hr_000000000000_" + "a" * 43],
)
async def test_without_a_key_nothing_is_done(
    world: GatewayWorld, authorization: str
) -> None:
    answer = await world.upload(headers={"Authorization": authorization})

    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert await world.object_keys() == set()


async def test_scopes_are_told_apart(world: GatewayWorld) -> None:
    reader = await world.key("ann", Scope.READ)
    writer = await world.key("ann", Scope.WRITE)
    admin = await world.key("ann", Scope.ADMIN)

    assert (await world.upload(headers=reader)).status_code == 403
    assert (await world.upload(headers=writer)).status_code == 202
    listing = "/v1/documents"
    assert (await world.client.get(listing, headers=writer)).status_code == 403
    assert (await world.client.get(listing, headers=reader)).status_code == 200
    assert (await world.client.get(listing, headers=admin)).status_code == 200
    for headers in (reader, writer):
        answer = await world.client.get("/v1/admin/dead-letters", headers=headers)
        assert answer.status_code == 403


async def test_tenants_do_not_see_each_other(world: GatewayWorld) -> None:
    ann, bob = await world.key("ann"), await world.key("bob")
    id_ = (await world.upload(headers=ann)).json()["id"]
    url = f"/v1/documents/{id_}"

    for answer in (
        await world.client.get(url, headers=bob),
        await world.client.delete(url, headers=bob),
        await world.client.put(url, json={"text": "x"}, headers=bob),
        await world.client.post(f"{url}/retry", headers=bob),
        await world.client.post(f"{url}/reindex", headers=bob),
    ):
        assert answer.status_code == 404
    listed = await world.client.get("/v1/documents", headers=bob)
    assert listed.json()["documents"] == []
    assert (await world.upload(headers=bob)).status_code == 202


async def test_a_tenants_request_key_is_its_own(world: GatewayWorld) -> None:
    ann, bob = await world.key("ann"), await world.key("bob")
    once = {"Idempotency-Key": "same"}

    first = await world.upload(headers={**ann, **once})
    second = await world.upload(headers={**bob, **once})

    assert first.json()["id"] != second.json()["id"]


async def test_revoked_and_expired_keys_end_within_seconds(
    world: GatewayWorld,
) -> None:
    store = KeyStore(world.database)
    now_ms = world.clock.now_ms()
    stored, key = await store.create(
        tenant="ann",
        scopes=frozenset({Scope.READ}),
        label="x",
        now_ms=now_ms,
        expires_ms=now_ms + 60_000,
    )
    headers = {"Authorization": f"Bearer {key}"}
    other = await world.key("ann")

    async def status(of: dict[str, str]) -> int:
        return (await world.client.get("/v1/documents", headers=of)).status_code

    assert await status(headers) == await status(other) == 200
    assert await store.revoke(id_of(other["Authorization"][7:]), now_ms=now_ms)
    world.clock.advance(6)
    assert (await status(headers), await status(other)) == (200, 401)
    world.clock.advance(60)
    assert await status(headers) == 401
    assert stored.tenant == "ann"


async def test_two_live_keys_are_enough_to_rotate(world: GatewayWorld) -> None:
    store = KeyStore(world.database)

    async def make() -> str:
        stored, _ = await store.create(
            tenant="ann", scopes=frozenset({Scope.READ}), label="x", now_ms=1
        )
        return stored.id

    first, _ = await make(), await make()
    with pytest.raises(TooManyKeys):
        await make()
    await store.revoke(first, now_ms=2)
    await make()


async def test_an_operators_key_reads_no_documents(world: GatewayWorld) -> None:
    operator = await world.key("*")

    assert (
        await world.client.get("/v1/documents", headers=operator)
    ).status_code == 403
    assert (await world.upload(headers=operator)).status_code == 403
