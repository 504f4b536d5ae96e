"""The database package on SQLite and PostgreSQL: schema, transactions, failures."""

from __future__ import annotations

import asyncio
import pkgutil
from importlib import import_module
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from pydantic import SecretStr
from sqlalchemy import Connection, insert, select, text
from sqlalchemy.exc import IntegrityError

import headrace.database
from headrace.database.documents import NAME_TRIGRAMS
from headrace.database.engine import Database, database_url, upgrade
from headrace.database.processing import LEASES
from headrace.database.schema import SCHEMA
from headrace.database.settings import DatabaseSettings
from headrace.errors import ConfigurationError, SharedFailure
from tests.support.postgres import Postgres, running_postgres


def opened(url: str, **settings: object) -> Database:
    return Database.from_settings(
        DatabaseSettings(database_url=SecretStr(url), **settings)
    )


def differences(connection: Connection) -> list[object]:
    for module in pkgutil.iter_modules(headrace.database.__path__):
        import_module(f"headrace.database.{module.name}")
    # Alembic cannot be told that an index is PostgreSQL's alone.
    told = {"include_object": lambda _what, name, *_: name != NAME_TRIGRAMS}
    context = MigrationContext.configure(connection, opts=told)
    return list(compare_metadata(context, SCHEMA))


async def test_the_steps_make_what_the_tables_say(database: Database) -> None:
    async with database.reading() as connection:
        assert await connection.run_sync(differences) == []


async def test_many_may_upgrade_at_once(database_url: str) -> None:
    await asyncio.gather(*(upgrade(database_url) for _ in range(4)))
    database = opened(database_url)
    async with database.reading() as connection:
        assert await connection.run_sync(differences) == []
    await database.close()


async def test_writers_wait_for_each_other(database: Database) -> None:
    lease = {"name": "n", "holder": "h", "counter": 0, "until_ms": 0}
    async with database.writing() as connection:
        await connection.execute(insert(LEASES), lease)

    async def count() -> None:
        async with database.writing() as connection:
            # Reading first is what makes SQLite refuse to wait, if it is let.
            statement = select(LEASES.c.counter).with_for_update()
            counter = (await connection.execute(statement)).scalar_one()
            await connection.execute(LEASES.update().values(counter=counter + 1))

    await asyncio.gather(*(count() for _ in range(20)))
    async with database.reading() as connection:
        counter = (await connection.execute(select(LEASES.c.counter))).scalar_one()
    assert counter == 20


async def test_what_fails_is_undone(database: Database) -> None:
    lease = {"name": "n", "holder": "h", "counter": 0, "until_ms": 0}
    with pytest.raises(ZeroDivisionError):  # noqa: PT012  after something was written
        async with database.writing() as connection:
            await connection.execute(insert(LEASES), lease)
            _ = 1 / 0
    async with database.reading() as connection:
        assert (await connection.execute(select(LEASES))).all() == []


async def test_a_wrong_statement_is_no_outage(database: Database) -> None:
    with pytest.raises(Exception, match="nowhere") as caught:
        async with database.reading() as connection:
            await connection.execute(text("SELECT * FROM nowhere"))
    assert not isinstance(caught.value, SharedFailure)


async def test_an_error_does_not_repeat_the_parameters(database: Database) -> None:
    lease = {"name": "geheim", "holder": None, "counter": 0, "until_ms": 0}
    async with database.writing() as connection:
        with pytest.raises(IntegrityError) as caught:
            await connection.execute(insert(LEASES), lease)
        await connection.rollback()
    # What PostgreSQL itself adds as detail is not ours.
    assert "geheim" not in str(caught.value).split("DETAIL")[0]


@pytest.mark.parametrize(
    "url", ["postgresql://nobody@127.0.0.1:1/none", "sqlite:////proc/none/x.db"]
)
async def test_an_unreachable_database_is_a_shared_failure(url: str) -> None:
    database = opened(url)
    with pytest.raises(SharedFailure) as caught:
        async with database.reading():
            pass
    await database.close()
    assert caught.value.reason == "database_unavailable"
    with pytest.raises(SharedFailure):
        await upgrade(url)


async def test_a_full_pool_is_told_after_its_wait(database_url: str) -> None:
    await upgrade(database_url)
    pool = {"database_pool_size": 1, "database_pool_overflow": 0}
    database = opened(database_url, **pool, database_pool_wait_s=0.05)
    async with database.reading():
        with pytest.raises(SharedFailure) as caught:
            async with database.reading():
                pass
    assert caught.value.reason == "database_pool_exhausted"
    async with database.reading():
        pass
    await database.close()


async def test_connections_survive_a_restart_of_the_server() -> None:
    with running_postgres(max_connections=10) as server:
        url = server.new_database()
        await upgrade(url)
        database = opened(url)
        with pytest.raises(SharedFailure):  # noqa: PT012  dies in the midst
            async with database.reading() as connection:
                await asyncio.to_thread(server.stop)
                await connection.execute(select(LEASES))
        with pytest.raises(SharedFailure):
            async with database.reading():
                pass
        server.start()
        async with database.reading() as connection:
            assert (await connection.execute(select(LEASES))).all() == []
        await too_many(server, url)
        await database.close()


async def too_many(server: Postgres, url: str) -> None:
    """A crowd is told to stay away for 30 s."""
    # A superuser would be let in by the reserve.
    server.sql("CREATE ROLE guest LOGIN")
    guest = url.replace("postgres@", "guest@")
    database = opened(guest, database_pool_size=20)
    failures: list[SharedFailure] = []

    async def hold(enough: asyncio.Event) -> None:
        try:
            async with database.reading():
                await enough.wait()
        except SharedFailure as error:
            failures.append(error)
            enough.set()

    enough = asyncio.Event()
    async with asyncio.timeout(60):
        await asyncio.gather(*(hold(enough) for _ in range(12)))
    await database.close()
    assert {(each.reason, each.retry_after) for each in failures} == {
        ("database_connections", 30)
    }


@pytest.mark.parametrize(
    "url", ["", "mysql://host/name", "sqlite://", "sqlite:///:memory:", "what"]
)
def test_other_databases_are_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="DATABASE_URL"):
        database_url(url)


def test_a_password_is_in_no_message() -> None:
    with pytest.raises(ConfigurationError) as caught:
        database_url("mysql://me:geheim@host/name")
    assert "geheim" not in str(caught.value)


def test_the_steps_travel_with_the_package() -> None:
    folder = Path(headrace.database.__file__).parent / "migrations"
    assert (folder / "env.py").exists()
