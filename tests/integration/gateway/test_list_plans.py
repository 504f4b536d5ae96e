"""No list reads all documents: the plans say so, on both databases."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
from headrace_gateway.records import Page, Sort, page_query, unfinished_query
from sqlalchemy import Select, insert, text
from sqlalchemy.ext.asyncio import AsyncConnection

from headrace.database.documents import DOCUMENTS
from headrace.database.engine import Database
from tests.support.document_rows import document_row

ROWS = 20_000
FILTERS: dict[str, dict[str, str]] = {
    "all": {},
    **{
        f"state {state}": {"state": state}
        for state in ("accepted", "queued", "processing", "indexed", "failed")
    },
    "deleted": {"state": "deleted"},
    "collection": {"collection": "c1"},
    "job": {"import_job": "job1"},
    "collection and state": {"collection": "c1", "state": "failed"},
    "job and state": {"import_job": "job1", "state": "failed"},
    "text": {"text": "name-001234"},
}


def rows() -> Iterator[dict[str, object]]:
    rare = ("accepted", "queued", "processing", "failed", "deleted")
    for number in range(ROWS):
        # What is rare lies together, as it does where the newest wait.
        state = rare[number // 100] if number < 100 * len(rare) else "indexed"
        yield document_row(
            f"id-{number:06}",
            name=f"name-{number:06}",
            tenant="other" if number % 10 == 0 else "t",
            collection=f"c{number % 7}",
            import_job=f"job{number // 2000}" if number % 2 else None,
            listed_as=state,
            deleted_ms=1 if state == "deleted" else None,
            created_ms=number,
            updated_ms=(number * 7919) % ROWS,
        )


async def plan(connection: AsyncConnection, query: Select[tuple[object, ...]]) -> str:
    compiled = query.compile(
        dialect=connection.dialect, compile_kwargs={"literal_binds": True}
    )
    sqlite = connection.dialect.name == "sqlite"
    explain = "EXPLAIN QUERY PLAN" if sqlite else "EXPLAIN"
    found = await connection.exec_driver_sql(f"{explain} {compiled}")
    return "\n".join(str(row) for row in found)


async def test_no_list_reads_all(database: Database) -> None:
    async with database.writing() as connection:
        made = rows()
        while some := list(itertools.islice(made, 1000)):
            await connection.execute(insert(DOCUMENTS), some)
        await connection.execute(text("ANALYZE"))
    wrong: list[str] = []
    async with database.reading() as connection:
        for name, asked in FILTERS.items():
            for sort, after in itertools.product(Sort, (None, 5000)):
                value = f"name-{after:06}" if after and "name" in sort else after
                page = Page(
                    tenant="t",
                    limit=50,
                    sort=sort,
                    after=None if after is None else (value, "id-005000"),
                    **asked,
                )
                found = await plan(connection, page_query(page))
                if reads_all(found, name):
                    wrong.append(f"{name} by {sort} after {after}:\n{found}")
        found = await plan(connection, unfinished_query("t", up_to=1000))
        if reads_all(found, "unfinished"):
            wrong.append(found)
    assert not wrong, "\n\n".join(wrong)


def reads_all(plan: str, name: str) -> bool:
    """Whether it looks at all documents, or at all of a filter to sort them.

    Sorting is for few: those of two filters at once, or of a part of a name.
    """
    whole = "Seq Scan on documents" in plan or "SCAN documents" in plan
    few = " and " in name or name == "text"
    # Names that are unique need no id to tell them apart, but PostgreSQL looks.
    sorts = "Sort Key" in plan and "Presorted Key" not in plan
    sorts = sorts or "TEMP B-TREE FOR ORDER BY" in plan
    return whole or (sorts and not few)


@pytest.mark.parametrize("wanted", [1, 3, 100])
async def test_what_is_under_way_is_counted_up_to_a_limit(
    database: Database, wanted: int
) -> None:
    states = ("accepted", "queued", "processing", "indexed", "failed", "deleted")
    async with database.writing() as connection:
        made = [
            document_row(f"{state}-{number}", listed_as=state)
            for state in states
            for number in range(2)
        ]
        made.append(document_row("theirs", tenant="other", listed_as="queued"))
        await connection.execute(insert(DOCUMENTS), made)
        found = await connection.scalar(unfinished_query("t", up_to=wanted))
    assert found == min(wanted, 6)
