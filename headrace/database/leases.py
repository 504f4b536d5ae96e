"""A lease: who may act for all. Fenced by a counter, told by the database's own clock.

A holder that was asleep for longer than its lease does not know that another has it.
So whatever is done under a lease is written in a transaction that asks (``fence``).
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, and_, literal_column, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from headrace.database.engine import Database
from headrace.database.merging import insert_into
from headrace.database.processing import LEASES

_NOW_MS = {
    "sqlite": "CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)",
    "postgresql": "CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT)",
}


class LeaseLost(Exception):
    """Another holds it now, or may."""


class Lease:
    """One process's hold on a lease; taken, and taken again before it runs out.

    Args:
        database: where it is written.
        name: of what is leased.
        holder: name of this process.
        for_s: how long it lasts.
    """

    def __init__(
        self, database: Database, *, name: str, holder: str, for_s: float
    ) -> None:
        self._database = database
        self._name = name
        self._holder = holder
        self._for_ms = round(for_s * 1000)
        self._now: ColumnElement[int] = literal_column(_NOW_MS[database.dialect])
        self._counter = 0

    async def hold(self) -> bool:
        """Take it, or keep it for as long again; whether it is ours.

        Raises:
            SharedFailure: the database is away.
        """
        async with self._database.writing() as connection:
            kept = await connection.execute(
                update(LEASES)
                .where(self._ours)
                .values(until_ms=self._now + self._for_ms)
                .returning(LEASES.c.counter)
            )
            if kept.scalar_one_or_none() is not None:
                return True
            insert = insert_into(connection, LEASES)
            taken = await connection.execute(
                insert.values(
                    name=self._name,
                    holder=self._holder,
                    counter=1,
                    until_ms=self._now + self._for_ms,
                )
                .on_conflict_do_update(
                    index_elements=[LEASES.c.name],
                    set_={
                        "holder": insert.excluded.holder,
                        "counter": LEASES.c.counter + 1,
                        "until_ms": insert.excluded.until_ms,
                    },
                    where=LEASES.c.until_ms <= self._now,
                )
                .returning(LEASES.c.counter)
            )
            counter = taken.scalar_one_or_none()
        if counter is None:
            return False
        self._counter = counter
        return True

    async def fence(self, connection: AsyncConnection) -> None:
        """Let this transaction be committed only while the lease is ours.

        Raises:
            LeaseLost: it is not.
        """
        held = await connection.execute(
            select(LEASES.c.counter)
            .where(self._ours, LEASES.c.until_ms > self._now)
            .with_for_update()
        )
        if held.scalar_one_or_none() is None:
            raise LeaseLost(f"{self._holder} has lost the lease {self._name}")

    async def give_back(self) -> None:
        """Let others have it at once."""
        async with self._database.writing() as connection:
            await connection.execute(
                update(LEASES).where(self._ours).values(until_ms=0)
            )

    async def holder(self) -> str:
        """Who has it, or had it last; empty where nobody ever had."""
        async with self._database.reading() as connection:
            statement = select(LEASES.c.holder).where(LEASES.c.name == self._name)
            found = await connection.execute(statement)
            return found.scalar_one_or_none() or ""

    @property
    def _ours(self) -> Any:
        return and_(
            LEASES.c.name == self._name,
            LEASES.c.holder == self._holder,
            LEASES.c.counter == self._counter,
        )
