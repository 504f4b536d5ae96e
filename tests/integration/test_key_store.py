"""Two live keys of a tenant and label, however many ask at once; on both databases."""

from __future__ import annotations

import asyncio

from headrace.database.engine import Database
from headrace.database.key_store import KeyStore, TooManyKeys
from headrace.database.keys import Scope


async def test_two_live_keys_though_many_are_asked_for_at_once(
    database: Database,
) -> None:
    keys = KeyStore(database)

    async def make(tenant: str, label: str) -> bool:
        try:
            await keys.create(
                tenant=tenant, scopes=frozenset(Scope), label=label, now_ms=1
            )
        except TooManyKeys:
            return False
        return True

    names = [("ann", "app"), ("ann", "other"), ("bob", "app")]
    made = await asyncio.gather(*(make(*name) for name in names * 8))

    assert sum(made) == 6
    live = sorted((each.tenant, each.label) for each in await keys.all())
    assert live == sorted(names * 2)


async def test_a_key_that_ended_makes_room(database: Database) -> None:
    keys = KeyStore(database)

    async def make(now_ms: int, expires_ms: int | None = None) -> str:
        stored, _ = await keys.create(
            tenant="ann",
            scopes=frozenset(Scope),
            label="app",
            now_ms=now_ms,
            expires_ms=expires_ms,
        )
        return stored.id

    first = await make(1)
    await make(1, expires_ms=5)
    await make(5)
    assert await keys.revoke(first, now_ms=6)
    await make(6)
    assert len(await keys.all()) == 4
