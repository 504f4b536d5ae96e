"""Documents by state, from the status topic. Pure: no I/O."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from headrace.identity import DocumentKey
from headrace.messages import Stage, State, StatusEvent

_ORDER = {stage: number for number, stage in enumerate(Stage)}


@dataclass(slots=True)
class Overview:
    """The newest event of each document, as far as the status topic tells."""

    _newest: dict[DocumentKey, StatusEvent] = field(default_factory=dict)

    def accept(self, event: StatusEvent) -> None:
        """Take note of an event, in any order."""
        before = self._newest.get(event.key)
        if before is None or _replaces(event, before):
            self._newest[event.key] = event

    @property
    def documents(self) -> Counter[str]:
        """How many documents there are by state; those on the way, by next stage."""
        return Counter(_shown(event) for event in self._newest.values())

    def oldest_on_the_way(self, now_ms: int) -> tuple[DocumentKey, float] | None:
        """The document that has waited longest for its end, and for how many seconds.

        By the broker's time of its arrival.
        """
        waiting = [event for event in self._newest.values() if not event.state.final]
        if not waiting:
            return None
        oldest = min(waiting, key=lambda event: event.arrival.append_time_ms)
        age = (now_ms - oldest.arrival.append_time_ms) / 1000
        return oldest.key, max(0.0, age)


def _replaces(event: StatusEvent, before: StatusEvent) -> bool:
    if event.arrival != before.arrival:
        return before.arrival.before(event.arrival)
    if event.state.final != before.state.final:
        return event.state.final
    if event.revision != before.revision:
        return event.revision > before.revision
    if event.stage != before.stage:
        return _ORDER[event.stage] > _ORDER[before.stage]
    return event.at_ms >= before.at_ms


def _shown(event: StatusEvent) -> str:
    if event.state is not State.PASSED_ON:
        return str(event.state)
    if not event.revision:
        # Not accepted yet: its collection is paused, or was until now.
        return f"at_{event.stage}" if event.output is None else "parked"
    following = list(Stage)[_ORDER[event.stage] + 1 :]
    return f"at_{following[0]}" if following else str(event.state)
