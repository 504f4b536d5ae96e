"""The registry's tables.

Revision ID: 0001
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make them."""
    for mirror in ("stage_states", "rebuilt_states"):
        op.create_table(
            mirror,
            sa.Column("document", sa.String(36), nullable=False),
            sa.Column("work", sa.String(320), nullable=False),
            sa.Column("stage", sa.SmallInteger, nullable=False),
            sa.Column("gone", sa.Boolean, nullable=False),
            *_fact_columns(),
            sa.PrimaryKeyConstraint("document", "work", "stage", name=f"pk_{mirror}"),
        )
    op.create_table(
        "document_states",
        sa.Column("document", sa.String(36), nullable=False),
        sa.Column("work", sa.String(320), nullable=False),
        sa.Column("stage", sa.SmallInteger, nullable=False),
        *_fact_columns(),
        sa.PrimaryKeyConstraint("document", name="pk_document_states"),
    )
    for columns in (
        ["tenant", "collection", "document_id"],
        ["tenant", "state", "arrived_ms"],
        ["tenant", "arrived_ms"],
        ["at_ms"],
    ):
        _index("document_states", *columns)
    op.create_index(
        "ix_document_states_unfinished",
        "document_states",
        ["arrived_ms"],
        sqlite_where=sa.text("NOT final"),
        postgresql_where=sa.text("NOT final"),
    )
    op.create_table(
        "job_documents",
        sa.Column("tenant", sa.Text, nullable=False),
        sa.Column("import_job", sa.Text, nullable=False),
        sa.Column("document", sa.String(36), nullable=False),
        sa.Column("work", sa.String(320), nullable=False),
        sa.Column("stage", sa.SmallInteger, nullable=False),
        sa.Column("status_offset", sa.BigInteger, nullable=False),
        sa.Column("state", sa.String(32), nullable=False),
        sa.Column("final", sa.Boolean, nullable=False),
        sa.Column("chunks", sa.BigInteger, nullable=False),
        sa.Column("failed_chunks", sa.BigInteger, nullable=False),
        sa.Column("at_ms", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint(
            "tenant", "import_job", "document", name="pk_job_documents"
        ),
    )
    _index("job_documents", "tenant", "import_job", "state", "stage")
    _index("job_documents", "document")
    op.create_table(
        "heartbeats",
        sa.Column("document", sa.String(36), nullable=False),
        sa.Column("heard_ms", sa.BigInteger, nullable=False),
        sa.Column("heard_offset", sa.BigInteger, nullable=False),
        sa.Column("stage", sa.SmallInteger, nullable=False),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.Column("worker", sa.Text, nullable=False),
        sa.Column("started_ms", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("document", name="pk_heartbeats"),
    )
    _index("heartbeats", "heard_ms")
    op.create_table(
        "leases",
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("holder", sa.Text, nullable=False),
        sa.Column("counter", sa.BigInteger, nullable=False),
        sa.Column("until_ms", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_leases"),
    )
    op.create_table(
        "requeues",
        sa.Column("document", sa.String(36), nullable=False),
        sa.Column("arrival", sa.String(320), nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("last_ms", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("document", "arrival", name="pk_requeues"),
    )
    op.create_table(
        "rates",
        sa.Column("tenant", sa.Text, nullable=False),
        sa.Column("collection", sa.Text, nullable=False),
        sa.Column("window_start_ms", sa.BigInteger, nullable=False),
        sa.Column("window_s", sa.Integer, nullable=False),
        sa.Column("documents_per_second", sa.Float, nullable=False),
        sa.Column("chunks_per_second", sa.Float, nullable=False),
        sa.Column("unfinished", sa.BigInteger, nullable=False),
        sa.Column("eta_s", sa.Float),
        sa.PrimaryKeyConstraint("tenant", "collection", name="pk_rates"),
    )


def _index(table: str, *columns: str) -> None:
    op.create_index(f"ix_{table}_{'_'.join(columns)}", table, list(columns))


def _fact_columns() -> list[sa.Column[Any]]:
    return [
        sa.Column("status_partition", sa.Integer, nullable=False),
        sa.Column("status_offset", sa.BigInteger, nullable=False),
        sa.Column("tenant", sa.Text, nullable=False),
        sa.Column("collection", sa.Text, nullable=False),
        sa.Column("document_id", sa.Text, nullable=False),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.Column("arrived_ms", sa.BigInteger, nullable=False),
        sa.Column("arrival_topic", sa.Text, nullable=False),
        sa.Column("arrival_partition", sa.Integer, nullable=False),
        sa.Column("arrival_offset", sa.BigInteger, nullable=False),
        sa.Column("state", sa.String(32), nullable=False),
        sa.Column("final", sa.Boolean, nullable=False),
        sa.Column("error_code", sa.Text),
        sa.Column("error_message", sa.Text),
        sa.Column("error_advice", sa.Text),
        sa.Column("error_retryable", sa.Boolean),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("chunks", sa.BigInteger, nullable=False),
        sa.Column("tokens", sa.BigInteger, nullable=False),
        sa.Column("failed_chunks", sa.BigInteger, nullable=False),
        sa.Column("waiting_ms", sa.BigInteger, nullable=False),
        sa.Column("working_ms", sa.BigInteger, nullable=False),
        sa.Column("output_topic", sa.Text),
        sa.Column("output_partition", sa.Integer),
        sa.Column("output_offset", sa.BigInteger),
        sa.Column("at_ms", sa.BigInteger, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("media_type", sa.Text, nullable=False),
        sa.Column("source_uri", sa.Text, nullable=False),
        sa.Column("user_id", sa.Text, nullable=False),
        sa.Column("session_id", sa.Text, nullable=False),
        sa.Column("import_job", sa.Text, nullable=False),
        sa.Column("attributes", sa.Text, nullable=False),
        sa.Column("lane", sa.String(16), nullable=False),
    ]
