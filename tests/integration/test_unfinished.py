"""Which unfinished documents are found, on both databases."""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy import insert

from headrace.database.documents import DOCUMENTS
from headrace.database.engine import Database
from headrace.database.merging import (
    heartbeat_row,
    merge_heartbeats,
    merge_statuses,
    status_row,
)
from headrace.database.unfinished import (
    forget_old,
    never_heard,
    note_requeue,
    passed_by,
    requeues_of,
)
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


def asked_for(name: str, **values: object) -> dict[str, object]:
    """A row as the gateway makes it."""
    empty: dict[str, object] = {
        column.name: None if column.nullable else "" for column in DOCUMENTS.c
    }
    numbers = dict.fromkeys(("content_version", "size", "created_ms"), 1)
    return {
        **empty,
        **numbers,
        "id": name,
        "key": DocumentKey("t", "c", name).uuid,
        "tenant": "t",
        "collection": "c",
        "name": name,
        "version": 2,
        "sent_version": 2,
        "lane": "interactive",
        "attributes": {},
        "sent_partition": 0,
        "sent_offset": 1,
        "updated_ms": 100,
        **values,
    }


async def test_what_no_stage_ever_spoke_of(database: Database) -> None:
    asked = [
        asked_for("unheard"),
        asked_for("not-sent", sent_version=1),
        asked_for("not-passed", sent_offset=5),
        asked_for("other-lane", lane="bulk"),
        asked_for("other-partition", sent_partition=1),
        asked_for("new", updated_ms=NOW_MS),
        asked_for("heard"),
        asked_for("heard-before", sent_offset=4),
        asked_for("deleted", deleted_ms=50),
    ]
    committed = {("interactive", 0): 5, ("interactive", 1): 0, ("bulk", 0): 0}
    statuses = [event("heard"), event("heard-before")]
    async with database.writing() as connection:
        await connection.execute(insert(DOCUMENTS), asked)
        rows = [status_row(e, partition=0, offset=n) for n, e in enumerate(statuses)]
        await merge_statuses(connection, rows)

        async def found(after: str = "") -> list[str]:
            rows = await never_heard(
                connection, committed, silent_since_ms=NOW_MS, after=after
            )
            return [row["id"] for row in rows]

        assert await found() == ["deleted", "heard-before", "unheard"]
        assert await found("heard-before") == ["unheard"]
        key = DocumentKey("t", "c", "unheard").uuid
        assert await requeues_of(connection, key, ARRIVAL) == (0, 0)
        await note_requeue(connection, key, ARRIVAL, now_ms=7)
        assert await requeues_of(connection, key, ARRIVAL) == (1, 7)


async def test_what_is_parked_and_what_goes_back_is_left_alone(
    database: Database,
) -> None:
    """Kafka holds it, wherever it is on its way."""
    parked = event("d", revision=0, output=OutputPosition("parked", 0, 4))
    again = replace(parked, output=OutputPosition("parked", 0, 9), at_ms=101)
    goes_back = replace(parked, output=None, at_ms=102)
    journey = [
        (parked, {("documents", 0): 2, ("parked", 0): 0}),
        (again, {("documents", 0): 2, ("parked", 0): 5}),
        (goes_back, {("documents", 0): 2, ("parked", 0): 10}),
    ]
    passed = {("interactive", 0): 2}
    async with database.writing() as connection:
        await connection.execute(insert(DOCUMENTS), [asked_for("d")])
        for offset, (status, committed) in enumerate(journey):
            row = status_row(status, partition=0, offset=offset)
            await merge_statuses(connection, [row])
            silent = {"silent_since_ms": NOW_MS, "after": ""}
            assert await passed_by(connection, committed, **silent) == []
            assert await never_heard(connection, passed, **silent) == []
        # Said late, after it went back: then it is looked for.
        row = status_row(again, partition=0, offset=99)
        await merge_statuses(connection, [row])
        assert len(await passed_by(connection, journey[-1][1], **silent)) == 1
