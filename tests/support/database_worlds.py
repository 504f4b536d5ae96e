"""Statuses as the topic may hold them, and what the registry must make of them."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from headrace.database.merging import (
    Row,
    merge_statuses,
    status_row,
    tombstone_row,
)
from headrace.database.processing import (
    DOCUMENT_STATES,
    JOB_DOCUMENTS,
    STAGE_STATES,
)
from headrace.identity import Arrival, DocumentKey
from headrace.messages import (
    Metadata,
    OutputPosition,
    Stage,
    State,
    StatusError,
    StatusEvent,
)
from headrace.status import status_key

TABLES = (STAGE_STATES, DOCUMENT_STATES, JOB_DOCUMENTS)


@dataclass(frozen=True, slots=True)
class Said:
    """A record of the status topic; ``removed`` is a tombstone for its key."""

    event: StatusEvent
    offset: int
    removed: bool = False

    @property
    def partition(self) -> int:
        return int(self.event.key.document_id[-1]) % 2

    @property
    def row(self) -> Row:
        at = {"partition": self.partition, "offset": self.offset}
        if not self.removed:
            return status_row(self.event, **at)
        row = tombstone_row(status_key(self.event), **at)
        assert row is not None
        return row


EVENTS = st.builds(
    StatusEvent,
    key=st.sampled_from([DocumentKey("t", "c", f"doc{n}") for n in range(3)]),
    revision=st.sampled_from([0, 7, 9]),
    arrival=st.builds(
        Arrival,
        append_time_ms=st.integers(1, 3),
        topic_id=st.sampled_from(["a", "b"]),
        partition=st.integers(0, 1),
        offset=st.integers(0, 2),
    ),
    stage=st.sampled_from(Stage),
    state=st.sampled_from(State),
    error=st.none() | st.just(StatusError("code", "a\0b", "advice", retryable=True)),
    chunks=st.integers(0, 5),
    output=st.none() | st.just(OutputPosition("texts", 1, 2)),
    at_ms=st.integers(0, 9),
    metadata=st.builds(Metadata, import_job=st.sampled_from(["", "one", "two"])),
)


@st.composite
def said(draw: st.DrawFn) -> list[Said]:
    """A topic's records in the order of their offsets."""
    events = draw(st.lists(EVENTS, max_size=12))
    return [
        Said(event, offset, removed=draw(st.integers(0, 5)) == 0)
        for offset, event in enumerate(events)
    ]


def expected(topic: Iterable[Row]) -> dict[str, dict[Any, Row]]:
    """What the tables must hold once all of the topic was merged, in its order."""
    kept: dict[tuple[str, str, int], Row] = {}
    for row in topic:
        kept[row["document"], row["work"], row["stage"]] = row
    documents: dict[str, Row] = {}
    jobs: dict[tuple[str, str, str], Row] = {}
    for row in sorted(kept.values(), key=_age):
        if row["gone"]:
            continue
        documents[row["document"]] = row
        if row["import_job"]:
            jobs[row["tenant"], row["import_job"], row["document"]] = row
    tables = {"stage_states": kept, "document_states": documents, "job_documents": jobs}
    return {
        table.name: {
            key: {column.name: row[column.name] for column in table.c}
            for key, row in tables[table.name].items()
        }
        for table in TABLES
    }


def _age(row: Row) -> tuple[Any, ...]:
    arrival = ("arrived_ms", "arrival_topic", "arrival_partition", "arrival_offset")
    place = (*arrival, "revision", "final", "stage", "status_offset")
    return tuple(row[each] for each in place)


async def stored(connection: AsyncConnection) -> dict[str, dict[Any, Row]]:
    """What they hold."""
    found: dict[str, dict[Any, Row]] = {}
    for table in TABLES:
        names = [column.name for column in table.primary_key]
        found[table.name] = {
            tuple(row[name] for name in names) if len(names) > 1 else row[names[0]]: {
                **row
            }
            for row in (await connection.execute(select(table))).mappings()
        }
    return found


async def merge_in_pieces(
    connection: AsyncConnection, records: Sequence[Said], sizes: random.Random
) -> None:
    """Merge them in this order, a few at a time."""
    at = 0
    while at < len(records):
        size = sizes.randint(1, 4)
        rows = [each.row for each in records[at : at + size]]
        await merge_statuses(connection, rows)
        at += size
