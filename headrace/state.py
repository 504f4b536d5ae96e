"""The state record of a document and the decisions taken from it. Pure: no I/O.

One record per document, in the collection ``<collection>__documents``, is the only
truth about what is accepted, visible and deleted. docs/semantics.md has the reasons.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from headrace.identity import Arrival, DocumentKey


@dataclass(frozen=True, slots=True)
class ChunkSet:
    """All chunks of one content of one revision: what is counted and flipped."""

    key: DocumentKey
    revision: int
    fingerprint: str
    content_hash: bytes


@dataclass(frozen=True, slots=True)
class Accepted:
    """What the loader accepted last; ``content_hash`` is empty for a delete."""

    arrival: Arrival
    source_version: int | None
    content_hash: bytes
    revision: int


@dataclass(frozen=True, slots=True)
class Visible:
    """What searches show; revision 0 means nothing was ever visible."""

    revision: int = 0
    fingerprint: str = ""
    content_hash: bytes = b""
    count: int = 0
    failed: int = 0


@dataclass(frozen=True, slots=True)
class StateRecord:
    """The record as stored. ``deleted_revision`` only rises."""

    key: DocumentKey
    accepted: Accepted
    visible: Visible = Visible()
    deleted_revision: int = 0
    name: str = ""

    @property
    def live_set(self) -> ChunkSet | None:
        """The chunks a search may show, if any."""
        visible = self.visible
        if visible.revision == 0 or visible.revision <= self.deleted_revision:
            return None
        return ChunkSet(
            self.key, visible.revision, visible.fingerprint, visible.content_hash
        )

    def obsolete(self, revision: int) -> bool:
        """Whether work on this revision can no longer become visible."""
        return revision < max(self.visible.revision, self.deleted_revision + 1)


@dataclass(frozen=True, slots=True)
class Candidate:
    """An event whose text is loaded and hashed, before it is accepted."""

    key: DocumentKey
    arrival: Arrival
    source_version: int | None
    content_hash: bytes
    """Empty for a delete."""
    fingerprint: str

    @property
    def deletes(self) -> bool:
        """Whether this is a delete."""
        return not self.content_hash


class Verdict(StrEnum):
    """What acceptance says of an event."""

    NEW = "new"
    """Take ``Decision.accepted``, write it, read back, pass on."""
    REDELIVERY = "redelivery"
    """Already accepted under this revision; pass on again."""
    UNCHANGED = "unchanged"
    """Nothing to do but to advance arrival and source version; final."""
    SUPERSEDED = "superseded"
    """Something newer was accepted; final."""
    VERSION_CONFLICT = "version_conflict"
    """Same source version, other content; a dead letter."""


@dataclass(frozen=True, slots=True)
class Decision:
    """A verdict and, for NEW, REDELIVERY and UNCHANGED, the accepted fields."""

    verdict: Verdict
    accepted: Accepted | None = None


def decide(candidate: Candidate, record: StateRecord | None) -> Decision:
    """Acceptance: the rules of docs/semantics.md, in their order."""
    if record is None:
        return Decision(Verdict.NEW, _accept(candidate, last_revision=0))
    last = record.accepted
    same_arrival = candidate.arrival == last.arrival
    if same_arrival and candidate.content_hash == last.content_hash:
        return Decision(Verdict.REDELIVERY, last)
    if _older(candidate, last):
        return Decision(Verdict.SUPERSEDED)
    if (
        not same_arrival
        and candidate.source_version is not None
        and candidate.source_version == last.source_version
        and candidate.content_hash != last.content_hash
    ):
        if not last.content_hash:
            return Decision(Verdict.SUPERSEDED)
        if not candidate.deletes:
            return Decision(Verdict.VERSION_CONFLICT)
    if _unchanged(candidate, record):
        accepted = replace(
            last,
            arrival=candidate.arrival,
            source_version=candidate.source_version,
        )
        return Decision(Verdict.UNCHANGED, accepted)
    return Decision(Verdict.NEW, _accept(candidate, last_revision=last.revision))


def _older(candidate: Candidate, last: Accepted) -> bool:
    if candidate.source_version is not None and last.source_version is not None:
        return candidate.source_version < last.source_version
    return candidate.arrival.before(last.arrival)


def _unchanged(candidate: Candidate, record: StateRecord) -> bool:
    live = record.live_set
    return (
        live is not None
        and record.visible.failed == 0
        and record.accepted.revision == record.visible.revision
        and (live.content_hash, live.fingerprint)
        == (candidate.content_hash, candidate.fingerprint)
    )


def _accept(candidate: Candidate, *, last_revision: int) -> Accepted:
    return Accepted(
        arrival=candidate.arrival,
        source_version=candidate.source_version,
        content_hash=candidate.content_hash,
        revision=max(last_revision + 1, candidate.arrival.append_time_ms),
    )
