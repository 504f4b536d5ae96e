"""The gateway's tables: documents, their contents, the outbox, keys, imports.

They are the only copy of what they say, unlike the registry's (``processing``), which
can be read again from the status topic. Times are milliseconds since 1970.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    Text,
)

from headrace.database.schema import SCHEMA

_ID = String(36)
_NAME = String(1024)
_NUMBER = BigInteger().with_variant(Integer(), "sqlite")
"""SQLite counts up by itself only what is an INTEGER."""

DOCUMENTS = Table(
    "documents",
    SCHEMA,
    Column("id", _ID, primary_key=True),
    # ``DocumentKey.uuid``: by it the registry's rows are found.
    Column("key", _ID, nullable=False, unique=True),
    Column("tenant", String(128), nullable=False),
    Column("collection", String(128), nullable=False),
    Column("name", _NAME, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("content_version", BigInteger, nullable=False),
    Column("media_type", String(255), nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("attributes", JSON, nullable=False),
    Column("user_id", String(256), nullable=False),
    Column("session_id", String(256), nullable=False),
    Column("import_job", _ID, nullable=True),
    Column("lane", String(16), nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("updated_ms", BigInteger, nullable=False),
    Column("deleted_ms", BigInteger, nullable=True),
    Column("sent_version", BigInteger, nullable=False),
    Column("sent_partition", Integer, nullable=True),
    Column("sent_offset", BigInteger, nullable=True),
    Column("failure", JSON(none_as_null=True), nullable=True),
    Column("listed_as", String(32), nullable=False, server_default="accepted"),
)
"""``version`` rises with everything that is asked for, and is the source version of the
event that asks; ``sent_*`` say where in Kafka the newest event is that got there.
``listed_as`` is the state by which lists find it, a copy (``listing``)."""

_LIVING: dict[str, Any] = {
    "sqlite_where": DOCUMENTS.c.deleted_ms.is_(None),
    "postgresql_where": DOCUMENTS.c.deleted_ms.is_(None),
}


def _where(column: Column[Any]) -> dict[str, Any]:
    """An index of those rows alone that have a value."""
    return {
        "sqlite_where": column.is_not(None),
        "postgresql_where": column.is_not(None),
    }


_IMPORTED = _where(DOCUMENTS.c.import_job)

Index(
    "uq_documents_living",
    DOCUMENTS.c.tenant,
    DOCUMENTS.c.collection,
    DOCUMENTS.c.name,
    unique=True,
    **_LIVING,
)
# An index for each filter in each order: a page is found where it begins, and read to
# its end. The one above is that of a collection by name. As all begin with the tenant,
# the planner takes the one that fits best, and none for how the rows lie on the disk.
for _name, _columns, _part in (
    ("created", ("tenant", "created_ms", "id"), _LIVING),
    ("updated", ("tenant", "updated_ms", "id"), _LIVING),
    ("name", ("tenant", "name", "id"), _LIVING),
    ("collection_created", ("tenant", "collection", "created_ms", "id"), _LIVING),
    ("collection_updated", ("tenant", "collection", "updated_ms", "id"), _LIVING),
    ("state_created", ("tenant", "listed_as", "created_ms", "id"), {}),
    ("state_updated", ("tenant", "listed_as", "updated_ms", "id"), {}),
    ("state_name", ("tenant", "listed_as", "name", "id"), {}),
    (
        "collection_state",
        ("tenant", "collection", "listed_as", "created_ms", "id"),
        {},
    ),
    ("job_created", ("tenant", "import_job", "created_ms", "id"), _IMPORTED),
    ("job_updated", ("tenant", "import_job", "updated_ms", "id"), _IMPORTED),
    ("job_name", ("tenant", "import_job", "name", "id"), _IMPORTED),
):
    Index(f"ix_documents_{_name}", *(DOCUMENTS.c[each] for each in _columns), **_part)

Index("ix_documents_deleted", DOCUMENTS.c.deleted_ms, **_where(DOCUMENTS.c.deleted_ms))

NAME_TRIGRAMS = "ix_documents_name_trigrams"
"""PostgreSQL's index for parts of names; the step that makes it says when there is
none. SQLite looks at the names in the order of the list."""

CONTENTS = Table(
    "document_contents",
    SCHEMA,
    Column("document_id", _ID, ForeignKey(DOCUMENTS.c.id), primary_key=True),
    Column("version", BigInteger, primary_key=True),
    Column("object_key", String(1024), nullable=True),
    Column("uri", Text, nullable=True),
    Column("media_type", String(255), nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("obsolete_ms", BigInteger, nullable=True),
)
"""What a version consists of: an object of ours, or a URI that the loader fetches.

Obsolete ones keep their object for as long as Kafka may hold an event that names it."""

Index("ix_document_contents_object_key", CONTENTS.c.object_key)
Index("ix_document_contents_obsolete", CONTENTS.c.obsolete_ms)

OUTBOX = Table(
    "outbox",
    SCHEMA,
    Column("seq", _NUMBER, primary_key=True, autoincrement=True),
    Column("document_id", _ID, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("lane", String(16), nullable=False),
    Column("record_key", LargeBinary, nullable=False),
    Column("value", LargeBinary, nullable=False),
    Column("headers", JSON, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("claimed_until_ms", BigInteger, nullable=False),
    sqlite_autoincrement=True,
)
"""Events that Kafka has not confirmed; a row goes when it has."""

Index("ix_outbox_document", OUTBOX.c.document_id, OUTBOX.c.seq)

IDEMPOTENCY = Table(
    "idempotency",
    SCHEMA,
    Column("tenant", String(128), primary_key=True),
    Column("key", String(255), primary_key=True),
    Column("request_hash", String(64), nullable=False),
    Column("status", Integer, nullable=False),
    Column("answer", JSON, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
)
"""Answers that were given, by the key that the caller chose; kept for a day."""

Index("ix_idempotency_created", IDEMPOTENCY.c.created_ms)

API_KEYS = Table(
    "api_keys",
    SCHEMA,
    Column("id", String(12), primary_key=True),
    Column("hash", String(64), nullable=False),
    Column("tenant", String(128), nullable=False),
    Column("scopes", String(64), nullable=False),
    Column("label", String(256), nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("expires_ms", BigInteger, nullable=True),
    Column("revoked_ms", BigInteger, nullable=True),
)

Index("ix_api_keys_tenant", API_KEYS.c.tenant)

IMPORTS = Table(
    "imports",
    SCHEMA,
    Column("id", _ID, primary_key=True),
    Column("tenant", String(128), nullable=False),
    Column("collection", String(128), nullable=False),
    Column("on_conflict", String(16), nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("complete_ms", BigInteger, nullable=True),
)
"""``complete_ms`` is set once the whole body was read; before, it may be cut off."""

Index("ix_imports_tenant", IMPORTS.c.tenant, IMPORTS.c.id)
Index("ix_imports_complete", IMPORTS.c.complete_ms, **_where(IMPORTS.c.complete_ms))

IMPORT_ITEMS = Table(
    "import_items",
    SCHEMA,
    Column("import_id", _ID, ForeignKey(IMPORTS.c.id), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("state", String(16), nullable=False),
    Column("name", _NAME, nullable=False),
    Column("payload", JSON(none_as_null=True), nullable=True),
    Column("document_id", _ID, nullable=True),
    Column("failure", JSON(none_as_null=True), nullable=True),
)
"""``waiting`` to be accepted, ``accepted`` as a document, or ``refused``."""

Index("ix_import_items_state", IMPORT_ITEMS.c.import_id, IMPORT_ITEMS.c.state)
Index(
    "ix_import_items_document",
    IMPORT_ITEMS.c.document_id,
    **_where(IMPORT_ITEMS.c.document_id),
)
