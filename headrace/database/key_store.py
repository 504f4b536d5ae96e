"""API keys in the database; for the gateway and the command."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import func, insert, or_, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from headrace.database.documents import API_KEYS
from headrace.database.engine import Database
from headrace.database.keys import Scope, StoredKey, hash_of, new_key

MOST_LIVE = 2
"""Of one tenant and label: the one in use, and the one that will replace it."""


_LOCK = 71_205
"""PostgreSQL's name for "I make a key"."""


class TooManyKeys(Exception):
    """There are two live keys of that name already."""


class KeyStore:
    """Makes, finds and revokes keys. Every method raises ``SharedFailure``."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(
        self,
        *,
        tenant: str,
        scopes: frozenset[Scope],
        label: str,
        now_ms: int,
        expires_ms: int | None = None,
    ) -> tuple[StoredKey, str]:
        """A new key; what is returned second is shown once and stored nowhere.

        Raises:
            TooManyKeys: revoke one first.
        """
        id_, key = new_key()
        stored = StoredKey(
            id=id_,
            hash=hash_of(key),
            tenant=tenant,
            scopes=scopes,
            label=label,
            created_ms=now_ms,
            expires_ms=expires_ms,
        )
        live = (
            select(func.count())
            .select_from(API_KEYS)
            .where(
                API_KEYS.c.tenant == tenant,
                API_KEYS.c.label == label,
                API_KEYS.c.revoked_ms.is_(None),
                or_(API_KEYS.c.expires_ms.is_(None), API_KEYS.c.expires_ms > now_ms),
            )
        )
        async with self._database.writing() as connection:
            await _lock(connection, tenant=tenant, label=label)
            if (await connection.scalar(live) or 0) >= MOST_LIVE:
                raise TooManyKeys(label)
            await connection.execute(insert(API_KEYS).values(**_row(stored)))
        return stored, key

    async def find(self, id_: str) -> StoredKey | None:
        """The key of that id, usable or not."""
        query = select(API_KEYS).where(API_KEYS.c.id == id_)
        async with self._database.reading() as connection:
            row = (await connection.execute(query)).mappings().first()
        return None if row is None else _stored(row)

    async def all(self) -> list[StoredKey]:
        """Every key, oldest first."""
        query = select(API_KEYS).order_by(API_KEYS.c.created_ms, API_KEYS.c.id)
        async with self._database.reading() as connection:
            rows = (await connection.execute(query)).mappings().all()
        return [_stored(row) for row in rows]

    async def revoke(self, id_: str, *, now_ms: int) -> bool:
        """Make it useless; whether there was one to revoke."""
        statement = (
            update(API_KEYS)
            .where(API_KEYS.c.id == id_, API_KEYS.c.revoked_ms.is_(None))
            .values(revoked_ms=now_ms)
        )
        async with self._database.writing() as connection:
            return (await connection.execute(statement)).rowcount > 0


async def _lock(connection: AsyncConnection, *, tenant: str, label: str) -> None:
    """Let others who make a key of that name wait: else each would count without it.

    No index can tell how many are live, since that depends on the time. SQLite has one
    writer anyway.
    """
    if connection.dialect.name == "postgresql":
        await connection.execute(
            text("SELECT pg_advisory_xact_lock(:what, hashtext(:name))"),
            {"what": _LOCK, "name": json.dumps([tenant, label])},
        )


def _row(key: StoredKey) -> dict[str, Any]:
    return {
        "id": key.id,
        "hash": key.hash,
        "tenant": key.tenant,
        "scopes": " ".join(sorted(key.scopes)),
        "label": key.label,
        "created_ms": key.created_ms,
        "expires_ms": key.expires_ms,
        "revoked_ms": key.revoked_ms,
    }


def _stored(row: Any) -> StoredKey:
    return StoredKey(
        **{name: row[name] for name in ("id", "hash", "tenant", "label")},
        scopes=frozenset(Scope(word) for word in row["scopes"].split()),
        created_ms=row["created_ms"],
        expires_ms=row["expires_ms"],
        revoked_ms=row["revoked_ms"],
    )
