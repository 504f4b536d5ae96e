"""The stack that the rows share, and the report of what they showed."""

from __future__ import annotations

import asyncio
import itertools
import os
import re
import sys
from collections.abc import AsyncIterator, Generator
from dataclasses import asdict
from typing import Any

import pytest
import pytest_asyncio

from headrace.messages import Stage
from tests.faults.front import Front
from tests.faults.harness import Harness
from tests.faults.machines import StageMachine
from tests.faults.reporting import Report, Row
from tests.faults.stack import FaultStack
from tests.support.postgres import PostgresMissing

_ROW = pytest.StashKey[Row]()
_FAILED = pytest.StashKey[bool]()
_LAST_WORDS = 2500
_CLOSING_S = 30.0
_numbers = itertools.count(1)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--report",
        action="store_true",
        help="write the table of docs/reliability.md from this run",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Report())


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Those that need no stack first: while they hold the loop, the proxies stand.

    With two workers (``--dist loadgroup``) they run beside the one that has the stack.
    """
    items.sort(
        key=lambda item: (needs_stack(item), needs_front(item), not reads_all(item))
    )
    for item in filter(needs_stack, items):
        item.add_marker(pytest.mark.xdist_group("stack"))


def needs_stack(item: pytest.Item) -> bool:
    return "harness" in getattr(item, "fixturenames", ())


def needs_front(item: pytest.Item) -> bool:
    """Whether it is about gateway and registry: a stack of its own, with both."""
    return "front" in getattr(item, "fixturenames", ())


def reads_all(item: pytest.Item) -> bool:
    """Whether stages go through all that earlier rows have left."""
    return item.get_closest_marker("reads_all") is not None


# -- the report -------------------------------------------------------------------


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    """A row that says nothing has shown nothing."""
    result = yield
    if item.get_closest_marker("row") and not _row_of(item).told:
        pytest.fail("the row ended without row.result(…)", pytrace=False)
    return result


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, Any, Any]:
    report = yield
    if report.failed:
        item.stash[_FAILED] = True
        harness = getattr(item, "funcargs", {}).get("harness")
        if isinstance(harness, Harness) and report.when == "call":
            front = harness.stack.front
            services = front.machines if front else ()
            for machine in (*services, *harness.stack.stages.values()):
                words = machine.last_words()[-_LAST_WORDS:]
                report.sections.append((f"log of {machine.name}", words))
        if item.get_closest_marker("row"):
            _row_of(item).passed = False
    # What was skipped has shown nothing, and is no row of the table.
    ended = report.failed or (report.when == "call" and not report.skipped)
    if ended and item.get_closest_marker("row"):
        report.row = asdict(_row_of(item))
    return report


def _row_of(item: pytest.Item) -> Row:
    """The row that a test is about; made when it is first asked for."""
    found = item.stash.get(_ROW, None)
    if found is None:
        marker = item.get_closest_marker("row")
        if marker is None:
            raise pytest.UsageError(f"{item.nodeid} has no @pytest.mark.row")
        found = Row(marker.args[0], **marker.kwargs)
        item.stash[_ROW] = found
    return found


@pytest.fixture
def row(request: pytest.FixtureRequest) -> Row:
    """Where the row says what it showed: ``row.result(lost=…, duplicates=…, …)``."""
    return _row_of(request.node)


# -- the stack --------------------------------------------------------------------


class Suite:
    """Keeps one stack from row to row, and makes another where it is broken."""

    def __init__(self) -> None:
        self._stack: FaultStack | None = None

    async def stack(self, *, front: bool = False) -> FaultStack:
        """One that works as usual: the one there is, or another.

        Args:
            front: with gateway and registry; then one that has no past, all of which
                the registry would read.
        """
        if self._stack is not None and front and self._stack.front is None:
            await self.discard()
        if self._stack is not None:
            try:
                await self._tidy(self._stack)
            except Exception as error:  # noqa: BLE001  the row before left it so
                sys.stderr.write(f"a new stack, since the last one: {error}\n")
                await self.discard()
            else:
                return self._stack
        stack = FaultStack()
        await stack.start()
        self._stack = stack
        if front:
            await stack.start_front()
        return stack

    async def discard(self) -> None:
        """End it; the next row gets a new one."""
        stack, self._stack = self._stack, None
        if stack is not None:
            await stack.close()

    async def _tidy(self, stack: FaultStack) -> None:
        """Undo what a row did, so that the next finds all as usual."""
        await stack.heal()
        for part in (stack.broker, stack.store):
            if not part.alive:
                await part.start()
        spares = set(stack.stages) - set(Stage)
        await asyncio.gather(
            *map(stack.remove, spares),
            *(self._as_usual(stack.stages[stage]) for stage in Stage),
        )
        if stack.front is not None:
            await stack.front.tidy()
        stack.provider.forget()

    async def _as_usual(self, machine: StageMachine) -> None:
        machine.disarm()
        if machine.altered or not machine.alive:
            await machine.restart()
        else:
            await machine.wait_ready()


@pytest_asyncio.fixture(scope="session")
async def suite() -> AsyncIterator[Suite]:
    suite = Suite()
    try:
        yield suite
    finally:
        await suite.discard()


@pytest_asyncio.fixture
async def harness(
    suite: Suite, request: pytest.FixtureRequest
) -> AsyncIterator[Harness]:
    """See ``harness.py``."""
    try:
        stack = await suite.stack(front=needs_front(request.node))
    except PostgresMissing as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(str(error))
    name = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower()).strip("-")
    harness = Harness(stack, collection=f"{next(_numbers)}-{name[:60]}")
    try:
        await harness.start()
        try:
            yield harness
        finally:
            # Its clients may wait for ever for a broker that a row has left dead.
            async with asyncio.timeout(_CLOSING_S):
                await harness.close()
    except BaseException:
        await suite.discard()
        raise
    if harness.spoilt or request.node.stash.get(_FAILED, False):
        await suite.discard()


@pytest.fixture
def front(harness: Harness) -> Front:
    """See ``front.py``."""
    assert harness.stack.front is not None
    return harness.stack.front
