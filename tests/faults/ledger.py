"""What was sent and acknowledged, and what each document must be in the end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from headrace.messages import Operation
from headrace.qdrant_payload import LIVE
from headrace.store import StoredPoint


@dataclass(slots=True)
class Ledger:
    """Events of one collection by document, in the order of their acknowledgement."""

    _last: dict[str, tuple[Operation, int | None, str | None]] = field(
        default_factory=dict
    )
    """By document: operation, source version, text (``None``: nothing is visible)."""

    def accepted(
        self,
        document: str,
        *,
        operation: Operation,
        text: str | None,
        source_version: int | None,
    ) -> None:
        """The broker has the event."""
        last = self._last.get(document)
        if last is not None and last[1] is not None and source_version is not None:
            same = source_version == last[1]
            if source_version < last[1] or (same and operation is Operation.UPSERT):
                return
        self._last[document] = (operation, source_version, text)

    def expect(self, document: str, text: str | None) -> None:
        """Whatever was sent, this is what must be visible."""
        self._last[document] = (Operation.UPSERT, None, text)

    @property
    def expected(self) -> dict[str, str | None]:
        """The text that each document must be found by."""
        return {document: text for document, (_, _, text) in self._last.items()}


@dataclass(frozen=True, slots=True)
class Visible:
    """How what is visible differs from the ledger."""

    lost: Mapping[str, str]
    """By document: what is there instead."""
    twice: Mapping[str, str]
    """By document: what a search may find twice, or of two revisions."""


def compare(
    expected: Mapping[str, str | None], points: Mapping[str, list[StoredPoint]]
) -> Visible:
    """Judge what is stored; white space between chunks is in no chunk."""
    lost: dict[str, str] = {}
    twice: dict[str, str] = {}
    for document in expected.keys() | points.keys():
        live = [p for p in points.get(document, []) if p.payload["live"] == LIVE]
        parts: dict[int, dict[int, str]] = {}
        for point in live:
            chunks = parts.setdefault(point.payload["revision"], {})
            number = point.payload["number"]
            if number in chunks:
                twice[document] = f"chunk {number}"
            chunks[number] = point.payload["text"]
        if len(parts) > 1:
            twice[document] = f"revisions {sorted(parts)}"
        newest = parts[max(parts)] if parts else {}
        found = "".join(newest[number] for number in sorted(newest))
        wanted = expected.get(document) or ""
        if _squeezed(found) != _squeezed(wanted):
            lost[document] = f"{wanted[:200]!r} was sent last, {found[:200]!r} is there"
    return Visible(lost, twice)


def _squeezed(text: str) -> str:
    return "".join(text.split())
