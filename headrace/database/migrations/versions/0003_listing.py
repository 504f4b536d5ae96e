"""The state by which documents are listed, and an index for each way to list them.

Revision ID: 0003
"""

from __future__ import annotations

import sqlalchemy as sa
import structlog
from alembic import op

revision = "0003"
down_revision = "0002"

_log = structlog.get_logger(__name__)

_FILL = """
UPDATE documents SET listed_as = CASE
    WHEN deleted_ms IS NOT NULL THEN 'deleted'
    WHEN failure IS NOT NULL THEN 'failed'
    WHEN sent_version < version THEN 'accepted'
    ELSE coalesce(
        (SELECT CASE WHEN heard.final THEN heard.state ELSE 'processing' END
         FROM document_states AS heard
         WHERE heard.document = documents.key
           AND heard.lane = documents.lane
           AND heard.arrival_partition = documents.sent_partition
           AND heard.arrival_offset >= documents.sent_offset),
        'queued')
END
"""
_NO_LONGER = ("tenant_id", "tenant_collection_id", "tenant_updated", "tenant_name")


def upgrade() -> None:
    """Add the column, fill it, and make the indexes."""
    op.add_column(
        "documents",
        # The default is for gateways of the release before, that are still running.
        sa.Column(
            "listed_as", sa.String(32), nullable=False, server_default="accepted"
        ),
    )
    op.execute(_FILL)
    for name in (*_NO_LONGER, "failed", "import_job"):
        op.drop_index(f"ix_documents_{name}", "documents")
    living, imported = "deleted_ms IS NULL", "import_job IS NOT NULL"
    for name, columns, part in (
        ("created", ["tenant", "created_ms", "id"], living),
        ("updated", ["tenant", "updated_ms", "id"], living),
        ("name", ["tenant", "name", "id"], living),
        ("collection_created", ["tenant", "collection", "created_ms", "id"], living),
        ("collection_updated", ["tenant", "collection", "updated_ms", "id"], living),
        ("state_created", ["tenant", "listed_as", "created_ms", "id"], None),
        ("state_updated", ["tenant", "listed_as", "updated_ms", "id"], None),
        ("state_name", ["tenant", "listed_as", "name", "id"], None),
        (
            "collection_state",
            ["tenant", "collection", "listed_as", "created_ms", "id"],
            None,
        ),
        ("job_created", ["tenant", "import_job", "created_ms", "id"], imported),
        ("job_updated", ["tenant", "import_job", "updated_ms", "id"], imported),
        ("job_name", ["tenant", "import_job", "name", "id"], imported),
    ):
        where = None if part is None else sa.text(part)
        op.create_index(
            f"ix_documents_{name}",
            "documents",
            columns,
            sqlite_where=where,
            postgresql_where=where,
        )
    if op.get_bind().dialect.name == "postgresql":
        _index_parts_of_names()


def _index_parts_of_names() -> None:
    """With pg_trgm, which any owner of a database may add where it is installed."""
    connection = op.get_bind()
    try:
        with connection.begin_nested():
            op.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm")
    except sa.exc.DBAPIError as error:
        _log.warning(
            "PostgreSQL's extension pg_trgm cannot be made: searches for a part of a "
            "name will look at all names; docs/api.md says what to do",
            reason=type(error.orig).__name__,
        )
        return
    schema = connection.scalar(
        sa.text(
            "SELECT quote_ident(nspname) FROM pg_extension JOIN pg_namespace "
            "ON pg_namespace.oid = extnamespace WHERE extname = 'pg_trgm'"
        )
    )
    op.execute(
        "CREATE INDEX ix_documents_name_trigrams ON documents "
        f"USING gin (name {schema}.gin_trgm_ops) WITH (fastupdate = off)"
    )
