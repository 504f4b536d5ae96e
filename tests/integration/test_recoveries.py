"""Reconciliation when somebody asks for it: once, by one process, and noted."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from headrace_registry.metrics import RegistryMetrics
from headrace_registry.reconciliation import Behind, Reconciliation, Rules
from prometheus_client import CollectorRegistry

from headrace.database.engine import Database
from headrace.database.leases import Lease
from headrace.database.recoveries import Recoveries
from headrace.topology import Topology
from tests.support.fake_clock import FakeClock

Look = Callable[[], Awaitable[None]]


class Reconciler:
    """A process's reconciliation, whose looks are the test's."""

    def __init__(self, database: Database, name: str) -> None:
        self.looks = 0
        self.look: Look | None = None
        unused: Any = None
        self.it = Reconciliation(
            rules=Rules(120, 3),
            topology=Topology(),
            group="registry",
            database=database,
            lease=Lease(database, name="reconciliation", holder=name, for_s=600),
            offsets=unused,
            originals=unused,
            producer=unused,
            status=unused,
            metrics=RegistryMetrics(CollectorRegistry()),
            clock=FakeClock(),
            recoveries=Recoveries(database),
            worker=name,
        )
        self.it._look = self._look  # type: ignore[method-assign]

    async def _look(self) -> None:
        self.looks += 1
        if self.look is not None:
            await self.look()


@pytest.fixture
def two(database: Database) -> tuple[Reconciler, Reconciler]:
    return Reconciler(database, "one"), Reconciler(database, "two")


async def test_what_is_asked_for_is_done_once_and_by_one(
    two: tuple[Reconciler, Reconciler], database: Database
) -> None:
    recoveries = Recoveries(database)
    for each in two:
        await each.it.run_if_asked()
    assert [each.looks for each in two] == [0, 0]

    for number in range(2):
        await recoveries.ask(by=f"somebody {number}", now_ms=5)
    for each in (*two, *two):
        await each.it.run_if_asked()

    assert [each.looks for each in two] == [1, 0]
    row = await recoveries.latest()
    assert row is not None
    assert (row["asked"], row["answered"], row["outcome"]) == (2, 2, "done")
    assert (row["worker"], row["asked_by"]) == ("one", "somebody 1")


@pytest.mark.parametrize(
    ("error", "outcome"), [(Behind("late"), "behind"), (OSError("gone"), "failed")]
)
async def test_a_look_that_fails_is_noted_and_tried_again(
    two: tuple[Reconciler, Reconciler],
    database: Database,
    error: Exception,
    outcome: str,
) -> None:
    recoveries, (one, _) = Recoveries(database), two

    async def fail() -> None:
        raise error

    one.look = fail
    await recoveries.ask(by="somebody", now_ms=5)
    await one.it.run_if_asked()
    row = await recoveries.latest()
    assert row is not None
    assert (row["answered"], row["outcome"]) == (0, outcome)
    assert str(error) in row["problem"]

    one.look = None
    await one.it.run_if_asked()
    assert await recoveries.wanted() is None


async def test_who_asks_amid_a_look_gets_another(
    two: tuple[Reconciler, Reconciler], database: Database
) -> None:
    recoveries, (one, _) = Recoveries(database), two

    async def asked_again() -> None:
        one.look = None
        await recoveries.ask(by="late", now_ms=6)
        # The ticks go on meanwhile.
        await one.it.run_if_asked()

    one.look = asked_again
    await one.it.run()
    assert (one.looks, await recoveries.wanted()) == (1, 1)
    await one.it.run_if_asked()
    assert (one.looks, await recoveries.wanted()) == (2, None)
