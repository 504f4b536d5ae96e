"""Rows of the gateway's documents, as it makes them."""

from __future__ import annotations

from headrace.database.documents import DOCUMENTS
from headrace.identity import DocumentKey


def document_row(id_: str, **values: object) -> dict[str, object]:
    """One that was sent to the interactive lane."""
    empty: dict[str, object] = {
        column.name: None if column.nullable else "" for column in DOCUMENTS.c
    }
    numbers = dict.fromkeys(("version", "content_version", "size", "created_ms"), 1)
    return {
        **empty,
        **numbers,
        "id": id_,
        "key": DocumentKey("t", "c", id_).uuid,
        "tenant": "t",
        "collection": "c",
        "name": id_,
        "lane": "interactive",
        "attributes": {},
        "sent_version": 1,
        "updated_ms": 100,
        "listed_as": "accepted",
        **values,
    }
