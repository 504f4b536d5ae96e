"""Rows get into SQL, however long that takes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from headrace_registry.merger import Merger
from headrace_registry.metrics import RegistryMetrics
from sqlalchemy.exc import DataError

from headrace.database.merging import Row
from headrace.errors import SharedFailure
from tests.support.fake_clock import FakeClock


@dataclass
class Database:
    """Fails as it is told, then works."""

    failures: list[Exception] = field(default_factory=list)
    refuses: Callable[[Row], bool] = lambda row: False
    written: list[int] = field(default_factory=list)

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[None]:
        if self.failures:
            raise self.failures.pop(0)
        before = list(self.written)
        try:
            yield
        except Exception:
            self.written = before
            raise

    async def merge(self, _: object, rows: Sequence[Row]) -> None:
        for row in rows:
            if self.refuses(row):
                raise DataError("insert", {}, ValueError("too long"))
            self.written.append(row["n"])


@dataclass
class World:
    database: Database
    clock: FakeClock = field(default_factory=FakeClock)
    metrics: RegistryMetrics = field(default_factory=RegistryMetrics)

    def __post_init__(self) -> None:
        self.merger = Merger(
            self.database,
            merge=self.database.merge,
            metrics=self.metrics,
            clock=self.clock,
            random=lambda: 1.0,
        )

    def rows(self, count: int) -> list[Row]:
        return [{"n": number, "document": f"d{number}"} for number in range(count)]

    def count(self, name: str, **labels: str) -> float | None:
        labels = {"stage": "registry", **labels}
        return self.metrics.registry.get_sample_value(name, labels)


async def test_it_waits_for_as_long_as_sql_is_away() -> None:
    away = SharedFailure("database_unavailable", "gone")
    world = World(Database([away] * 20))
    problems: list[str | None] = []
    sleep = world.clock.sleep

    async def watched(seconds: float) -> None:
        problems.append(world.merger.problem)
        assert world.database.written == []
        await sleep(seconds)

    world.clock.sleep = watched
    await world.merger.write(world.rows(3))
    assert world.database.written == [0, 1, 2]
    assert problems == ["database_unavailable: gone"] * 20
    assert world.merger.problem is None
    assert all(0.5 <= slept <= 10 for slept in world.clock.slept)
    name = "headrace_database_retries_total"
    assert world.count(name, reason="database_unavailable") == 20


async def test_a_crowded_server_is_left_alone_for_30_s() -> None:
    crowd = SharedFailure("database_connections", "too many", retry_after=30.0)
    world = World(Database([crowd]))
    await world.merger.write(world.rows(1))
    assert world.database.written == [0]
    assert world.clock.slept[0] >= 30


async def test_an_unexpected_error_is_waited_for_too() -> None:
    world = World(Database([RuntimeError("what")]))
    await world.merger.write(world.rows(1))
    assert world.database.written == [0]
    assert world.clock.slept


async def test_only_the_row_that_sql_refuses_is_passed_over() -> None:
    world = World(Database(refuses=lambda row: row["n"] == 2))
    await world.merger.write(world.rows(5))
    assert world.database.written == [0, 1, 3, 4]
    assert world.count("headrace_merged_records_total", outcome="refused") == 1


async def test_nothing_is_nothing() -> None:
    world = World(Database([SharedFailure("never", "asked")]))
    await world.merger.write([])
    assert world.database.failures


async def test_it_can_be_cancelled_while_it_waits() -> None:
    world = World(Database([SharedFailure("database_unavailable", "gone")] * 10_000))
    writing = asyncio.create_task(world.merger.write(world.rows(1)))
    await asyncio.sleep(0)
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
