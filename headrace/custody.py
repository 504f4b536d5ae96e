"""What a group knows of a partition beside its offset: who has it, who died with it.

A record whose work kills the whole process comes again to the next one and would for
ever. Its deaths are counted here. The note travels as the metadata of the partition's
offset commits, so it lies in Kafka and follows the partition to whoever owns it. The
reasons are in docs/decisions/0003-records-that-kill-their-process.md. Pure: no I/O.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

FATAL = 3
"""Processes that died on one record, while it alone was in work: it is the cause."""

_VERSION = "2"
_NOTHING = "-"
_FIELDS = 5
_BIGGEST = 2**63
_MOST = 128
"""Suspects of a partition: Kafka takes notes of 4,096 bytes."""


@dataclass(frozen=True, slots=True)
class Custody:
    """One partition's; the default is that of one handed over in order."""

    owner: str = ""
    """Process that works on it; whoever finds another's name here knows it is dead, or
    was thrown out of the group."""
    until: int = 0
    """Before this offset something may have killed a process; 0: nothing may."""
    working: frozenset[int] = frozenset()
    """Offsets that the owner works on, all of them, while there is doubt."""
    suspects: Mapping[int, int] = field(default_factory=dict)
    """Offsets that were in work at a death in doubt, and how many processes have died
    on each since, while it alone was in work."""

    @property
    def doubtful(self) -> bool:
        """Whether a record of the partition may kill whoever works on it."""
        return self.until > 0 or bool(self.suspects)

    def taken(self, owner: str, *, offset: int, until: int) -> Custody:
        """A process gets the partition.

        Args:
            owner: its name, never used by another.
            offset: the next one to read.
            until: one past the last that may have been in work before.
        """
        before = self.past(offset)
        if self.owner in ("", owner):
            return replace(before, owner=owner, working=frozenset())
        if until <= offset:
            return Custody(owner)
        if not before.doubtful:
            return Custody(owner, until)
        if not before.working:
            return replace(before, owner=owner)  # it had not come to these again
        return Custody(owner, suspects=before.suspected)

    @property
    def suspected(self) -> Mapping[int, int]:
        """The suspects, should the owner be dead: any of those in work is the cause."""
        deaths = {offset: self.suspects.get(offset, -1) + 1 for offset in self.working}
        worst_first = sorted(
            {**self.suspects, **deaths}.items(), key=lambda each: (-each[1], each[0])
        )
        return dict(sorted(worst_first[:_MOST]))

    def starts(self, offset: int) -> Custody:
        """The owner begins a record in doubt; a suspect only while nothing else is."""
        return replace(self, working=self.working | {offset})

    def ended(self, offset: int, *, done: bool) -> Custody:
        """It has not killed the owner. If it is done, it is above suspicion."""
        suspects = self.suspects
        if done and offset in suspects:
            suspects = {at: deaths for at, deaths in suspects.items() if at != offset}
        return replace(self, working=self.working - {offset}, suspects=suspects)

    def past(self, offset: int) -> Custody:
        """All before that offset is done."""
        if not self.doubtful:
            return Custody(self.owner)
        until = self.until if self.until > offset else 0
        suspects = self.suspects
        if any(at < offset for at in suspects):
            suspects = {at: deaths for at, deaths in suspects.items() if at >= offset}
        if not until and not suspects:
            return Custody(self.owner)
        return replace(self, until=until, suspects=suspects)

    def fatal(self, offset: int) -> bool:
        """Whether that record kills whoever works on it."""
        return self.suspects.get(offset, 0) >= FATAL

    def cleared(self) -> Custody:
        """All that may have been the cause is through."""
        return Custody(self.owner)

    def handed_over(self) -> Custody:
        """The owner gives the partition back, alive."""
        return replace(self, owner="", working=frozenset())

    @property
    def note(self) -> str:
        """Empty where there is nothing to tell, as in a commit of any other client."""
        if self == Custody():
            return ""
        working = ",".join(map(str, sorted(self.working)))
        suspects = ",".join(f"{at}:{n}" for at, n in sorted(self.suspects.items()))
        words = (self.owner, str(self.until), working, suspects)
        return " ".join([_VERSION, *(word or _NOTHING for word in words)])

    @classmethod
    def read(cls, note: str) -> Custody:
        """The inverse of ``note``; what is none of ours tells nothing."""
        parts = ["" if word == _NOTHING else word for word in note.split(" ")]
        if len(parts) != _FIELDS or parts[0] != _VERSION:
            return cls()
        _, owner, until, working, suspects = parts
        try:
            custody = cls(
                owner,
                int(until),
                frozenset(map(int, working.split(",") if working else ())),
                dict(map(_pair, suspects.split(",") if suspects else ())),
            )
        except ValueError:
            return cls()
        numbers = {custody.until, *custody.working}
        numbers.update(custody.suspects, custody.suspects.values())
        return custody if 0 <= min(numbers) <= max(numbers) < _BIGGEST else cls()


def _pair(word: str) -> tuple[int, int]:
    at, _, deaths = word.partition(":")
    return int(at), int(deaths)
