"""The gateway's tables.

Revision ID: 0002
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_ID = sa.String(36)
_NAME = sa.String(1024)
_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make them."""
    _documents()
    _outbox()
    _keys()
    _imports()


def _documents() -> None:
    op.create_table(
        "documents",
        sa.Column("id", _ID, nullable=False),
        sa.Column("key", _ID, nullable=False),
        sa.Column("tenant", sa.String(128), nullable=False),
        sa.Column("collection", sa.String(128), nullable=False),
        sa.Column("name", _NAME, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("content_version", sa.BigInteger, nullable=False),
        sa.Column("media_type", sa.String(255), nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("attributes", sa.JSON, nullable=False),
        sa.Column("user_id", sa.String(256), nullable=False),
        sa.Column("session_id", sa.String(256), nullable=False),
        sa.Column("import_job", _ID),
        sa.Column("lane", sa.String(16), nullable=False),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
        sa.Column("updated_ms", sa.BigInteger, nullable=False),
        sa.Column("deleted_ms", sa.BigInteger),
        sa.Column("sent_version", sa.BigInteger, nullable=False),
        sa.Column("sent_partition", sa.Integer),
        sa.Column("sent_offset", sa.BigInteger),
        sa.Column("failure", sa.JSON),
        sa.PrimaryKeyConstraint("id", name="pk_documents"),
        sa.UniqueConstraint("key", name="uq_documents_key"),
    )
    op.create_index(
        "uq_documents_living",
        "documents",
        ["tenant", "collection", "name"],
        unique=True,
        sqlite_where=sa.text("deleted_ms IS NULL"),
        postgresql_where=sa.text("deleted_ms IS NULL"),
    )
    op.create_index(
        "ix_documents_failed",
        "documents",
        ["tenant", "id"],
        sqlite_where=sa.text("failure IS NOT NULL"),
        postgresql_where=sa.text("failure IS NOT NULL"),
    )
    for name, columns in (
        ("ix_documents_tenant_id", ["tenant", "id"]),
        ("ix_documents_tenant_collection_id", ["tenant", "collection", "id"]),
        ("ix_documents_tenant_updated", ["tenant", "updated_ms", "id"]),
        ("ix_documents_tenant_name", ["tenant", "name", "id"]),
        ("ix_documents_import_job", ["import_job", "id"]),
    ):
        op.create_index(name, "documents", columns)
    op.create_table(
        "document_contents",
        sa.Column("document_id", _ID, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("object_key", sa.String(1024)),
        sa.Column("uri", sa.Text),
        sa.Column("media_type", sa.String(255), nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
        sa.Column("obsolete_ms", sa.BigInteger),
        sa.PrimaryKeyConstraint("document_id", "version", name="pk_document_contents"),
        sa.ForeignKeyConstraint(
            ["document_id"],
            ["documents.id"],
            name="fk_document_contents_document_id_documents",
        ),
    )
    op.create_index(
        "ix_document_contents_object_key", "document_contents", ["object_key"]
    )
    op.create_index(
        "ix_document_contents_obsolete", "document_contents", ["obsolete_ms"]
    )


def _outbox() -> None:
    op.create_table(
        "outbox",
        sa.Column("seq", _NUMBER, autoincrement=True, nullable=False),
        sa.Column("document_id", _ID, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("lane", sa.String(16), nullable=False),
        sa.Column("record_key", sa.LargeBinary, nullable=False),
        sa.Column("value", sa.LargeBinary, nullable=False),
        sa.Column("headers", sa.JSON, nullable=False),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
        sa.Column("claimed_until_ms", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_outbox"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_outbox_document", "outbox", ["document_id", "seq"])
    op.create_table(
        "idempotency",
        sa.Column("tenant", sa.String(128), nullable=False),
        sa.Column("key", sa.String(255), nullable=False),
        sa.Column("request_hash", sa.String(64), nullable=False),
        sa.Column("status", sa.Integer, nullable=False),
        sa.Column("answer", sa.JSON, nullable=False),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("tenant", "key", name="pk_idempotency"),
    )
    op.create_index("ix_idempotency_created", "idempotency", ["created_ms"])


def _keys() -> None:
    op.create_table(
        "api_keys",
        sa.Column("id", sa.String(12), nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
        sa.Column("tenant", sa.String(128), nullable=False),
        sa.Column("scopes", sa.String(64), nullable=False),
        sa.Column("label", sa.String(256), nullable=False),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
        sa.Column("expires_ms", sa.BigInteger),
        sa.Column("revoked_ms", sa.BigInteger),
        sa.PrimaryKeyConstraint("id", name="pk_api_keys"),
    )
    op.create_index("ix_api_keys_tenant", "api_keys", ["tenant"])


def _imports() -> None:
    op.create_table(
        "imports",
        sa.Column("id", _ID, nullable=False),
        sa.Column("tenant", sa.String(128), nullable=False),
        sa.Column("collection", sa.String(128), nullable=False),
        sa.Column("on_conflict", sa.String(16), nullable=False),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
        sa.Column("complete_ms", sa.BigInteger),
        sa.PrimaryKeyConstraint("id", name="pk_imports"),
    )
    op.create_index("ix_imports_tenant", "imports", ["tenant", "id"])
    op.create_table(
        "import_items",
        sa.Column("import_id", _ID, nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("name", _NAME, nullable=False),
        sa.Column("payload", sa.JSON),
        sa.Column("document_id", _ID),
        sa.Column("failure", sa.JSON),
        sa.PrimaryKeyConstraint("import_id", "number", name="pk_import_items"),
        sa.ForeignKeyConstraint(
            ["import_id"], ["imports.id"], name="fk_import_items_import_id_imports"
        ),
    )
    op.create_index("ix_import_items_state", "import_items", ["import_id", "state"])
