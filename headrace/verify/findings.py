"""What the oracle may find, and what repairs it. Pure: no I/O."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum

from headrace.identity import DocumentKey
from headrace.store import Operation


class Kind(StrEnum):
    """What is wrong; the values are stable."""

    WAITING = "waiting"
    """A stage has records before it: what else is found may be unfinished work."""
    COMMITTED_BEYOND_END = "committed_beyond_end"
    """A topic was made anew, or its records vanished: they are lost."""
    RECORDS_MISSING = "records_missing"
    """A collection has points and not one state record: restore it."""
    LOST = "lost"
    """Accepted, and neither visible, deleted, superseded nor dead-lettered."""
    DELETE_NOT_APPLIED = "delete_not_applied"
    """A delete is the last that was accepted, and what it deletes is not hidden."""
    NOT_FLIPPED = "not_flipped"
    """A complete, newer revision is not visible."""
    MISSING_CHUNKS = "missing_chunks"
    """What is visible lacks chunks."""
    WRONG_CONTENT = "wrong_content"
    """Chunks are not those of the manifest, or not those of the text."""
    WRONG_VECTOR = "wrong_vector"
    """A chunk's vector is not its text's."""
    WRONG_FAILED_COUNT = "wrong_failed_count"
    """The state record counts other holes than there are."""
    HOLE_WITHOUT_LETTER = "hole_without_letter"
    """A hole that nobody can replay."""
    NOT_LIVE = "not_live"
    """Chunks of what is visible are not marked as live: direct readers miss them."""
    LIVE_TOO_EARLY = "live_too_early"
    """Chunks that are not visible are marked as live: direct readers see them."""
    STALE = "stale"
    """Points of a revision that was replaced or deleted."""
    ORPHAN = "orphan"
    """Points of a document without a state record."""
    FOREIGN = "foreign"
    """A point whose id is not that of its chunk: the chunk may be there twice."""
    WRONG_STATUS = "wrong_status"
    """The indexer's last word on what is visible is missing or says another thing."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong.

    Attributes:
        kind: what.
        key: of which document; ``None`` where it is of none.
        detail: for people, with what to do where nothing repairs it.
        operations: what repairs it in the store.
        points: ids whose removal repairs it.
    """

    kind: Kind
    key: DocumentKey | None
    detail: str
    operations: tuple[Operation, ...] = field(default=(), repr=False, compare=False)
    points: tuple[str, ...] = field(default=(), repr=False, compare=False)

    @property
    def repairable(self) -> bool:
        """Whether ``Oracle.repair`` can put it right."""
        return bool(self.operations or self.points)


@dataclass(frozen=True, slots=True)
class Report:
    """All findings, and what was looked at; ``counts`` are for people to compare."""

    findings: list[Finding]
    counts: Counter[str]
    repaired: int = 0

    @property
    def clean(self) -> bool:
        """Whether nothing is wrong."""
        return not self.findings
