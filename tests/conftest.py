"""Fixtures that every kind of test may use."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from headrace_local.broker import Broker
from pydantic import SecretStr

from headrace.database.engine import Database, upgrade
from headrace.database.settings import DatabaseSettings
from tests.support.broker import running_broker
from tests.support.postgres import Postgres, PostgresMissing, running_postgres

_numbers = itertools.count(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whoever asks for the broker carries the marker ``kafka``."""
    for item in items:
        if "broker" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.kafka)


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """One real Kafka for the whole session; use ``topic_prefix`` to be alone on it."""
    with running_broker(tmp_path_factory.mktemp("kafka")) as running:
        yield running


@pytest.fixture
def topic_prefix(request: pytest.FixtureRequest) -> str:
    """A prefix of topics and groups that no other test uses."""
    name = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower())[:40].strip("-")
    return f"t{next(_numbers)}-{name}"


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """One PostgreSQL for the whole session."""
    try:
        with running_postgres() as running:
            yield running
    except PostgresMissing as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(str(error))


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An empty database, of each kind in turn."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/headrace.db"
        return
    server = request.getfixturevalue("postgres")
    url = server.new_database()
    yield url
    server.drop(url)


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """A database with all tables, of each kind in turn."""
    await upgrade(database_url)
    opened = Database.from_settings(
        DatabaseSettings(database_url=SecretStr(database_url))
    )
    yield opened
    await opened.close()
