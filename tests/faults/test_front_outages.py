"""Row 10 at the front door, and the database away or narrow."""

from __future__ import annotations

import asyncio
import time

import httpx
import pytest
from sqlalchemy import select

from headrace.database.processing import DOCUMENT_STATES
from tests.faults.front import MAX_CONNECTIONS, OVERFLOW, POOL, Front
from tests.faults.harness import Harness, text_of
from tests.faults.reporting import Row
from tests.faults.scale import scaled
from tests.support.eventually import eventually

CALLERS = 24
UPLOADS = 120
TOO_MANY = "too many clients"


class Callers:
    """Upload all the time, and keep what they are told."""

    def __init__(self, front: Front, harness: Harness) -> None:
        self._front = front
        self._harness = harness
        self._number = 0
        self.refused: dict[str, int] = {}
        self.accepted = 0

    async def one(self) -> httpx.Response:
        """One upload; what was promised is in the ledger."""
        self._number += 1
        name = f"steady-{self._number}"
        collection = self._harness.collection
        answer = await self._front.upload(
            collection, name, text_of(name), once=f"{collection}/{name}"
        )
        if answer.status_code == 202:
            self.accepted += 1
            self._harness.promised(answer.json()["id"], text_of(name))
        else:
            assert answer.status_code == 503, answer.text
            assert int(answer.headers["retry-after"]) >= 1
            code = answer.json()["code"]
            self.refused[code] = self.refused.get(code, 0) + 1
        return answer

    async def until(self, status: int, *, code: str = "") -> None:
        """Go on until one is answered so."""

        async def answered() -> bool:
            try:
                answer = await self.one()
            except httpx.ConnectError:
                # It does not listen yet.
                return False
            return answer.status_code == status and code in answer.text

        await eventually(answered, patience_s=120)


@pytest.mark.parametrize("how", ["killed", "silent"])
@pytest.mark.row("10", level=2, injected="Kafka gone for 60 s (scaled), uploads go on")
async def test_row_10_uploads_without_kafka(
    harness: Harness, front: Front, row: Row, how: str
) -> None:
    callers = Callers(front, harness)
    await callers.until(202)
    pid = front.gateway.pid
    if how == "killed":
        await harness.broker.kill9()
    else:
        harness.broker.stop()
    gone = time.monotonic()

    # What the outbox takes at first is kept; then nothing is promised any more.
    await callers.until(503, code="busy_outbox")
    while time.monotonic() - gone < scaled(60):
        assert (await callers.one()).status_code == 503
        await asyncio.sleep(0.1)
    listed = await front.listed(harness.collection)
    assert len(listed) == callers.accepted
    assert await front.gateway.live()
    if how == "killed":
        # One that starts now promises nothing either, and comes by itself.
        await front.gateway.terminate()
        await front.gateway.start(wait=False)
        await callers.until(503, code="busy_outbox")
        assert await front.gateway.declines()
        pid = front.gateway.pid
        await harness.broker.start()
    else:
        harness.broker.cont()
    back = time.monotonic()

    await callers.until(202)
    await front.conclude(
        harness,
        row,
        since=back,
        note=f"{how}: {callers.accepted} accepted, {dict(callers.refused)}",
    )
    assert front.gateway.pid == pid
    await front.gateway.wait_ready()


@pytest.mark.row("case", level=2, injected="PostgreSQL gone for 60 s (scaled)")
async def test_case_without_the_database(
    harness: Harness, front: Front, row: Row
) -> None:
    callers = Callers(front, harness)
    await callers.until(202)
    pids = {machine.name: machine.pid for machine in front.machines}
    front.postgres.stop()
    gone = time.monotonic()

    answer = await callers.one()
    assert answer.status_code == 503, answer.text
    # Who knows nothing of it sends documents on, and the stages work as ever.
    await harness.load(30)
    await harness.drained()
    meanwhile = time.monotonic() - gone
    await eventually(front.registry.declines)
    while time.monotonic() - gone < scaled(60):
        assert (await callers.one()).status_code == 503
        await asyncio.sleep(0.1)
    assert await front.registry.live()
    front.postgres.start()
    back = time.monotonic()

    await callers.until(202)
    await front.relayed()

    async def caught_up() -> bool:
        return await final_in_sql(front, harness.collection) == len(
            harness.ledger.expected
        )

    await eventually(caught_up, patience_s=120)
    recovered = time.monotonic()
    await harness.conclude(
        row,
        note=f"30 documents went through meanwhile, in {meanwhile:.1f} s; the registry "
        f"had caught up {recovered - back:.1f} s after it was back",
    )
    assert {machine.name: machine.pid for machine in front.machines} == pids


async def final_in_sql(front: Front, collection: str) -> int:
    """How many documents of a collection the registry knows to be at an end."""
    async with front.database.reading() as connection:
        found = await connection.execute(
            select(DOCUMENT_STATES.c.document).where(
                DOCUMENT_STATES.c.collection == collection, DOCUMENT_STATES.c.final
            )
        )
        return len(found.all())


@pytest.mark.parametrize("gateways", [1, 2])
@pytest.mark.row("case", level=2, injected="PostgreSQL takes 20 connections")
async def test_case_a_narrow_database(
    harness: Harness, front: Front, row: Row, gateways: int
) -> None:
    doors = [front.gateway]
    if gateways == 2:
        doors.append(await front.another_gateway())
    log = front.postgres.data.parent / "log"
    before = log.read_text().count(TOO_MANY)
    looked = await looks(front)
    numbers = iter(range(UPLOADS))
    most = 0

    async def caller(door: int) -> None:
        nonlocal most
        for number in numbers:
            name = f"{number}"
            answer = await front.ask(
                harness.collection, name, text_of(name), gateway=doors[door]
            )
            assert answer.status_code == 202, answer.text
            harness.promised(answer.json()["id"], text_of(name))
            listed = await front.call("GET", "/v1/documents", gateway=doors[door])
            assert listed.status_code in {200, 503}, listed.text
            if number % 20 == 0:
                most = max(most, await connections(front))

    await asyncio.gather(*(caller(number % len(doors)) for number in range(CALLERS)))
    # What must run does: the registry has looked for stale documents meanwhile.
    await eventually(lambda: more_looks(front, looked))
    refused = log.read_text().count(TOO_MANY) - before
    if gateways == 1:
        # Where the pools fit, as `headrace doctor` asks, nobody is ever turned away.
        assert gateways * (POOL + OVERFLOW) + POOL + OVERFLOW < MAX_CONNECTIONS
        assert refused == 0
    await front.conclude(
        harness,
        row,
        note=f"gateways: {gateways}, registries: 1, pools of {POOL} and {OVERFLOW}; "
        f"{most} connections at most, {refused} times refused",
    )


async def connections(front: Front) -> int:
    """How many the server has, the suite's own among them."""
    said = await asyncio.to_thread(
        front.postgres.sql,
        "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'",
    )
    return int(said)


async def looks(front: Front) -> float:
    samples = await front.registry.metrics()
    return samples.value("reconciliations_total", outcome="done")


async def more_looks(front: Front, than: float) -> bool:
    return await looks(front) > than
