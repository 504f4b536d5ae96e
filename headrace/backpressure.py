"""Whether to read on, and how many should read. Pure: no I/O.

Backpressure is a value, not a sleep: from what is known the functions here say admit,
pause or resume, and why. The consuming loop, the lag exporter and whoever admits
requests all ask them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

_SCALE_IN_MARGIN = 1.25
"""Go down only if the smaller number could take a quarter more than there is."""


class Verdict(StrEnum):
    """What to do with a partition."""

    ADMIT = "admit"
    PAUSE = "pause"
    """Become or stay paused."""
    RESUME = "resume"


@dataclass(frozen=True, slots=True)
class Decision:
    """A verdict and why; the reason is a metric label and empty unless paused."""

    verdict: Verdict
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Mark:
    """Pause at ``high``, resume at ``low`` or below."""

    high: int
    low: int

    def holds(self, value: int, *, paused: bool) -> bool:
        """Whether the value is too high, given on which side it comes from."""
        return value > min(self.low, self.high - 1) if paused else value >= self.high


@dataclass(frozen=True, slots=True)
class Limits:
    """The marks of one partition (records, ahead) and of the process (bytes)."""

    ahead_records: Mark
    in_flight_records: Mark
    in_flight_bytes: Mark


@dataclass(frozen=True, slots=True)
class Pressure:
    """What is known about one partition that we read."""

    ahead_records: int
    """Lag of the next stage that our output meets (``ahead_of``)."""
    in_flight_records: int
    in_flight_bytes: int
    """Of the whole process."""


def ahead_of(partition: int, lag: Sequence[int], *, aligned: bool) -> int:
    """Lag ahead of a partition, from the next stage's lag by partition.

    ``aligned`` where a stage sends to the partition number that it reads from. Else
    each partition of ours feeds all of theirs, and the mean counts: the worst one
    would let one stuck partition stop everything.
    """
    if not lag:
        return 0
    if aligned:
        return lag[partition] if partition < len(lag) else 0
    return sum(lag) // len(lag)


def decide(pressure: Pressure, limits: Limits, *, paused: bool) -> Decision:
    """Whether to read on from a partition."""
    if limits.ahead_records.holds(pressure.ahead_records, paused=paused):
        return Decision(Verdict.PAUSE, "ahead")
    if limits.in_flight_bytes.holds(pressure.in_flight_bytes, paused=paused):
        return Decision(Verdict.PAUSE, "in_flight_bytes")
    if limits.in_flight_records.holds(pressure.in_flight_records, paused=paused):
        return Decision(Verdict.PAUSE, "in_flight_records")
    return Decision(Verdict.RESUME if paused else Verdict.ADMIT)


@dataclass(frozen=True, slots=True)
class Demand:
    """What is known about a stage's group."""

    lag: Sequence[int]
    """Records by partition number, both lanes together."""
    busy_partitions: int
    """With lag or new records in the recent window: lag that a fast stage has just
    worked off must not send its replicas away."""
    oldest_age_s: float
    """Of the oldest record that waits, by the broker's time."""
    inflow_per_s: float
    rate_per_s: float | None
    """Records one replica finishes, recently; ``None`` where nothing is known."""
    current: int
    held: bool
    """Kept from work by something outside the stage: adding replicas adds nothing."""
    paused: bool = False
    """By people: whoever is there stays, so that it goes on at once when they resume.
    """


def wanted_replicas(demand: Demand, *, max_replicas: int, target_drain_s: float) -> int:
    """Replicas that keep up with the inflow and drain the lag in the target time.

    Never more than partitions to work on, nor than ``max_replicas``; none only where
    there is nothing to do.
    """
    if demand.paused:
        return min(demand.current, max_replicas)
    lag = sum(demand.lag)
    busy = max(demand.busy_partitions, sum(1 for records in demand.lag if records))
    if busy == 0:
        return 0
    if demand.current == 0:
        # One first: nobody is there who could know whether more would help.
        return 1
    if demand.held:
        return min(demand.current, max_replicas)
    most = min(busy, max_replicas)
    if demand.rate_per_s is None or demand.rate_per_s <= 0:
        return min(demand.current, most)
    load = (demand.inflow_per_s + lag / target_drain_s) / demand.rate_per_s
    needed = _replicas(load, most)
    if lag and demand.oldest_age_s > target_drain_s:
        # The mean rate hides that something waits too long: never go down now.
        needed = max(needed, demand.current)
    if needed < demand.current:
        needed = min(_replicas(load * _SCALE_IN_MARGIN, most), demand.current)
    return min(max(needed, 1), most)


def _replicas(load: float, most: int) -> int:
    return most if load >= most else math.ceil(load)


@dataclass(frozen=True, slots=True)
class IntakeLimits:
    """When requests are refused."""

    ahead_age_s: float
    outbox_age_s: float
    accepting: int


@dataclass(frozen=True, slots=True)
class Intake:
    """What is known where documents are accepted from outside."""

    ahead_age_s: float
    """Of the oldest event that the loader has not read."""
    outbox_age_s: float
    """Of the oldest accepted event that has not reached Kafka."""
    accepting: int
    """Documents that are being accepted at this moment."""


def admit(intake: Intake, limits: IntakeLimits) -> Decision:
    """Whether one more document may be accepted.

    What is stored and not yet in Kafka counts as accepted: so an outage of Kafka is
    noticed by the age of what waits to be sent.
    """
    if intake.outbox_age_s > limits.outbox_age_s:
        return Decision(Verdict.PAUSE, "outbox")
    if intake.ahead_age_s > limits.ahead_age_s:
        return Decision(Verdict.PAUSE, "ahead")
    if intake.accepting >= limits.accepting:
        return Decision(Verdict.PAUSE, "accepting")
    return Decision(Verdict.ADMIT)
