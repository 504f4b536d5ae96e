"""What became of replays, told by what was read since. Pure: no I/O.

A letter may go when its replay came to a good end, and only then:

- a letter about chunks, when all of them are stored (a hole's: with its vector) or can
  never be shown any more;
- another letter, when a final state of its event was reported;
- a letter of which not even the event is known, when its stage has committed past the
  replay and has written no letter again.

If it failed again, its stage has rewritten it; if it failed further on, another letter
has taken its place. A failure is believed only with its letter: the report of the
first one may still be on its way when the replay begins.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from headrace.identity import Arrival, DocumentKey, point_id
from headrace.messages import DeadLetter, DocumentRevision, Stage, State, StatusEvent
from headrace.open_letters import OpenLetter
from headrace.state import StateRecord


class Outcome(StrEnum):
    """How a replay stands."""

    WAITING = "waiting"
    RESOLVED = "resolved"
    FAILED_AGAIN = "failed_again"


@dataclass(frozen=True, slots=True)
class Wanted:
    """The chunks of a letter, and whether they must have vectors.

    A letter about one chunk is that of its hole; of a whole slice, chunks that became
    holes have letters of their own.
    """

    document: DocumentRevision
    numbers: tuple[int, ...]
    vectors: bool

    @property
    def ids(self) -> frozenset[str]:
        """Ids of their points."""
        document = self.document
        return frozenset(
            str(
                point_id(
                    document.key,
                    revision=document.revision,
                    fingerprint=document.fingerprint,
                    content_hash=document.content_hash,
                    number=number,
                )
            )
            for number in self.numbers
        )


@dataclass(eq=False, slots=True)
class Replay:
    """One letter, on its way again or already over.

    Attributes:
        wanted: its chunks, where it is about some.
        state: the final state that was reached.
        replaced: another letter stands for what became of it.
        problem: why it could not be sent.
    """

    letter: OpenLetter
    topic: str = ""
    partition: int = 0
    offset: int = 0
    wanted: Wanted | None = None
    outcome: Outcome = Outcome.WAITING
    state: State | None = None
    replaced: bool = False
    problem: str = ""
    _rewritten: bool = False

    def heard(self, event: StatusEvent) -> None:
        """Note a status that was reported since."""
        dead = self.letter.letter
        # Its own stage tells a new failure by the letter, before the status.
        own_failure = event.state is State.FAILED and event.stage is dead.stage
        if (
            event.state.final
            and not own_failure
            and _same_work(dead, event.key, event.revision, event.arrival)
        ):
            self.state = event.state

    def written(self, other: OpenLetter) -> None:
        """Note a letter that was written since."""
        dead, new = self.letter.letter, other.letter
        if (other.topic, other.record_key) == (
            self.letter.topic,
            self.letter.record_key,
        ):
            self._rewritten = True
        elif _same_work(dead, new.key, new.revision, new.arrival):
            self.replaced = self.replaced or _stands_for(dead, new)

    def judge(
        self, *, passed: bool, record: StateRecord | None, stored: bool = False
    ) -> None:
        """Decide, if what is known allows it.

        Args:
            passed: the stage has committed past the replay, and statuses and letters
                written before that have been noted.
            record: the document's state record, read after that.
            stored: the wanted chunks are.
        """
        if self.outcome is not Outcome.WAITING or not passed:
            return
        if self._rewritten:
            self.outcome = Outcome.FAILED_AGAIN
        elif self.wanted is not None:
            self._judge_chunks(record, stored=stored)
        elif self.state is State.FAILED:
            if self.replaced:
                self.outcome = Outcome.FAILED_AGAIN
        elif self.state is not None or _nameless(self.letter.letter):
            self.outcome = Outcome.RESOLVED

    def _judge_chunks(self, record: StateRecord | None, *, stored: bool) -> None:
        if record is not None and obsolete(self.letter.letter, record):
            self.outcome, self.state = Outcome.RESOLVED, State.SUPERSEDED
        elif stored:
            self.outcome = Outcome.RESOLVED
        elif self.replaced:
            self.outcome, self.state = Outcome.FAILED_AGAIN, State.FAILED


@dataclass(slots=True)
class Replays:
    """All replays of one command, found by document."""

    all: list[Replay] = field(default_factory=list)
    _by_key: defaultdict[DocumentKey | None, list[Replay]] = field(
        default_factory=lambda: defaultdict(list)
    )

    def add(self, replay: Replay) -> None:
        """One more."""
        self.all.append(replay)
        self._by_key[replay.letter.letter.key].append(replay)

    def heard(self, event: StatusEvent) -> None:
        """Note a status that was reported since."""
        for replay in self._about(event.key):
            replay.heard(event)

    def written(self, letter: OpenLetter) -> None:
        """Note a letter that was written since."""
        for replay in self._about(letter.letter.key):
            replay.written(letter)

    @property
    def waiting(self) -> list[Replay]:
        """Those that have come to no end."""
        return [each for each in self.all if each.outcome is Outcome.WAITING]

    def _about(self, key: DocumentKey | None) -> Iterable[Replay]:
        # What could not be read may be read now: then only its arrival is known.
        unnamed = self._by_key[None] if key is not None else ()
        return [*self._by_key[key], *unnamed]


def obsolete(letter: DeadLetter, record: StateRecord) -> bool:
    """Whether the letter's revision can never be shown any more."""
    return bool(letter.revision) and record.obsolete(letter.revision)


def wants_vectors(letter: DeadLetter) -> bool:
    """Whether the letter is that of a hole."""
    return letter.stage is Stage.EMBEDDER and letter.end_chunk - letter.first_chunk == 1


def _nameless(letter: DeadLetter) -> bool:
    return letter.arrival is None


def _same_work(
    letter: DeadLetter,
    key: DocumentKey | None,
    revision: int,
    arrival: Arrival | None,
) -> bool:
    """Whether this is about the same event of the same document."""
    return letter.key in (None, key) and bool(
        (letter.revision and revision == letter.revision)
        or (arrival is not None and arrival == letter.arrival)
    )


def _stands_for(old: DeadLetter, new: DeadLetter) -> bool:
    """Whether the old letter's work is among what the new one says has failed."""
    if not old.end_chunk:
        return True
    return new.first_chunk <= old.first_chunk and old.end_chunk <= new.end_chunk
