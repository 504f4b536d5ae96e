"""The registry's tables: what the stages said of each document.

``stage_states`` mirrors the status topic, one row for each of its keys. The rows of
``document_states`` and ``job_documents`` are made of it, and of nothing else
(``merging``), so all three can be had again from the topic. Times are milliseconds
since 1970. The tables' reasons are in docs/decisions/0006-one-sql-schema.md.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    Index,
    Integer,
    SmallInteger,
    String,
    Table,
    Text,
    text,
)

from headrace.database.schema import SCHEMA


def _key() -> Column[Any]:
    """``DocumentKey.uuid``: the key itself may be longer than an index can hold."""
    return Column("document", String(36), primary_key=True)


def _fact_columns() -> list[Column[Any]]:
    """A whole ``StatusEvent``, and where on the status topic it stood."""
    return [
        Column("status_partition", Integer, nullable=False),
        Column("status_offset", BigInteger, nullable=False),
        Column("tenant", Text, nullable=False),
        Column("collection", Text, nullable=False),
        Column("document_id", Text, nullable=False),
        Column("revision", BigInteger, nullable=False),
        Column("arrived_ms", BigInteger, nullable=False),
        Column("arrival_topic", Text, nullable=False),
        Column("arrival_partition", Integer, nullable=False),
        Column("arrival_offset", BigInteger, nullable=False),
        Column("state", String(32), nullable=False),
        Column("final", Boolean, nullable=False),
        Column("error_code", Text),
        Column("error_message", Text),
        Column("error_advice", Text),
        Column("error_retryable", Boolean),
        Column("attempts", Integer, nullable=False),
        Column("chunks", BigInteger, nullable=False),
        Column("tokens", BigInteger, nullable=False),
        Column("failed_chunks", BigInteger, nullable=False),
        Column("waiting_ms", BigInteger, nullable=False),
        Column("working_ms", BigInteger, nullable=False),
        Column("output_topic", Text),
        Column("output_partition", Integer),
        Column("output_offset", BigInteger),
        Column("at_ms", BigInteger, nullable=False),
        Column("name", Text, nullable=False),
        Column("media_type", Text, nullable=False),
        Column("source_uri", Text, nullable=False),
        Column("user_id", Text, nullable=False),
        Column("session_id", Text, nullable=False),
        Column("import_job", Text, nullable=False),
        # JSON of strings, as text: nothing asks SQL for what is inside.
        Column("attributes", Text, nullable=False),
        Column("lane", String(16), nullable=False),
    ]


def _mirror(name: str) -> Table:
    return Table(
        name,
        SCHEMA,
        _key(),
        # Revision, or the arrival where there is none: as in the topic's keys.
        Column("work", String(320), primary_key=True),
        # 1 loader to 4 indexer, so that later is more.
        Column("stage", SmallInteger, primary_key=True, autoincrement=False),
        # Its status was removed from the topic. The row stays as what was removed:
        # else the removed status, coming once more, would be back.
        Column("gone", Boolean, nullable=False),
        *_fact_columns(),
    )


STAGE_STATES = _mirror("stage_states")
REBUILT_STATES = _mirror("rebuilt_states")
"""What ``stage_states`` must be, while it is read from the topic again; else empty."""

DOCUMENT_STATES = Table(
    "document_states",
    SCHEMA,
    _key(),
    Column("work", String(320), nullable=False),
    Column("stage", SmallInteger, nullable=False),
    *_fact_columns(),
    Index(None, "tenant", "collection", "document_id"),
    Index(None, "tenant", "state", "arrived_ms"),
    Index(None, "tenant", "arrived_ms"),
    Index(None, "at_ms"),
    # What is not at an end is few, however many documents there are.
    Index(
        "ix_document_states_unfinished",
        "arrived_ms",
        sqlite_where=text("NOT final"),
        postgresql_where=text("NOT final"),
    ),
)
"""What is newest of each document."""

JOB_DOCUMENTS = Table(
    "job_documents",
    SCHEMA,
    Column("tenant", Text, primary_key=True),
    Column("import_job", Text, primary_key=True),
    _key(),
    Column("work", String(320), nullable=False),
    Column("stage", SmallInteger, nullable=False),
    Column("status_offset", BigInteger, nullable=False),
    Column("state", String(32), nullable=False),
    Column("final", Boolean, nullable=False),
    Column("chunks", BigInteger, nullable=False),
    Column("failed_chunks", BigInteger, nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    Index(None, "tenant", "import_job", "state", "stage"),
    Index(None, "document"),
)
"""What is newest of each document within an import job: a later job changes nothing."""

HEARTBEATS = Table(
    "heartbeats",
    SCHEMA,
    _key(),
    Column("heard_ms", BigInteger, nullable=False),
    Column("heard_offset", BigInteger, nullable=False),
    Column("stage", SmallInteger, nullable=False),
    Column("revision", BigInteger, nullable=False),
    Column("worker", Text, nullable=False),
    Column("started_ms", BigInteger, nullable=False),
    Index(None, "heard_ms"),
)
"""The last one of each document, by the broker's time; kept for an hour, as there."""

LEASES = Table(
    "leases",
    SCHEMA,
    Column("name", String(64), primary_key=True),
    Column("holder", Text, nullable=False),
    # Rises with each new holder; who acts under an old number is refused.
    Column("counter", BigInteger, nullable=False),
    Column("until_ms", BigInteger, nullable=False),
)

REQUEUES = Table(
    "requeues",
    SCHEMA,
    _key(),
    Column("arrival", String(320), primary_key=True),
    Column("attempts", Integer, nullable=False),
    Column("last_ms", BigInteger, nullable=False),
)
"""How often reconciliation has queued an event again; written before it does."""

RECOVERIES = Table(
    "recoveries",
    SCHEMA,
    Column("name", String(64), primary_key=True),
    # Rises with each request; what is asked and not answered is to be done now.
    Column("asked", BigInteger, nullable=False),
    Column("asked_by", Text),
    Column("asked_ms", BigInteger),
    Column("answered", BigInteger, nullable=False),
    # Of the last look, asked for or not.
    Column("began_ms", BigInteger),
    Column("ended_ms", BigInteger),
    Column("outcome", String(16)),
    Column("problem", Text),
    Column("requeued", BigInteger),
    Column("failed", BigInteger),
    Column("worker", Text),
)

RATES = Table(
    "rates",
    SCHEMA,
    Column("tenant", Text, primary_key=True),
    Column("collection", Text, primary_key=True),
    Column("window_start_ms", BigInteger, nullable=False),
    Column("window_s", Integer, nullable=False),
    Column("documents_per_second", Float, nullable=False),
    Column("chunks_per_second", Float, nullable=False),
    Column("unfinished", BigInteger, nullable=False),
    # Null where nothing is finished: then there is no telling.
    Column("eta_s", Float),
)
"""How fast each collection gets on, from the last whole window."""
