"""What a group knows of a partition beside its offset: who has it, who died with it.

A record whose work kills the whole process comes again to the next one and would for
ever. Its deaths are counted here. The note travels as the metadata of the partition's
offset commits, so it lies in Kafka and follows the partition to whoever owns it. The
reasons are in docs/decisions/0003-records-that-kill-their-process.md. Pure: no I/O.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum

FATAL = 3
"""Processes that died on one record, while it alone was in work: it is the cause."""

_VERSION = "1"
_NOBODY = "-"
_FIELDS = 8
_BIGGEST = 2**63


class Doubt(IntEnum):
    """How a partition's next records are worked on."""

    NONE = 0
    FEW = 1
    """One of them may have killed a process: a few at a time."""
    ONE = 2
    """One of a few has: one at a time."""


@dataclass(frozen=True, slots=True)
class Custody:
    """One partition's; the default is that of one handed over in order."""

    owner: str = ""
    """Process that works on it; whoever finds another's name here knows it is dead, or
    was thrown out of the group."""
    doubt: Doubt = Doubt.NONE
    until: int = 0
    """Offset where the doubt ends."""
    begun: int = 0
    """One past the last offset that the owner has begun in doubt."""
    record: int = -1
    """Offset of the record that was last worked on alone."""
    killed: int = 0
    """Owners that died while it was."""
    alone: bool = False
    """Whether it is in work now."""

    def taken(self, owner: str, *, offset: int, until: int) -> Custody:
        """A process gets the partition.

        Args:
            owner: its name, never used by another.
            offset: the next one to read.
            until: one past the last that may have been in work before.
        """
        mine = replace(self, owner=owner, begun=0, alone=False)
        if self.owner in ("", owner):
            return mine
        if until <= offset:
            return Custody(owner)
        if self.doubt is Doubt.NONE or offset >= self.until:
            return Custody(owner, Doubt.FEW, until)
        if self.doubt is Doubt.ONE:
            return replace(mine, killed=self.killed + self.alone)
        if self.begun > offset:
            return Custody(owner, Doubt.ONE, self.begun)
        return mine  # the last owner had not come to these again

    def starts(self, offset: int) -> Custody:
        """The owner begins a record in doubt."""
        if self.doubt is not Doubt.ONE:
            return replace(self, begun=max(self.begun, offset + 1))
        killed = self.killed if self.record == offset else 0
        return replace(self, record=offset, killed=killed, alone=True)

    def ended(self) -> Custody:
        """It came to an end, whichever: it has not killed the owner."""
        return replace(self, alone=False)

    def fatal(self, offset: int) -> bool:
        """Whether that record kills whoever works on it."""
        return self.record == offset and self.killed >= FATAL

    def cleared(self) -> Custody:
        """All that may have been the cause is through."""
        return Custody(owner=self.owner)

    def handed_over(self) -> Custody:
        """The owner gives the partition back, alive."""
        return replace(self, owner="", begun=0, alone=False)

    @property
    def note(self) -> str:
        """Empty where there is nothing to tell, as in a commit of any other client."""
        if self == Custody():
            return ""
        numbers = (self.doubt, self.until, self.begun, self.record, self.killed)
        words = [str(int(number)) for number in (*numbers, self.alone)]
        return " ".join([_VERSION, self.owner or _NOBODY, *words])

    @classmethod
    def read(cls, note: str) -> Custody:
        """The inverse of ``note``; what is none of ours tells nothing."""
        parts = note.split(" ")
        if len(parts) != _FIELDS or parts[0] != _VERSION or not parts[1]:
            return cls()
        try:
            doubt, until, begun, record, killed, alone = map(int, parts[2:])
            kind = Doubt(doubt)
        except ValueError:
            return cls()
        if max(until, begun, record, killed) >= _BIGGEST or min(until, begun) < 0:
            return cls()
        owner = "" if parts[1] == _NOBODY else parts[1]
        return cls(owner, kind, until, begun, record, killed, alone=alone == 1)
