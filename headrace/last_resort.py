"""What happens to a record that is given up: its dead letter, then its status."""

from __future__ import annotations

from headrace.assignment import Item
from headrace.clock import Clock
from headrace.dead_letters import letter_of, subject_of
from headrace.handler import DeadLetters, StatusReporter
from headrace.messages import Stage, State, StatusError, StatusEvent


class LastResort:
    """The consuming loop's ``work.GiveUp``."""

    def __init__(
        self,
        *,
        stage: Stage,
        dead_letters: DeadLetters,
        status: StatusReporter,
        clock: Clock,
    ) -> None:
        self._stage = stage
        self._dead_letters = dead_letters
        self._status = status
        self._clock = clock

    async def __call__(self, item: Item, error: StatusError) -> None:
        """Write the letter, then report the failure, if it is known of what.

        Dying in between repeats both, into the same letter and the same fact.
        """
        record = item.record
        subject = subject_of(self._stage, record)
        attempts = max(item.failures, 1)
        now_ms = self._clock.now_ms()
        await self._dead_letters.put(
            letter_of(
                self._stage,
                record,
                subject,
                error=error,
                attempts=attempts,
                failed_at_ms=now_ms,
            )
        )
        if subject.key is None or subject.arrival is None:
            return
        working_ms = int((self._clock.monotonic() - item.started) * 1000)
        await self._status.report(
            StatusEvent(
                key=subject.key,
                revision=subject.revision,
                arrival=subject.arrival,
                stage=self._stage,
                state=State.FAILED,
                error=error,
                attempts=attempts,
                waiting_ms=max(now_ms - working_ms - record.timestamp_ms, 0),
                working_ms=working_ms,
                at_ms=now_ms,
                metadata=subject.metadata,
                lane=subject.lane or item.lane,
            )
        )
