"""What became of the documents of one job, told by the status topic.

``Outcomes`` is fed status events and knows; it does no I/O. ``status_follower`` reads.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from headrace.identity import DocumentKey
from headrace.messages import Metadata, Stage, State, StatusEvent

_INDEXED = (State.INDEXED, State.INDEXED_WITH_ERRORS)


@dataclass(slots=True)
class StageTotals:
    """One stage's part in a job."""

    documents: int = 0
    chunks: int = 0
    tokens: int = 0
    working_ms: int = 0
    waiting_ms: int = 0
    retries: int = 0


@dataclass(frozen=True, slots=True)
class Failure:
    """A document that did not get there."""

    id: str
    code: str
    message: str
    advice: str = ""
    stage: str = ""

    def as_dict(self) -> dict[str, str]:
        """As it is printed for programs."""
        return asdict(self)


@dataclass(slots=True)
class Outcomes:
    """The documents of one job and where each of them stands."""

    job: str
    waiting: set[DocumentKey] = field(default_factory=set)
    final: dict[DocumentKey, StatusEvent] = field(default_factory=dict)
    stages: dict[Stage, StageTotals] = field(
        default_factory=lambda: {stage: StageTotals() for stage in Stage}
    )
    _seen: dict[tuple[DocumentKey, Stage], StatusEvent] = field(default_factory=dict)

    def expect(self, keys: Iterable[DocumentKey]) -> None:
        """These documents are part of the job."""
        self.waiting.update(key for key in keys if key not in self.final)

    def accept(self, event: StatusEvent) -> bool:
        """Take note of an event; whether it belongs to the job."""
        if event.metadata.import_job != self.job and not self._unreadable(event):
            return False
        totals = self.stages[event.stage]
        before = self._seen.get((event.key, event.stage))
        self._seen[event.key, event.stage] = event
        # A redelivery reports the same document again; only the last report counts.
        _add(totals, event, +1)
        if before is not None:
            _add(totals, before, -1)
        if event.state.final:
            self.final[event.key] = event
            self.waiting.discard(event.key)
        return True

    def _unreadable(self, event: StatusEvent) -> bool:
        """Whether an expected event broke the contract: its record's key alone is told.

        Nothing else would ever be heard of it.
        """
        return (
            event.state is State.FAILED
            and event.metadata == Metadata()
            and event.key in self.waiting
        )

    @property
    def done(self) -> bool:
        """Whether every expected document is in a final state."""
        return not self.waiting

    @property
    def all_stages_heard(self) -> bool:
        """Whether each indexed document was reported by every stage."""
        return all(
            (key, stage) in self._seen
            for key, event in self.final.items()
            if event.state in _INDEXED
            for stage in Stage
        )

    @property
    def counts(self) -> Counter[State]:
        """Documents by final state."""
        return Counter(event.state for event in self.final.values())

    @property
    def failures(self) -> list[Failure]:
        """Documents that failed, whole or in part, by id."""
        failures: list[Failure] = []
        for key, event in sorted(self.final.items()):
            error = event.error
            if event.state is State.INDEXED_WITH_ERRORS:
                failures.append(
                    Failure(
                        key.document_id,
                        error.code if error else "incomplete",
                        f"{event.failed_chunks} of {event.chunks} chunks have no "
                        "vector" + (f": {error.message}" if error else ""),
                        "see `headrace dlq list --stage embedder`",
                        event.stage,
                    )
                )
            elif event.state is State.FAILED:
                failures.append(
                    Failure(
                        key.document_id,
                        error.code if error else "failed",
                        error.message if error else "",
                        error.advice if error else "",
                        event.stage,
                    )
                )
        return failures

    @property
    def chunks(self) -> int:
        """Chunks of the documents indexed by this job."""
        return sum(
            event.chunks for event in self.final.values() if event.state in _INDEXED
        )

    @property
    def tokens(self) -> int:
        """Tokens of these chunks, as the chunker counted them."""
        return self.stages[Stage.CHUNKER].tokens

    def past(self, stage: Stage) -> int:
        """Documents that this stage is done with, or that never got to it."""
        order = list(Stage)
        reached = order[order.index(stage) :]
        passed = {key for key, at in self._seen if at in reached}
        return len(passed | self.final.keys())

    def stage_summaries(self) -> dict[str, dict[str, Any]]:
        """Each stage's numbers, as they are printed for programs."""
        return {
            str(stage): {
                "documents": totals.documents,
                "chunks": totals.chunks,
                "tokens": totals.tokens,
                "working_seconds": totals.working_ms / 1000,
                "waiting_seconds": totals.waiting_ms / 1000,
                "retries": totals.retries,
            }
            for stage, totals in self.stages.items()
        }


def _add(totals: StageTotals, event: StatusEvent, sign: int) -> None:
    totals.documents += sign
    totals.chunks += sign * event.chunks
    totals.tokens += sign * event.tokens
    totals.working_ms += sign * event.working_ms
    totals.waiting_ms += sign * event.waiting_ms
    totals.retries += sign * max(0, event.attempts - 1)
