"""Rates are those of the last whole window, and repeated statuses change nothing."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from headrace.database.engine import Database
from headrace.database.merging import merge_statuses, status_row
from headrace.database.processing import RATES
from headrace.database.rates import Rate, Window, count, rates, replace
from headrace.identity import Arrival, DocumentKey
from headrace.messages import Stage, State, StatusEvent


@given(st.integers(0, 2**50), st.integers(1, 3600))
def test_windows_follow_each_other(now_ms: int, seconds: int) -> None:
    window = Window.last_whole(now_ms, seconds=seconds)
    assert window.end_ms <= now_ms < window.end_ms + seconds * 1000
    following = Window.last_whole(now_ms + seconds * 1000, seconds=seconds)
    assert following.start_ms == window.end_ms


def test_eta() -> None:
    def eta(per_second: float, unfinished: int) -> float | None:
        return Rate(
            tenant="t",
            collection="c",
            documents_per_second=per_second,
            chunks_per_second=0,
            unfinished=unfinished,
        ).eta_s

    assert eta(2, 10) == 5
    assert eta(0, 10) is None
    assert eta(0, 0) == 0


def event(collection: str, number: int, state: State, at_ms: int) -> StatusEvent:
    return StatusEvent(
        DocumentKey("t", collection, str(number)),
        revision=7,
        arrival=Arrival(5, "topic", 0, number),
        stage=Stage.INDEXER if state.final else Stage.LOADER,
        state=state,
        chunks=3 if state is State.INDEXED else 0,
        at_ms=at_ms,
    )


async def test_a_window(database: Database) -> None:
    window = Window(start_ms=60_000, seconds=60)
    events = [
        *(event("a", number, State.INDEXED, 60_000 + number) for number in range(6)),
        event("a", 6, State.FAILED, 119_999),
        event("a", 7, State.INDEXED, 59_999),
        event("a", 8, State.INDEXED, 120_000),
        *(event("a", number, State.PASSED_ON, 60_000) for number in range(10, 17)),
        event("b", 1, State.PASSED_ON, 1),
        event("c", 1, State.INDEXED, 1),
    ]
    wanted = [
        Rate(
            tenant="t",
            collection="a",
            documents_per_second=7 / 60,
            chunks_per_second=18 / 60,
            unfinished=7,
        ),
        Rate(
            tenant="t",
            collection="b",
            documents_per_second=0,
            chunks_per_second=0,
            unfinished=1,
        ),
    ]
    rows = [status_row(e, partition=0, offset=n) for n, e in enumerate(events)]
    async with database.writing() as connection:
        for _ in range(2):
            await merge_statuses(connection, rows)
            found = await count(connection, window)
            assert found == wanted
        await replace(connection, found, window)
        await replace(connection, found, window)
    async with database.reading() as connection:
        assert [
            (row["collection"], row["eta_s"])
            for row in await rates(connection, tenant="t")
        ] == [("a", 60), ("b", None)]
        assert await rates(connection, tenant="other") == []
        assert len((await connection.execute(select(RATES))).all()) == 2
