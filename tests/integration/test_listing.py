"""The state by which documents are listed is always what it follows from."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr
from sqlalchemy import column, delete, insert, select, table, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from headrace.database.documents import DOCUMENTS
from headrace.database.engine import Database, upgrade
from headrace.database.listing import (
    LISTED_AS,
    STATE,
    list_again,
    list_page_again,
)
from headrace.database.merging import merge_statuses, status_row
from headrace.database.processing import DOCUMENT_STATES, STAGE_STATES
from headrace.database.settings import DatabaseSettings
from headrace.identity import Arrival, DocumentKey
from headrace.messages import Stage, State, StatusEvent
from tests.support.document_rows import document_row

NAMES = ("d1", "d2", "d3")


def spoken(name: str, **values: object) -> StatusEvent:
    """A status of the document's event at offset 1 of partition 0."""
    event = StatusEvent(
        DocumentKey("t", "c", name),
        revision=7,
        arrival=Arrival(5, "topic", 0, 1),
        stage=Stage.LOADER,
        state=State.PASSED_ON,
        at_ms=100,
    )
    return replace(event, **values)


async def sent(connection: AsyncConnection, name: str, *, offset: int) -> None:
    """As the relay notes it."""
    await connection.execute(
        update(DOCUMENTS)
        .where(DOCUMENTS.c.id == name)
        .values(sent_version=DOCUMENTS.c.version, sent_partition=0, sent_offset=offset)
    )
    await list_again(connection, DOCUMENTS.c.id == name)


async def listed(connection: AsyncConnection) -> dict[str, str]:
    found = await connection.execute(select(DOCUMENTS.c.id, DOCUMENTS.c.listed_as))
    return {row.id: row.listed_as for row in found}


@dataclass
class Held:
    """A database and the loop that it lives on, for tests that are not async."""

    runner: asyncio.Runner
    database: Database


@pytest.fixture
def held(database_url: str) -> Iterator[Held]:
    with asyncio.Runner() as runner:
        runner.run(upgrade(database_url))
        database = Database.from_settings(
            DatabaseSettings(database_url=SecretStr(database_url))
        )
        yield Held(runner, database)
        runner.run(database.close())


ACTS = st.lists(
    st.one_of(
        st.tuples(
            st.just("status"),
            st.sampled_from(NAMES),
            st.sampled_from(State),
            st.sampled_from(Stage),
            st.integers(1, 3),
        ),
        st.tuples(st.just("sent"), st.sampled_from(NAMES), st.integers(1, 3)),
        st.tuples(
            st.sampled_from(["asked", "failed", "deleted"]), st.sampled_from(NAMES)
        ),
    ),
    max_size=15,
)
CHANGES = {
    "asked": {"version": DOCUMENTS.c.version + 1, "failure": None},
    "failed": {"failure": {"code": "c", "message": "m"}},
    "deleted": {"version": DOCUMENTS.c.version + 1, "deleted_ms": 1},
}


async def act(
    connection: AsyncConnection, number: int, done: tuple[object, ...]
) -> None:
    match done:
        case ("status", str(name), State() as state, Stage() as stage, int(offset)):
            said = spoken(
                name, state=state, stage=stage, arrival=Arrival(5, "topic", 0, offset)
            )
            await merge_statuses(
                connection, [status_row(said, partition=0, offset=number)]
            )
        case ("sent", str(name), int(offset)):
            await sent(connection, name, offset=offset)
        case (str(what), str(name)):
            which = DOCUMENTS.c.id == name
            await connection.execute(
                update(DOCUMENTS).where(which).values(**CHANGES[what])
            )
            await list_again(connection, which)


@settings(
    deadline=None,
    max_examples=40,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(acts=ACTS)
def test_the_copy_is_what_it_follows_from(
    held: Held, acts: list[tuple[object, ...]]
) -> None:
    async def check() -> None:
        async with held.database.writing() as connection:
            for each in (DOCUMENTS, DOCUMENT_STATES, STAGE_STATES):
                await connection.execute(delete(each))
            rows = [document_row(name, sent_version=0) for name in NAMES]
            await connection.execute(insert(DOCUMENTS), rows)
            for number, done in enumerate(acts):
                await act(connection, number, done)
                wrong = select(DOCUMENTS.c.id).where(DOCUMENTS.c.listed_as != LISTED_AS)
                assert (await connection.execute(wrong)).all() == []

    held.runner.run(check())


@pytest.mark.parametrize("first", ["registry", "relay"])
async def test_relay_and_registry_at_once(database: Database, first: str) -> None:
    """Whoever comes last sees what the other has committed, in either order."""
    async with database.writing() as connection:
        await connection.execute(
            insert(DOCUMENTS), [document_row("d1", version=1, sent_version=0)]
        )
    written, go_on = asyncio.Event(), asyncio.Event()

    async def write(who: str) -> None:
        async with database.writing() as connection:
            if who == "relay":
                await sent(connection, "d1", offset=1)
            else:
                row = status_row(spoken("d1"), partition=0, offset=1)
                await merge_statuses(connection, [row])
            if who == first:
                written.set()
                await go_on.wait()

    one = asyncio.create_task(write(first))
    await written.wait()
    other = asyncio.create_task(write("relay" if first == "registry" else "registry"))
    # The other is at the row, if it gets there, or about to be: both must be right.
    await asyncio.sleep(0.05)
    go_on.set()
    await asyncio.gather(one, other)

    async with database.reading() as connection:
        assert await listed(connection) == {"d1": "processing"}


async def test_documents_in_opposite_orders_make_no_ring(database: Database) -> None:
    names = [f"d{number}" for number in range(20)]
    async with database.writing() as connection:
        rows = [document_row(name, version=1, sent_version=0) for name in names]
        await connection.execute(insert(DOCUMENTS), rows)

    async def relay() -> None:
        async with database.writing() as connection:
            for name in names:
                await connection.execute(
                    update(DOCUMENTS)
                    .where(DOCUMENTS.c.id == name)
                    .values(sent_version=1, sent_partition=0, sent_offset=1)
                )
                await asyncio.sleep(0)
            await list_again(connection, DOCUMENTS.c.id.in_(names))

    async def registry(start: int) -> None:
        said = [spoken(name, revision=start) for name in reversed(names)]
        rows = [
            status_row(each, partition=number, offset=start)
            for number, each in enumerate(said)
        ]
        async with database.writing() as connection:
            await merge_statuses(connection, rows)

    await asyncio.gather(relay(), *(registry(number) for number in range(1, 6)))
    async with database.reading() as connection:
        assert set((await listed(connection)).values()) == {"processing"}


async def test_pages_put_right_what_is_wrong(database: Database) -> None:
    async with database.writing() as connection:
        rows = [document_row(name, sent_version=1) for name in NAMES]
        await connection.execute(insert(DOCUMENTS), rows)
        await connection.execute(update(DOCUMENTS).values(listed_as="indexed"))
        last: str | None = ""
        while last is not None:
            last = await list_page_again(connection, after=last)
        assert set((await listed(connection)).values()) == {"queued"}


async def test_the_step_fills_in_what_was_there(database_url: str) -> None:
    await upgrade(database_url, "0002")
    database = Database.from_settings(
        DatabaseSettings(database_url=SecretStr(database_url))
    )
    sent_to = {"version": 1, "sent_version": 1, "sent_partition": 0, "sent_offset": 1}
    rows = {
        "accepted": {"version": 2, "sent_version": 1},
        "queued": sent_to,
        "processing": sent_to,
        "indexed": sent_to,
        "heard before": {**sent_to, "sent_offset": 2},
        "failed": {**sent_to, "failure": {"code": "c", "message": "m"}},
        "deleted": {**sent_to, "deleted_ms": 9},
    }
    before = table(
        "documents",
        *(column(c.name, c.type) for c in DOCUMENTS.c if c.name != "listed_as"),
    )
    said = [
        spoken("processing"),
        spoken("indexed", stage=Stage.INDEXER, state=State.INDEXED),
        spoken("heard before", stage=Stage.INDEXER, state=State.INDEXED),
    ]
    async with database.writing() as connection:
        for id_, values in rows.items():
            row = document_row(id_, **values)
            await connection.execute(
                insert(before).values({c.name: row[c.name] for c in before.c})
            )
        # As the registry has them: the step before knew no copy.
        states = [status_row(e, partition=0, offset=n) for n, e in enumerate(said)]
        for state in states:
            kept = {c.name: state[c.name] for c in DOCUMENT_STATES.c}
            await connection.execute(insert(DOCUMENT_STATES).values(**kept))

    await upgrade(database_url)

    async with database.reading() as connection:
        assert await listed(connection) == {
            **{id_: id_ for id_ in rows},
            "heard before": "queued",
        }
        wrong = select(DOCUMENTS.c.id, STATE).where(DOCUMENTS.c.listed_as != LISTED_AS)
        assert (await connection.execute(wrong)).all() == []
    await database.close()


async def test_without_the_extension_all_else_is_there(
    database_url: str,
) -> None:
    if database_url.startswith("sqlite"):
        pytest.skip("SQLite has no extensions")
    database = Database.from_settings(
        DatabaseSettings(database_url=SecretStr(database_url))
    )
    name = database_url.rpartition("/")[2]
    async with database.writing() as connection:
        for statement in (
            f"CREATE ROLE {name}_owner LOGIN",
            f"CREATE SCHEMA AUTHORIZATION {name}_owner",
        ):
            await connection.execute(text(statement))
    # Who may make tables, but nothing of the database's own.
    await upgrade(database_url.replace("postgres@", f"{name}_owner@"))
    async with database.reading() as connection:
        indexes = set(
            (
                await connection.execute(
                    text("SELECT indexname FROM pg_indexes WHERE tablename='documents'")
                )
            ).scalars()
        )
    await database.close()
    assert "ix_documents_state_created" in indexes
    assert "ix_documents_name_trigrams" not in indexes
