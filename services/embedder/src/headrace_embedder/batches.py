"""Which texts share a call: the queue, batches, and what is known of suspects. No I/O.

What bisecting has found out must outlive a pause: a provider that asks for one more
often than bisecting takes would bring the same batches back for ever. Texts of a batch
that failed while the provider answered others are *suspects*. When they are wanted
again, they go by themselves, at most as many together as failed together.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field

from headrace.messages import Hole
from headrace_embedder.providers import Rejected, Unclear

OWN_FAULT_AFTER = 5
"""Failures of a single text, the provider answering others each time."""
SPLIT_AFTER = 2
"""Failures of a batch as a whole; the first may be a blip."""
REMEMBERED = 4096
"""Texts of which something bad is known, and which may never be wanted again."""

Outcome = bytes | Hole


@dataclass(frozen=True, slots=True)
class Text:
    """What to embed: prefix included, with its cache key and estimated tokens."""

    text: str
    tokens: int
    key: bytes


@dataclass(frozen=True, slots=True)
class Suspicion:
    """What is held against a text: it was in calls that failed as others did not."""

    texts: int
    """Of the smallest batch that it failed in."""
    failures: int
    """By itself."""


@dataclass(eq=False, slots=True)
class Waiter:
    """A record that waits until all of its texts are settled.

    One future for all of them: a record has many, and each would cost turns of the
    event loop.
    """

    missing: int
    all_settled: asyncio.Future[None]


@dataclass(eq=False, slots=True)
class Wanted:
    """A text, what became of it, and the records that wait for that."""

    text: Text
    outcome: Outcome | Exception | None = None
    waiters: list[Waiter] = field(default_factory=list)
    due: float = 0.0
    attempts: int = 0
    suspicion: Suspicion | None = None

    def settle(self, outcome: Outcome | Exception) -> None:
        """Tell all who wait; what was settled first stays."""
        if self.outcome is not None:
            return
        self.outcome = outcome
        for waiter in self.waiters:
            waiter.missing -= 1
            if not waiter.missing and not waiter.all_settled.done():
                waiter.all_settled.set_result(None)
        self.waiters.clear()


@dataclass(eq=False, slots=True)
class Batch:
    """Texts that share calls until they are answered or the batch is split."""

    wanted: list[Wanted]
    began: float
    suspect: bool = False
    """It, or what it is a part of, failed while the provider worked."""
    failures: int = 0
    """With the provider answering others."""
    api_s: float = 0.0
    """In calls; the waits between them do not count."""
    first_failed_call: int = 0
    reason: str = ""
    detail: str = ""

    def learn(self, error: Rejected | Unclear) -> None:
        """A call failed, whosever fault it is."""
        self.api_s += error.api_seconds
        self.first_failed_call = self.first_failed_call or error.call
        self.reason, self.detail = error.reason, error.message

    def halves(self) -> list[Batch]:
        """Two smaller ones, each to be split at its next failure."""
        middle = len(self.wanted) // 2
        return [
            Batch(
                half,
                began=self.began,
                suspect=True,
                first_failed_call=self.first_failed_call,
            )
            for half in (self.wanted[:middle], self.wanted[middle:])
        ]

    @property
    def tokens(self) -> int:
        """Of all texts together."""
        return sum(wanted.text.tokens for wanted in self.wanted)

    @property
    def worn_out(self) -> bool:
        """Whether it has had its chances: to be split, or a single text given up."""
        if len(self.wanted) == 1:
            return self.failures >= OWN_FAULT_AFTER
        return self.failures >= (1 if self.suspect else SPLIT_AFTER)


class Queue:
    """Texts that wait for a call, in order; suspects first and apart.

    Args:
        drop: is told of texts that nobody waits for any more.
    """

    def __init__(self, *, drop: Callable[[Wanted], None]) -> None:
        self._drop = drop
        self._plain: deque[Wanted] = deque()
        self._suspects: deque[Wanted] = deque()
        self._suspicions: OrderedDict[bytes, Suspicion] = OrderedDict()

    def __len__(self) -> int:
        return len(self._plain) + len(self._suspects)

    @property
    def due(self) -> float:
        """When the first text has waited long enough for others."""
        return (self._suspects or self._plain)[0].due

    def add(self, wanted: Wanted) -> None:
        """Let a text wait."""
        if self._suspicions:
            wanted.suspicion = self._suspicions.pop(wanted.text.key, None)
        (self._plain if wanted.suspicion is None else self._suspects).append(wanted)

    def take(self, *, texts: int, tokens: int, now: float) -> Batch | None:
        """The next batch within these bounds; a single text may exceed ``tokens``."""
        line = self._suspects or self._plain
        taken: list[Wanted] = []
        while line and len(taken) < texts:
            wanted = line[0]
            if wanted.waiters:
                if wanted.suspicion is not None:
                    texts = min(texts, wanted.suspicion.texts)
                tokens -= wanted.text.tokens
                if taken and (tokens < 0 or len(taken) >= texts):
                    break
                taken.append(wanted)
            else:
                self._abandon(wanted)
            line.popleft()
        if not taken:
            return None
        suspicion = taken[0].suspicion
        batch = Batch(taken, began=now, suspect=suspicion is not None)
        if suspicion is not None and len(taken) == 1:
            batch.failures = suspicion.failures
        return batch

    def paused(self, batch: Batch) -> None:
        """A pause ends the batch: keep what it has shown about its texts."""
        if not batch.suspect and not batch.failures:
            return
        alone = len(batch.wanted) == 1
        suspicion = Suspicion(len(batch.wanted), batch.failures if alone else 0)
        for wanted in batch.wanted:
            self._remember(wanted.text, suspicion)

    def clear(self) -> list[Wanted]:
        """Empty it; what was in it."""
        left = [*self._suspects, *self._plain]
        self._suspects.clear()
        self._plain.clear()
        return left

    def _abandon(self, wanted: Wanted) -> None:
        if wanted.suspicion is not None:
            self._remember(wanted.text, wanted.suspicion)
        self._drop(wanted)

    def _remember(self, text: Text, suspicion: Suspicion) -> None:
        self._suspicions[text.key] = suspicion
        if len(self._suspicions) > REMEMBERED:
            self._suspicions.popitem(last=False)
