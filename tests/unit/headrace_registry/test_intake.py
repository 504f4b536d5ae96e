"""Events are acknowledged in order, and none before it is in SQL."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

import pytest
from headrace_registry.intake import Intake
from headrace_registry.metrics import RegistryMetrics
from headrace_registry.records import Read

from headrace.database.merging import Row
from tests.support.eventually import eventually


@dataclass
class Message:
    offset: int
    value: bytes | None = b""
    key: bytes | None = b""
    partition: int = 0
    timestamp: float | None = None


@dataclass
class Event:
    message: Message
    done: list[int]

    def ack(self) -> bool:
        self.done.append(self.message.offset)
        return True


@dataclass
class Stream:
    """Gives events as fast as they are taken; fails where Faust would be misused."""

    count: int
    done: list[int] = field(default_factory=list)
    given: int = 0
    noacked: bool = False

    def noack(self) -> Stream:
        self.noacked = True
        return self

    async def events(self) -> AsyncIterator[Event]:
        assert self.noacked
        for offset in range(self.count):
            self.given += 1
            yield Event(Message(offset), self.done)


@dataclass
class Sql:
    """Writes when it is let."""

    open: asyncio.Event
    batches: list[list[int]] = field(default_factory=list)
    done: list[int] = field(default_factory=list)

    async def write(self, rows: Sequence[Row]) -> None:
        self.batches.append([row["offset"] for row in rows])
        await self.open.wait()
        self.done += self.batches[-1]


def read(message: Message) -> Read:
    if message.offset % 5 == 3:
        return Read("unreadable", problem="odd")
    return Read("status", {"offset": message.offset})


@pytest.fixture
def sql() -> Sql:
    return Sql(asyncio.Event())


def intake(sql: Sql, *, batch: int = 4) -> Intake:
    return Intake(read=read, write=sql.write, batch=batch, metrics=RegistryMetrics())


async def test_all_are_acknowledged_in_order_once_written(sql: Sql) -> None:
    stream, one = Stream(23), intake(sql)
    sql.open.set()
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(one.run())
        await one.consume(stream)
        await eventually(lambda: len(stream.done) == 23)
        running.cancel()
    assert stream.done == list(range(23))
    assert sql.done == [offset for offset in range(23) if offset % 5 != 3]
    assert max(map(len, sql.batches)) <= 4


async def test_while_sql_is_away_nothing_is_acknowledged_and_little_taken(
    sql: Sql,
) -> None:
    stream, one = Stream(100), intake(sql)
    tasks = [asyncio.create_task(one.run()), asyncio.create_task(one.consume(stream))]
    await eventually(lambda: sql.batches)
    for _ in range(50):
        await asyncio.sleep(0)
    assert stream.done == []
    assert stream.given <= 10
    sql.open.set()
    await eventually(lambda: len(stream.done) == 100)
    assert stream.done == list(range(100))
    for task in tasks:
        task.cancel()


async def test_cancelled_in_the_midst_it_acknowledges_nothing_more(sql: Sql) -> None:
    stream, one = Stream(4), intake(sql)
    running = asyncio.create_task(one.run())
    await one.consume(stream)
    await eventually(lambda: sql.batches)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    sql.open.set()
    assert stream.done == []
