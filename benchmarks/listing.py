"""How long pages of ``GET /v1/documents`` take among a million documents.

Fills a PostgreSQL of its own (Debian's package ``postgresql`` must be there; with
``--sqlite`` a file), serves it by the gateway's own application on loopback, and sends
one request after the other over HTTP: every filter in every order, five pages of each.
The documents are of two tenants; the one that asks has nine tenths.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import random
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import httpx
import structlog
from pydantic import SecretStr
from sqlalchemy import insert, text
from sqlalchemy.ext.asyncio import AsyncConnection

from headrace.database.documents import DOCUMENTS
from headrace.database.engine import Database, upgrade
from headrace.database.merging import status_row
from headrace.database.processing import DOCUMENT_STATES
from headrace.database.settings import DatabaseSettings
from headrace.identity import Arrival, DocumentKey
from headrace.messages import Lane, Stage, State, StatusEvent
from tests.support.postgres import running_postgres
from tests.support.served_gateway import Served

STATES = {
    "indexed": 0.90,
    "queued": 0.04,
    "processing": 0.01,
    "accepted": 0.001,
    "failed": 0.01,
    "indexed_with_errors": 0.002,
    "unchanged": 0.03,
    "deleted": 0.007,
}
WORDS = ("annual", "bridge", "canal", "dyke", "engine", "flume", "gauge", "harbour")
PAGES = 5
"""Of each list: the first, and four more by its cursor."""


def uuid7(number: int) -> str:
    """As the gateway's ids, in order."""
    return f"{number:08x}-0000-7000-8000-{number:012x}"


def rows(count: int) -> Iterator[tuple[dict[str, Any], dict[str, Any] | None]]:
    """Documents, and the registry's row of those that a stage has spoken of."""
    chance = random.Random(1)
    names, shares = list(STATES), list(STATES.values())
    for number in range(count):
        id_ = uuid7(number)
        tenant = "bob" if number % 10 == 0 else "ann"
        collection = f"c{min(int(chance.expovariate(0.7)), 9)}"
        state = chance.choices(names, shares)[0]
        if number > count * 0.97:
            # What came last is what waits.
            state = chance.choice(("queued", "queued", "processing", "accepted"))
        key = DocumentKey(tenant, collection, id_)
        at_ms = 1_700_000_000_000 + number * 1000
        document = {
            "id": id_,
            "key": key.uuid,
            "tenant": tenant,
            "collection": collection,
            "name": f"{chance.choice(WORDS)}-{chance.choice(WORDS)}-{number:07}.pdf",
            "version": 1,
            "content_version": 1,
            "media_type": "application/pdf",
            "size": 10_000,
            "sha256": "0" * 64,
            "attributes": {"room": "wheel"},
            "user_id": "",
            "session_id": "",
            "import_job": uuid7(number // 20_000) if number % 2 else None,
            "lane": "interactive",
            "created_ms": at_ms,
            "updated_ms": at_ms + chance.randrange(86_400_000),
            "deleted_ms": at_ms if state == "deleted" else None,
            "sent_version": 0 if state == "accepted" else 1,
            "sent_partition": number % 6,
            "sent_offset": number,
            "failure": None,
            "listed_as": state,
        }
        yield (
            document,
            None if state in ("accepted", "queued") else _heard(key, document, state),
        )


def _heard(key: DocumentKey, document: dict[str, Any], state: str) -> dict[str, Any]:
    said = StatusEvent(
        key,
        revision=document["created_ms"],
        arrival=Arrival(
            document["created_ms"],
            "t",
            document["sent_partition"],
            document["sent_offset"],
        ),
        stage=Stage.LOADER if state == "processing" else Stage.INDEXER,
        state=State.PASSED_ON if state == "processing" else State(state),
        chunks=3,
        at_ms=document["updated_ms"],
        lane=Lane.INTERACTIVE,
    )
    row = status_row(said, partition=0, offset=document["sent_offset"])
    return {column.name: row[column.name] for column in DOCUMENT_STATES.c}


async def fill(url: str, count: int) -> None:
    """Tables with that many documents."""
    await upgrade(url)
    database = Database.from_settings(DatabaseSettings(database_url=SecretStr(url)))
    postgres = database.dialect == "postgresql"
    later: list[str] = []
    async with database.writing() as connection:
        if postgres:
            later = await _without_indexes(connection)
    made = rows(count)
    while some := list(islice(made, 20_000)):
        states = [heard for _, heard in some if heard]
        async with database.writing() as connection:
            if postgres:
                await _copy(connection, DOCUMENTS, [each for each, _ in some])
                await _copy(connection, DOCUMENT_STATES, states)
            else:
                await connection.execute(insert(DOCUMENTS), [each for each, _ in some])
                await connection.execute(insert(DOCUMENT_STATES), states)
    async with database.writing() as connection:
        for statement in later:
            await connection.execute(text(statement))
        # As autovacuum would have by then.
        await connection.execute(text("ANALYZE"))
    await database.close()


async def _without_indexes(connection: AsyncConnection) -> list[str]:
    """Drop the indexes; what makes them again, in a third of the time."""
    found = await connection.execute(
        text(
            "SELECT indexname, indexdef FROM pg_indexes WHERE indexname LIKE 'ix_%' "
            "AND tablename IN ('documents', 'document_states')"
        )
    )
    indexes = {row.indexname: row.indexdef for row in found}
    for name in indexes:
        await connection.execute(text(f"DROP INDEX {name}"))
    return list(indexes.values())


async def _copy(connection: Any, table: Any, found: list[dict[str, Any]]) -> None:
    raw = await connection.get_raw_connection()
    names = [column.name for column in table.c]
    await raw.driver_connection.copy_records_to_table(
        table.name,
        columns=names,
        records=[
            tuple(
                json.dumps(each[name]) if isinstance(each[name], dict) else each[name]
                for name in names
            )
            for each in found
        ],
    )


def lists(count: int) -> dict[str, dict[str, str]]:
    """What is asked for, by what it is called."""
    job = uuid7(count // 2 // 20_000)
    filters: dict[str, dict[str, str]] = {
        "all": {},
        **{f"state {each}": {"state": each} for each in STATES},
        "collection, a third": {"collection": "c1"},
        "collection, a thousandth": {"collection": "c9"},
        "job of 10,000": {"job": job},
        "text, in half": {"text": "bridge"},
        "text, in one": {"text": f"{count // 3:07}"},
        "text, in none": {"text": "waterfall"},
        "text, three characters": {"text": "flu"},
        "collection and failed": {"collection": "c9", "state": "failed"},
        "collection and queued": {"collection": "c1", "state": "queued"},
        "job and indexed": {"job": job, "state": "indexed"},
        "job and failed": {"job": job, "state": "failed"},
        "text and failed": {"text": "bridge", "state": "failed"},
    }
    return {
        f"{name}, {sort}": {**asked, "sort": sort}
        for name, asked in filters.items()
        for sort in ("-created", "created", "-updated", "name")
    }


def measure(served: Served, count: int, rounds: int) -> list[tuple[str, list[float]]]:
    """Milliseconds of each list's pages."""
    found: list[tuple[str, list[float]]] = []
    with httpx.Client(base_url=served.url, headers=served.key, timeout=120) as client:
        for name, asked in lists(count).items():
            times: list[float] = []
            for _ in range(rounds):
                after: dict[str, str] = {}
                for _ in range(PAGES):
                    began = time.perf_counter()
                    answer = client.get("/v1/documents", params={**asked, **after})
                    times.append((time.perf_counter() - began) * 1000)
                    answer.raise_for_status()
                    following = answer.json()["next"]
                    if following is None:
                        break
                    after = {"cursor": following}
            found.append((name, times))
    return found


@contextmanager
def database(*, sqlite: bool) -> Iterator[str]:
    """The URL of an empty one."""
    if sqlite:
        with tempfile.TemporaryDirectory() as folder:
            yield f"sqlite:///{folder}/headrace.db"
        return
    with running_postgres() as server:
        yield server.new_database()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--sqlite", action="store_true")
    asked = parser.parse_args()
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING)
    )
    with database(sqlite=asked.sqlite) as url, tempfile.TemporaryDirectory() as folder:
        began = time.monotonic()
        asyncio.run(fill(url, asked.rows))
        print(f"{asked.rows:,} documents in {time.monotonic() - began:.0f} s")
        with Served(Path(folder), url=url) as served:
            found = measure(served, asked.rows, asked.rounds)
    print(f"{'list':44}   p50   p95  most, ms")
    for name, times in found:
        print(f"{name:44} {_row(times)}")
    print(f"{'all of these':44} {_row([each for _, times in found for each in times])}")
    print(f"load of the machine {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


def _row(times: list[float]) -> str:
    quantiles = statistics.quantiles(times, n=20) if len(times) > 1 else times * 19
    return f"{quantiles[9]:5.1f} {quantiles[18]:5.1f} {max(times):5.1f}"


if __name__ == "__main__":
    main()
