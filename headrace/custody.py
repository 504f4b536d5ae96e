"""What a group knows of a partition beside its offset: who has it, who died with it.

A record whose work kills the whole process comes again to the next one and would for
ever. Its deaths are counted here. The note travels as the metadata of the partition's
offset commits, so it lies in Kafka and follows the partition to whoever owns it. The
reasons are in docs/decisions/0003-records-that-kill-their-process.md. Pure: no I/O.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

SUSPICIOUS = 2
"""Owners that died before the same records were through; then one at a time."""
FATAL = 3
"""Processes that died on one record, while it alone was in work: it is the cause."""

_VERSION = "1"
_NOBODY = "-"
_FIELDS = 7
_BIGGEST = 2**63


@dataclass(frozen=True, slots=True)
class Custody:
    """One partition's; the default is that of one handed over in order."""

    owner: str = ""
    """Process that works on it; whoever finds another's name here knows it is dead, or
    was thrown out of the group."""
    deaths: int = 0
    """Owners that died since the first record that may be the cause was committed."""
    until: int = 0
    """Offset from which on no record was in work when the first of them died."""
    record: int = -1
    """Offset of the record that was last worked on alone."""
    killed: int = 0
    """Owners that died while it was."""
    alone: bool = False
    """Whether it is in work now."""

    @property
    def cautious(self) -> bool:
        """Whether one record at a time must be worked on."""
        return self.deaths >= SUSPICIOUS

    def taken(self, owner: str, *, offset: int, until: int) -> Custody:
        """A process gets the partition.

        Args:
            owner: its name, never used by another.
            offset: the next one to read.
            until: one past the last that may have been in work before.
        """
        if self.owner in ("", owner):
            return replace(self, owner=owner, alone=False)
        if until <= offset:
            return Custody(owner)
        again = self.deaths > 0 and offset < self.until
        return replace(
            self,
            owner=owner,
            deaths=self.deaths + 1 if again else 1,
            until=self.until if again else until,
            killed=self.killed + self.alone,
            alone=False,
        )

    def begun(self, offset: int) -> Custody:
        """The owner works on this record, and on nothing else."""
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
        return replace(self, owner="", alone=False)

    @property
    def note(self) -> str:
        """Empty where there is nothing to tell, as in a commit of any other client."""
        if self == Custody():
            return ""
        values = (self.deaths, self.until, self.record, self.killed, int(self.alone))
        return " ".join([_VERSION, self.owner or _NOBODY, *map(str, values)])

    @classmethod
    def read(cls, note: str) -> Custody:
        """The inverse of ``note``; what is none of ours tells nothing."""
        parts = note.split(" ")
        if len(parts) != _FIELDS or parts[0] != _VERSION or not parts[1]:
            return cls()
        try:
            deaths, until, record, killed, alone = map(int, parts[2:])
        except ValueError:
            return cls()
        if max(deaths, until, record, killed) >= _BIGGEST or min(deaths, until) < 0:
            return cls()
        owner = "" if parts[1] == _NOBODY else parts[1]
        return cls(owner, deaths, until, record, killed, alone=alone == 1)
