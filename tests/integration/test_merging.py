"""The registry's tables are the same whatever order statuses come in, and how often."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr
from sqlalchemy import delete, func, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from headrace.database.engine import Database, upgrade
from headrace.database.merging import (
    heartbeat_row,
    merge_heartbeats,
    merge_statuses,
    status_row,
    tombstone_row,
)
from headrace.database.processing import (
    DOCUMENT_STATES,
    HEARTBEATS,
    JOB_DOCUMENTS,
    STAGE_STATES,
)
from headrace.database.progress import oldest_unfinished_ms
from headrace.database.settings import DatabaseSettings
from headrace.errors import Unreadable
from headrace.identity import Arrival, DocumentKey
from headrace.messages import Heartbeat, Metadata, Stage, State, StatusEvent
from tests.support.database_worlds import (
    TABLES,
    Said,
    expected,
    merge_in_pieces,
    said,
    stored,
)

KEY = DocumentKey("t", "c", "doc1")


@dataclass
class Held:
    """A database and the loop that it lives on, for tests that are not async."""

    runner: asyncio.Runner
    database: Database

    def check(self, topic: list[Said], seed: int) -> None:
        self.runner.run(self._check(topic, random.Random(seed)))

    async def _check(self, topic: list[Said], order: random.Random) -> None:
        shuffled = [*topic, *order.choices(topic, k=len(topic) // 2)] if topic else []
        order.shuffle(shuffled)
        async with self.database.writing() as connection:
            for table in TABLES:
                await connection.execute(delete(table))
            await merge_in_pieces(connection, shuffled, order)
            assert await stored(connection) == expected(each.row for each in topic)
            # A piece of it read again, as after a crash, changes nothing.
            await merge_in_pieces(connection, topic[len(topic) // 2 :], order)
            assert await stored(connection) == expected(each.row for each in topic)


@pytest.fixture
def held(database_url: str) -> Iterator[Held]:
    with asyncio.Runner() as runner:
        runner.run(upgrade(database_url))
        database = Database.from_settings(
            DatabaseSettings(database_url=SecretStr(database_url))
        )
        yield Held(runner, database)
        runner.run(database.close())


QUIET = settings(
    deadline=None,
    max_examples=40,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@QUIET
@given(topic=said(), seed=st.integers(0, 999))
def test_order_and_repetition_make_no_difference(
    held: Held, topic: list[Said], seed: int
) -> None:
    held.check(topic, seed)


def event(**values: object) -> StatusEvent:
    first = StatusEvent(
        KEY,
        revision=7,
        arrival=Arrival(5, "topic", 0, 1),
        stage=Stage.LOADER,
        state=State.PASSED_ON,
        at_ms=6,
        metadata=Metadata(name="n", import_job="job", attributes={"a": "b"}),
    )
    return replace(first, **values)


async def document_state(connection: AsyncConnection, document: str) -> Any:
    table = DOCUMENT_STATES
    query = select(table).where(table.c.document == document)
    return (await connection.execute(query)).mappings().one_or_none()


async def stages_of(connection: AsyncConnection, state: Any) -> list[int]:
    """Those that have spoken of the document's newest event, in order."""
    said = STAGE_STATES.c
    query = select(said.stage).where(
        said.document == state["document"],
        said.arrival_offset == state["arrival_offset"],
    )
    return sorted((await connection.execute(query)).scalars())


async def job_counts(
    connection: AsyncConnection, *, tenant: str
) -> dict[tuple[str, int], int]:
    """Documents of the job by state and, 1 to 4, the stage that said so."""
    job = JOB_DOCUMENTS.c
    query = (
        select(job.state, job.stage, func.count())
        .where(job.tenant == tenant, job.import_job == "job")
        .group_by(job.state, job.stage)
    )
    found = await connection.execute(query)
    return {(state, stage): count for state, stage, count in found}


async def test_a_document_on_its_way(database: Database) -> None:
    events = [
        event(),
        event(stage=Stage.CHUNKER, chunks=3, tokens=9),
        event(stage=Stage.INDEXER, state=State.INDEXED, chunks=3),
        event(stage=Stage.EMBEDDER, chunks=3),
    ]
    async with database.writing() as connection:
        for offset, each in enumerate(events[:2]):
            await merge_statuses(
                connection, [status_row(each, partition=0, offset=offset)]
            )
        assert await oldest_unfinished_ms(connection) == 5
        counts = await job_counts(connection, tenant="t")
        assert counts == {("passed_on", 2): 1}
        rows = [status_row(e, partition=0, offset=n) for n, e in enumerate(events)]
        await merge_statuses(connection, rows)
    async with database.reading() as connection:
        state = await document_state(connection, KEY.uuid)
        assert state is not None
        assert (state["state"], state["chunks"]) == ("indexed", 3)
        assert await stages_of(connection, state) == [1, 2, 3, 4]
        assert await oldest_unfinished_ms(connection) is None
        assert await job_counts(connection, tenant="t") == {("indexed", 4): 1}
        assert await job_counts(connection, tenant="other") == {}
        assert await document_state(connection, "other") is None


async def test_a_later_event_outweighs_the_end_of_an_earlier(
    database: Database,
) -> None:
    later = Arrival(9, "topic", 0, 2)
    events = [
        event(stage=Stage.INDEXER, state=State.INDEXED),
        event(revision=8, arrival=later, metadata=Metadata(import_job="next")),
    ]
    async with database.writing() as connection:
        rows = [status_row(e, partition=0, offset=n) for n, e in enumerate(events)]
        await merge_statuses(connection, rows)
        state = await document_state(connection, KEY.uuid)
        assert state is not None
        assert state["state"] == "passed_on"
        assert await stages_of(connection, state) == [1]
        # To the job that it was part of it is what it became by it.
        assert await job_counts(connection, tenant="t") == {("indexed", 4): 1}


async def test_heartbeats_in_any_order(database: Database) -> None:
    first = Heartbeat(KEY, 7, Arrival(5, "t", 0, 1), Stage.CHUNKER, "one", 1, 2)
    rows = [
        heartbeat_row(first, heard_ms=10, offset=1),
        heartbeat_row(replace(first, worker="two"), heard_ms=20, offset=2),
        heartbeat_row(replace(first, worker="three"), heard_ms=20, offset=3),
        heartbeat_row(replace(first, worker="four"), heard_ms=5, offset=9),
    ]
    for seed in range(6):
        random.Random(seed).shuffle(rows)
        async with database.writing() as connection:
            await connection.execute(delete(HEARTBEATS))
            await merge_heartbeats(connection, rows[:2])
            await merge_heartbeats(connection, rows[1:])
            found = (await connection.execute(select(HEARTBEATS.c.worker))).scalars()
            assert list(found) == ["three"]


async def test_two_owners_of_a_partition_at_once(database: Database) -> None:
    """A zombie and its successor merge one document in overlapping transactions."""
    said_first = status_row(event(), partition=0, offset=0)
    said_last = status_row(
        event(stage=Stage.INDEXER, state=State.INDEXED), partition=0, offset=3
    )
    order: list[str] = []

    async def merge(name: str, row: dict[str, object], wait: asyncio.Event) -> None:
        async with database.writing() as connection:
            await merge_statuses(connection, [row])
            wait.set()
            await asyncio.sleep(0.1)
        order.append(name)

    begun = asyncio.Event()
    first = asyncio.create_task(merge("successor", said_last, begun))
    await begun.wait()
    await merge("zombie", said_first, asyncio.Event())
    await first
    async with database.reading() as connection:
        state = await document_state(connection, KEY.uuid)
        assert state is not None
        assert state["state"] == "indexed"
    assert order == ["successor", "zombie"]


async def test_the_longest_names_and_strangest_characters(database: Database) -> None:
    key = DocumentKey("\0" * 128, "c" * 128, "\0é" * 340)
    wild = event(
        key=key,
        revision=0,
        arrival=Arrival(2**63 - 1, "t" * 249, 2**31 - 1, 2**63 - 1),
        metadata=Metadata(name="\0" * 1024, import_job="\0" * 256),
        at_ms=2**63 - 1,
    )
    async with database.writing() as connection:
        await merge_statuses(connection, [status_row(wild, partition=1, offset=2**62)])
        assert await document_state(connection, key.uuid)
    unknown = replace(wild, arrival=Arrival(1, "t" * 250, 0, 0))
    with pytest.raises(Unreadable):
        status_row(unknown, partition=0, offset=0)


@pytest.mark.parametrize(
    "key", [b"", b"a", b"a#b#c", b"t/c/d#1", b"t/c/d#1#nobody", b"t/c/d#1#loader#x"]
)
def test_tombstones_of_others_are_left_alone(key: bytes) -> None:
    assert tombstone_row(key, partition=0, offset=0) is None


async def test_counting_a_job_reads_its_index_alone(database: Database) -> None:
    if database.dialect != "sqlite":
        pytest.skip("PostgreSQL plans by what is in the table")
    async with database.reading() as connection:
        plan = await connection.execute(
            text(
                "EXPLAIN QUERY PLAN SELECT state, stage, count(*) FROM job_documents "
                "WHERE tenant = 't' AND import_job = 'j' GROUP BY state, stage"
            )
        )
        assert "COVERING INDEX" in str(plan.all())
