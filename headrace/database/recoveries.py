"""What people have asked reconciliation to do now, and what its last look found.

One row: the gateway asks in it, and who holds the registry's lease answers.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

from sqlalchemy import RowMapping, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from headrace.database.engine import Database
from headrace.database.merging import insert_into
from headrace.database.processing import RECOVERIES

_NAME = "reconciliation"
_R = RECOVERIES.c


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What a look came to."""

    began_ms: int
    ended_ms: int
    outcome: str
    """``done``, ``behind`` or ``failed``."""
    problem: str
    """Why it was not done; empty where it was."""
    requeued: int
    failed: int
    worker: str


class Recoveries:
    """Reads and writes the row. Every method raises ``SharedFailure``."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def ask(self, *, by: str, now_ms: int) -> RowMapping:
        """Ask for a look, and see the row.

        Who asks again before it is done has asked for one look.
        """
        said = {"asked_by": by, "asked_ms": now_ms}
        async with self._database.writing() as connection:
            asked = await connection.execute(
                insert_into(connection, RECOVERIES)
                .values(name=_NAME, asked=1, answered=0, **said)
                .on_conflict_do_update(
                    index_elements=[_R.name], set_={"asked": _R.asked + 1, **said}
                )
                .returning(RECOVERIES)
            )
            return asked.mappings().one()

    async def latest(self) -> RowMapping | None:
        """What was asked last and what the last look found."""
        query = select(RECOVERIES).where(_R.name == _NAME)
        async with self._database.reading() as connection:
            return (await connection.execute(query)).mappings().one_or_none()

    async def wanted(self) -> int | None:
        """The number of the last request that no look has answered."""
        row = await self.latest()
        if row is None or row["asked"] <= row["answered"]:
            return None
        return int(row["asked"])


async def note(connection: AsyncConnection, look: Look, *, answers: int | None) -> None:
    """Write down what a look came to.

    Args:
        connection: in a transaction that holds the lease.
        look: asked for or not.
        answers: the last request that was there when it began; ``None`` where it
            answers none.
    """
    said = asdict(look)
    await connection.execute(
        insert_into(connection, RECOVERIES)
        .values(name=_NAME, asked=0, answered=0, **said)
        .on_conflict_do_update(index_elements=[_R.name], set_=said)
    )
    if answers is not None:
        await connection.execute(
            update(RECOVERIES)
            .where(_R.name == _NAME, _R.answered < answers)
            .values(answered=answers)
        )
