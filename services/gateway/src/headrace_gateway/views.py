"""Documents as callers see them. Pure: no I/O."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel

from headrace.messages import Stage
from headrace_gateway.problems import invalid
from headrace_gateway.records import Page, Row

STAGES = list(Stage)


class ErrorView(BaseModel):
    """What went wrong, and what to do about it."""

    code: str
    message: str
    advice: str = ""
    retryable: bool = False


class Progress(BaseModel):
    """Chunks of the newest version."""

    chunks: int
    done: int
    failed: int


class StageView(BaseModel):
    """What one stage did for a document."""

    stage: str
    state: str
    attempts: int
    waiting_s: float
    working_s: float
    chunks: int
    tokens: int
    at: str
    error: ErrorView | None = None


class VersionView(BaseModel):
    """A content that is kept."""

    version: int
    size: int
    sha256: str
    media_type: str
    uri: str | None = None
    created_at: str


class DocumentView(BaseModel):
    """A document."""

    id: str
    collection: str
    name: str
    version: int
    state: str
    stage: str | None = None
    media_type: str
    size: int
    sha256: str
    attributes: dict[str, str]
    user_id: str
    session_id: str
    import_job: str | None
    created_at: str
    updated_at: str
    deleted_at: str | None = None
    progress: Progress | None = None
    attempts: int = 0
    error: ErrorView | None = None


class DocumentDetail(DocumentView):
    """A document with its history."""

    timeline: list[StageView]
    versions: list[VersionView]


class DocumentPage(BaseModel):
    """Some documents; ``next`` is the cursor of those after them."""

    documents: list[DocumentView]
    next: str | None = None


def document_view(row: Row) -> DocumentView:
    """From the database."""
    return DocumentView(**_fields(row))


def document_detail(
    row: Row, timeline: Sequence[Row], versions: Sequence[Row]
) -> DocumentDetail:
    """From the database."""
    fields = _fields(row)
    if row["heard"]:
        fields["progress"] = progress_view(timeline)
    return DocumentDetail(
        **fields,
        timeline=[stage_view(each) for each in timeline],
        versions=[
            VersionView(
                **{
                    name: each[name]
                    for name in ("version", "size", "sha256", "media_type", "uri")
                },
                created_at=when(each["created_ms"]),
            )
            for each in versions
        ],
    )


def when(milliseconds: int) -> str:
    """A time."""
    at = datetime.fromtimestamp(milliseconds / 1000, tz=UTC)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def cursor(page: Page, row: Row) -> str:
    """Where the next page begins."""
    place = json.dumps([str(page.sort), row[page.sort.column.name], row["id"]])
    return base64.urlsafe_b64encode(place.encode()).decode().rstrip("=")


def place_of(cursor_: str, sort: str) -> tuple[Any, str]:
    """The inverse.

    Raises:
        Problem: it is none of ours, or of another order.
    """
    try:
        raw = base64.urlsafe_b64decode(cursor_ + "=" * (-len(cursor_) % 4))
        of, value, id_ = json.loads(raw)
    except (ValueError, TypeError, binascii.Error, RecursionError):
        raise invalid("cursor is none that this API gave") from None
    number = sort.lstrip("-") != "name"
    fits = isinstance(value, int if number else str) and not isinstance(value, bool)
    if of != sort or not isinstance(id_, str) or not fits:
        raise invalid("cursor belongs to a list in another order")
    if not number:
        _check_text(value)
    elif abs(value) >= 2**63:
        raise invalid("cursor is none that this API gave")
    _check_text(id_)
    return value, id_


def _check_text(text: str) -> None:
    """What the database takes as text."""
    if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise invalid("cursor is none that this API gave")


def _fields(row: Row) -> dict[str, Any]:
    same = (
        *("id", "collection", "name", "version", "state", "media_type", "size"),
        *("sha256", "attributes", "user_id", "session_id", "import_job"),
    )
    fields = {name: row[name] for name in same}
    fields["created_at"] = when(row["created_ms"])
    fields["updated_at"] = when(row["updated_ms"])
    if row["deleted_ms"] is not None:
        fields["deleted_at"] = when(row["deleted_ms"])
    if row["failure"] is not None:
        fields["error"] = ErrorView(**row["failure"])
    elif row["heard"]:
        fields |= {
            "stage": str(STAGES[row["heard_stage"] - 1]),
            "attempts": row["heard_attempts"],
            "error": error_view(row, "heard_"),
            "progress": Progress(
                chunks=row["heard_chunks"],
                done=0 if row["state"] == "processing" else row["heard_chunks"],
                failed=row["heard_failed_chunks"],
            ),
        }
    return fields


def progress_view(timeline: Sequence[Row]) -> Progress:
    """Each stage counts what passed it; the indexer's are stored."""
    return Progress(
        chunks=max((each["chunks"] for each in timeline), default=0),
        done=next((e["chunks"] for e in timeline if e["stage"] == len(STAGES)), 0),
        failed=max((each["failed_chunks"] for each in timeline), default=0),
    )


def stage_view(row: Row) -> StageView:
    """What a stage said."""
    return StageView(
        stage=str(STAGES[row["stage"] - 1]),
        state=row["state"],
        attempts=row["attempts"],
        waiting_s=row["waiting_ms"] / 1000,
        working_s=row["working_ms"] / 1000,
        chunks=row["chunks"],
        tokens=row["tokens"],
        at=when(row["at_ms"]),
        error=error_view(row),
    )


def error_view(row: Mapping[str, Any], prefix: str = "") -> ErrorView | None:
    """What went wrong, if anything did."""
    if not row[f"{prefix}error_code"]:
        return None
    return ErrorView(
        code=row[f"{prefix}error_code"],
        message=row[f"{prefix}error_message"] or "",
        advice=row[f"{prefix}error_advice"] or "",
        retryable=bool(row[f"{prefix}error_retryable"]),
    )
