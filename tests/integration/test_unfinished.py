"""Which unfinished documents are found, on both databases."""

from __future__ import annotations

from dataclasses import replace

from headrace.database.engine import Database
from headrace.database.merging import (
    heartbeat_row,
    merge_heartbeats,
    merge_statuses,
    status_row,
)
from headrace.database.unfinished import forget_old, note_requeue, passed_by
from headrace.identity import Arrival, DocumentKey
from headrace.messages import Heartbeat, OutputPosition, Stage, State, StatusEvent

NOW_MS = 10**9
ARRIVAL = Arrival(5, "topic", 0, 1)


def event(name: str, **values: object) -> StatusEvent:
    passed = StatusEvent(
        DocumentKey("t", "c", name),
        revision=7,
        arrival=ARRIVAL,
        stage=Stage.LOADER,
        state=State.PASSED_ON,
        output=OutputPosition("texts", 1, 4),
        at_ms=100,
    )
    return replace(passed, **values)


async def test_what_was_passed_by(database: Database) -> None:
    silent = event("silent")
    events = [
        silent,
        event("other-partition", output=OutputPosition("texts", 0, 4)),
        event("waiting", output=OutputPosition("texts", 1, 5)),
        event("no-output", output=None),
        event("new", at_ms=NOW_MS),
        event("ended", stage=Stage.INDEXER, state=State.INDEXED),
    ]
    committed = {("texts", 1): 5, ("texts", 0): 0, ("chunks", 1): 99}

    async with database.writing() as connection:

        async def found() -> list[tuple[str, int, int]]:
            rows = await passed_by(
                connection, committed, silent_since_ms=NOW_MS - 1, after=""
            )
            return [
                (row["document_id"], row["last_ms"], row["requeued"]) for row in rows
            ]

        rows = [status_row(e, partition=0, offset=n) for n, e in enumerate(events)]
        await merge_statuses(connection, rows)
        assert await found() == [("silent", 100, 0)]
        beat = Heartbeat(silent.key, 7, ARRIVAL, Stage.CHUNKER, "w", 1, 2)
        await merge_heartbeats(
            connection, [heartbeat_row(beat, heard_ms=300, offset=1)]
        )
        assert await found() == [("silent", 300, 0)]
        for times in (1, 2):
            await note_requeue(connection, silent.key.uuid, ARRIVAL, now_ms=500)
            assert await found() == [("silent", 500, times)]
        # Another event of the document has tries of its own.
        other = Arrival(6, "topic", 0, 2)
        await note_requeue(connection, silent.key.uuid, other, now_ms=900)
        assert await found() == [("silent", 500, 2)]
        await forget_old(connection, before_ms=1000)
        assert await found() == [("silent", 500, 2)]
        ended = replace(silent, stage=Stage.INDEXER, state=State.INDEXED)
        await merge_statuses(connection, [status_row(ended, partition=0, offset=99)])
        await forget_old(connection, before_ms=1000)
        await merge_statuses(
            connection, [status_row(event("silent", revision=8), partition=0, offset=1)]
        )
        assert await found() == [("silent", 100, 0)]
        assert (
            await passed_by(connection, committed, silent_since_ms=NOW_MS, after="~")
            == []
        )
        assert await passed_by(connection, {}, silent_since_ms=NOW_MS, after="") == []
