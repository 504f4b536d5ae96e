"""Indexes by which what is to be forgotten is found, and what still names it.

Revision ID: 0005
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Make them."""
    for name, table, columns in (
        ("ix_documents_deleted", "documents", ["deleted_ms"]),
        ("ix_import_items_document", "import_items", ["document_id"]),
        ("ix_imports_complete", "imports", ["complete_ms"]),
    ):
        where = sa.text(f"{columns[0]} IS NOT NULL")
        op.create_index(
            name, table, columns, sqlite_where=where, postgresql_where=where
        )
