"""Connections to the SQL database: SQLite on one machine, PostgreSQL beyond.

Everything is read and written in transactions, of two kinds: ``reading`` and
``writing``. Errors that will pass leave either as ``SharedFailure``.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, NullPool, event, make_url, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from headrace.database.failures import shared_failure
from headrace.database.settings import DatabaseSettings
from headrace.errors import ConfigurationError

CONNECT_S = 10.0
STATEMENT_S = 60.0
"""A statement that takes longer has lost its server."""
BUSY_MS = 10_000
"""SQLite lets one write at a time; the others wait this long."""

_MIGRATIONS = Path(__file__).parent / "migrations"
_DRIVERS = {
    "sqlite": "sqlite+aiosqlite",
    "postgres": "postgresql+asyncpg",
    "postgresql": "postgresql+asyncpg",
}
_UNBOUNDED = 2**31
_READS = "headrace_reads"
_MIGRATION_LOCK = 4_837_201_113
"""Any number, the same in every release: PostgreSQL's name for "I am migrating"."""


class Database:
    """A pool of connections.

    Attributes:
        dialect: ``sqlite`` or ``postgresql``.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._reader = engine.execution_options(**{_READS: True})
        self.dialect = engine.dialect.name
        # SQLite's own waiting is a sleep of up to 100 ms, and knows no order: with
        # fifty who write, some would wait for seconds.
        self._turns = asyncio.Semaphore(1 if self.dialect == "sqlite" else _UNBOUNDED)

    @classmethod
    def from_settings(cls, settings: DatabaseSettings) -> Database:
        """A pool as set; nothing connects yet.

        Raises:
            ConfigurationError: the URL names no database that we can use.
        """
        return cls(
            _engine(
                database_url(settings.database_url.get_secret_value()),
                statement_s=STATEMENT_S,
                pool_size=settings.database_pool_size,
                max_overflow=settings.database_pool_overflow,
                pool_timeout=settings.database_pool_wait_s,
                pool_recycle=settings.database_pool_recycle_s,
                pool_pre_ping=settings.database_pre_ping,
            )
        )

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncConnection]:
        """A transaction that writes; committed when the block ends well.

        Raises:
            SharedFailure: the database is away or busy; what was written is undone,
                or, if it went away while committing, perhaps not.
        """
        async with _translated(), self._turns, self._engine.begin() as connection:
            yield connection

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """A transaction that only reads, and on SQLite waits for no writer.

        Raises:
            SharedFailure: the database is away.
        """
        async with _translated(), self._reader.begin() as connection:
            yield connection

    async def most_connections(self) -> int:
        """How many connections the PostgreSQL server allows to all its clients.

        Raises:
            SharedFailure: the database is away.
        """
        async with self.reading() as connection:
            return int(await connection.scalar(text("SHOW max_connections")) or 0)

    async def close(self) -> None:
        """Close all connections."""
        await self._engine.dispose()


def database_url(url: str) -> URL:
    """The URL with the driver that we use.

    Raises:
        ConfigurationError: neither SQLite in a file nor PostgreSQL.
    """
    advice = "use sqlite:////absolute/path.db or postgresql://user:password@host/name"
    try:
        parsed = make_url(url)
    except ArgumentError:
        # Not the URL itself: it may hold a password.
        raise ConfigurationError(f"DATABASE_URL: it is no URL; {advice}") from None
    driver = _DRIVERS.get(parsed.get_backend_name())
    in_file = parsed.database not in (None, "", ":memory:")
    if driver is None or (driver.startswith("sqlite") and not in_file):
        raise ConfigurationError(
            f"DATABASE_URL: {parsed.get_backend_name()} without a file, or not "
            f"supported; {advice}"
        )
    return parsed.set(drivername=driver)


async def upgrade(url: str, revision: str = "head") -> None:
    """Bring the schema up to date; safe from many processes at once.

    Raises:
        ConfigurationError: the URL names no database that we can use.
        SharedFailure: the database is away or busy.
    """
    parsed = database_url(url)
    if parsed.get_backend_name() == "sqlite":
        folder = Path(str(parsed.database)).parent
        async with _translated():
            await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
    engine = _engine(parsed, statement_s=None, poolclass=NullPool)
    try:
        if revision == "head" and await _up_to_date(engine):
            return
        async with _translated(), engine.begin() as connection:
            if engine.dialect.name == "postgresql":
                await connection.execute(
                    text("SELECT pg_advisory_xact_lock(:lock)"),
                    {"lock": _MIGRATION_LOCK},
                )
            await connection.run_sync(_upgrade, revision)
    finally:
        await engine.dispose()


async def _up_to_date(engine: AsyncEngine) -> bool:
    """Whether nothing is to be done; most starts are spared all of Alembic by it."""
    newest = max(each.name for each in (_MIGRATIONS / "versions").glob("[0-9]*.py"))
    try:
        looking = engine.execution_options(**{_READS: True})
        async with _translated(), looking.connect() as connection:
            found = await connection.execute(text("SELECT * FROM alembic_version"))
            return [row[0] for row in found] == [newest.partition("_")[0]]
    except DBAPIError:
        return False  # a new database has no such table


def _upgrade(connection: Connection, revision: str) -> None:
    from alembic import command  # noqa: PLC0415  half a second of every first start
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    config.attributes["connection"] = connection
    command.upgrade(config, revision)


def _engine(url: URL, *, statement_s: float | None, **pool: Any) -> AsyncEngine:
    # Errors are logged, and values may be names, keys and contents.
    pool["hide_parameters"] = True
    if url.get_backend_name() == "postgresql":
        try:
            return create_async_engine(
                url,
                connect_args={"timeout": CONNECT_S, "command_timeout": statement_s},
                **pool,
            )
        except ModuleNotFoundError as error:
            raise ConfigurationError(
                f"DATABASE_URL: PostgreSQL needs the package {error.name}: install the "
                "packages of requirements/gateway.txt (in a checkout, `scripts/setup "
                "server`)"
            ) from error
    # A file does not go away as a server does: to try it costs a turn of its thread.
    pool.pop("pool_pre_ping", None)
    engine = create_async_engine(url, **pool)
    event.listen(engine.sync_engine, "connect", _prepare_sqlite)
    event.listen(engine.sync_engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    # We begin transactions ourselves; Python's driver would do so too late.
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {BUSY_MS}")
    cursor.execute("PRAGMA journal_mode = WAL")
    # An accepted document must outlive a power cut, so each commit is synced.
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    # A reader that becomes a writer later fails when another wrote meanwhile.
    reads = connection.get_execution_options().get(_READS)
    connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")


@asynccontextmanager
async def _translated() -> AsyncIterator[None]:
    try:
        yield
    except Exception as error:
        passing = shared_failure(error)
        if passing is None:
            raise
        raise passing from error
