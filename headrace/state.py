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
    floor: Arrival | None = None
    """Arrival of the newest event without a source version: such an event ends
    whatever arrived before it, whichever versions are accepted later."""
    previous: int = 0
    """The revision before this one; 0 where there was none, so that the store holds
    nothing older."""


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
    """Something newer was accepted; final. Write ``Decision.accepted`` if there is."""
    VERSION_CONFLICT = "version_conflict"
    """Same source version, other content; a dead letter."""


@dataclass(frozen=True, slots=True)
class Decision:
    """A verdict and the accepted fields.

    For NEW, REDELIVERY and UNCHANGED they are this event's. For SUPERSEDED they are
    those of the last event with its floor raised, to be written like UNCHANGED's, and
    ``None`` where there is nothing to write.
    """

    verdict: Verdict
    accepted: Accepted | None = None


def decide(candidate: Candidate, record: StateRecord | None) -> Decision:
    """Acceptance: the rules of docs/semantics.md, in their order."""
    if record is None:
        return Decision(Verdict.NEW, _accept(candidate, last=None))
    last = record.accepted
    if _same_event(candidate, last) and candidate.content_hash == last.content_hash:
        return Decision(Verdict.REDELIVERY, last)
    if _older(candidate, last):
        return Decision(Verdict.SUPERSEDED, _raised_floor(candidate, last))
    if _conflicts(candidate, last):
        return Decision(Verdict.VERSION_CONFLICT)
    accepted = _accept(candidate, last=last)
    if _unchanged(candidate, record):
        accepted = replace(accepted, revision=last.revision, previous=last.previous)
        return Decision(Verdict.UNCHANGED, accepted)
    return Decision(Verdict.NEW, accepted)


def _same_event(candidate: Candidate, last: Accepted) -> bool:
    """Whether this is the last event again; its bytes may have changed since."""
    return candidate.arrival == last.arrival


def _older(candidate: Candidate, last: Accepted) -> bool:
    if last.floor is not None and candidate.arrival.before(last.floor):
        return True
    if candidate.source_version is None or last.source_version is None:
        return candidate.arrival.before(last.arrival)
    if candidate.source_version != last.source_version:
        return candidate.source_version < last.source_version
    if candidate.content_hash == last.content_hash:
        # The same thing sent twice: the later arrival stands for both.
        return candidate.arrival.before(last.arrival)
    # A delete wins over an upsert of its version, whichever comes first.
    return not last.content_hash


def _conflicts(candidate: Candidate, last: Accepted) -> bool:
    """Whether two contents claim one version.

    A delete contradicts no content. Neither does an event that is delivered again
    with other bytes, since what its URL answers may have changed: there is nothing
    that its producer could put right.
    """
    return (
        candidate.source_version is not None
        and candidate.source_version == last.source_version
        and candidate.content_hash != last.content_hash
        and not candidate.deletes
        and not _same_event(candidate, last)
    )


def _unchanged(candidate: Candidate, record: StateRecord) -> bool:
    live = record.live_set
    return (
        live is not None
        and record.visible.failed == 0
        and record.accepted.revision == record.visible.revision
        and (live.content_hash, live.fingerprint)
        == (candidate.content_hash, candidate.fingerprint)
    )


def _accept(candidate: Candidate, *, last: Accepted | None) -> Accepted:
    floor = last.floor if last else None
    if candidate.source_version is None:
        floor = candidate.arrival
    return Accepted(
        arrival=candidate.arrival,
        source_version=candidate.source_version,
        content_hash=candidate.content_hash,
        revision=max(
            last.revision + 1 if last else 1, candidate.arrival.append_time_ms
        ),
        floor=floor,
        previous=last.revision if last else 0,
    )


def _raised_floor(candidate: Candidate, last: Accepted) -> Accepted | None:
    if candidate.source_version is not None or last.source_version is None:
        return None  # no such event, or the last event is a later one itself
    if last.floor is not None and not last.floor.before(candidate.arrival):
        return None
    return replace(last, floor=candidate.arrival)
