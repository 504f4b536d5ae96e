from __future__ import annotations

import pytest

from headrace.backpressure import wanted_replicas
from headrace.demand import History, Reading

PLACES = [("texts", number) for number in range(4)]


class Stage:
    """Simulated: replicas finish ``rate`` a second each while there is work."""

    def __init__(self, *, rate: float, backlog: int = 0) -> None:
        self.rate = rate
        self.history = History()
        self.time = 0.0
        self.done = 0.0
        self.end = float(backlog)
        self.members = 0

    def step(
        self, *, inflow: float = 0.0, working: bool = True, paused: bool = False
    ) -> int:
        """Five seconds; the replicas that are wanted, which are there at once."""
        working = working and not paused
        self.time += 5
        self.end += inflow * 5
        if working:
            self.done = min(self.end, self.done + self.rate * self.members * 5)
        share = len(PLACES)
        demand = self.history.add(
            Reading(
                at_s=self.time,
                committed={place: int(self.done / share) for place in PLACES},
                end={place: int(self.end / share) for place in PLACES},
                members=self.members,
                paused=paused,
            )
        )
        self.members = wanted_replicas(demand, max_replicas=8, target_drain_s=60)
        return self.members


def test_from_zero_to_the_partitions_and_back() -> None:
    stage = Stage(rate=1.0, backlog=2000)
    assert stage.step() == 1, "nothing is known of its speed yet"
    wanted = [stage.step() for _ in range(20)]
    assert max(wanted) == 4, "never more than partitions"
    for _ in range(200):
        stage.step()
    assert stage.members == 0
    assert stage.history.rate_per_s == pytest.approx(1.0, rel=0.1)


def test_a_steady_load_keeps_a_steady_number() -> None:
    stage = Stage(rate=10.0, backlog=3000)
    seen = [stage.step(inflow=25.0) for _ in range(400)]
    assert len(set(seen[-200:])) == 1
    assert seen[-1] in (3, 4)


def test_waiting_replicas_say_nothing_of_their_speed() -> None:
    stage = Stage(rate=100.0)
    stage.members = 1
    wanted = [stage.step(inflow=1.0) for _ in range(50)]
    assert stage.history.rate_per_s is None
    assert max(wanted) <= 1


def test_an_outage_scales_nothing_out_and_recovers_from_zero() -> None:
    stage = Stage(rate=10.0, backlog=400)
    for _ in range(5):
        stage.step()
    before = stage.members
    outage = [stage.step(inflow=20.0, working=False) for _ in range(120)]
    assert set(outage[10:]) == {outage[10]}
    assert outage[-1] >= 1, "somebody must find out that it is over"
    assert outage[-1] <= max(before, *outage[:10])
    stage.members = 0
    assert stage.step(inflow=20.0, working=False) == 1
    for _ in range(100):
        stage.step()
    assert stage.done == stage.end


def test_stopped_by_what_is_ahead_scales_nothing_out() -> None:
    history = History()
    demand = history.add(
        Reading(
            at_s=1.0,
            committed={},
            end=dict.fromkeys(PLACES, 1000),
            members=1,
            stopped_by_ahead=True,
        )
    )
    assert wanted_replicas(demand, max_replicas=8, target_drain_s=60) == 1


def test_a_paused_stage_keeps_its_replicas_and_what_is_known_of_their_speed() -> None:
    stage = Stage(rate=10.0, backlog=4000)
    for _ in range(10):
        stage.step()
    before, rate = stage.members, stage.history.rate_per_s
    assert before > 1
    paused = [stage.step(inflow=50.0, paused=True) for _ in range(60)]
    assert set(paused) == {before}
    stage.done += 1  # what was in work ended as it was paused
    assert stage.step(paused=True) == before
    assert stage.history.rate_per_s == rate
    for _ in range(400):
        stage.step()
    assert stage.done == stage.end
