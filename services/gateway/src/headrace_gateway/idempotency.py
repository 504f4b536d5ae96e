"""Requests that come again get the answer that they had, by the key of their caller.

The answer is written by the transaction that does what was asked, so there is one only
where it was done. Of two at once the second waits for the first one's transaction: it
is told the same, or, where the first came to nothing, does it itself.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from headrace.database.documents import IDEMPOTENCY
from headrace.database.merging import insert_into
from headrace_gateway.drafts import Once
from headrace_gateway.problems import Problem

Answer = dict[str, Any]

_I = IDEMPOTENCY.c


async def known(connection: AsyncConnection, tenant: str, key: str) -> bool:
    """Whether some request with that key was answered."""
    query = select(_I.key).where(_I.tenant == tenant, _I.key == key)
    return (await connection.execute(query)).first() is not None


async def answer_to(
    connection: AsyncConnection, tenant: str, asked: Once
) -> Answer | None:
    """The answer that the same request had, if it came before.

    Raises:
        Problem: another request had that key.
    """
    query = select(IDEMPOTENCY).where(_I.tenant == tenant, _I.key == asked.key)
    row = (await connection.execute(query)).mappings().first()
    if row is None:
        return None
    if row["request_hash"] != asked.request_hash:
        raise Problem(
            409,
            "idempotency_key_reused",
            "another request had this Idempotency-Key",
            advice="make a new key for each request, and send it again only with the "
            "same one",
        )
    found: Answer = row["answer"]
    return found


async def begin(
    connection: AsyncConnection, tenant: str, asked: Once, *, now_ms: int
) -> Answer | None:
    """Take the key, before all else; or the answer that it has.

    Raises:
        Problem: another request had that key.
    """
    took = await connection.execute(
        insert_into(connection, IDEMPOTENCY)
        .values(
            tenant=tenant,
            key=asked.key,
            request_hash=asked.request_hash,
            status=202,
            answer={},
            created_ms=now_ms,
        )
        .on_conflict_do_nothing()
    )
    return None if took.rowcount else await answer_to(connection, tenant, asked)


async def end(
    connection: AsyncConnection, tenant: str, asked: Once, answer: Answer
) -> None:
    """Write the answer down."""
    await connection.execute(
        update(IDEMPOTENCY)
        .where(_I.tenant == tenant, _I.key == asked.key)
        .values(answer=answer)
    )


def expired() -> Problem:
    """The key was known when the request began, and is not any more."""
    return Problem(
        409, "idempotency_key_expired", "the key has just expired; use a new one"
    )
