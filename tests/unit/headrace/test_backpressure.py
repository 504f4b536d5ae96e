from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from headrace.backpressure import (
    Decision,
    Demand,
    Limits,
    Mark,
    Pressure,
    Verdict,
    ahead_of,
    decide,
    wanted_replicas,
)

LIMITS = Limits(
    ahead_records=Mark(2000, 1000),
    in_flight_records=Mark(64, 32),
    in_flight_bytes=Mark(1_000_000, 750_000),
)
CALM = Pressure(ahead_records=0, in_flight_records=0, in_flight_bytes=0)


@pytest.mark.parametrize(
    ("pressure", "paused", "decision"),
    [
        (CALM, False, Decision(Verdict.ADMIT)),
        (CALM, True, Decision(Verdict.RESUME)),
        (replace(CALM, ahead_records=1999), False, Decision(Verdict.ADMIT)),
        (replace(CALM, ahead_records=2000), False, Decision(Verdict.PAUSE, "ahead")),
        (replace(CALM, ahead_records=1001), True, Decision(Verdict.PAUSE, "ahead")),
        (replace(CALM, ahead_records=1000), True, Decision(Verdict.RESUME)),
        (
            replace(CALM, in_flight_records=64),
            False,
            Decision(Verdict.PAUSE, "in_flight_records"),
        ),
        (replace(CALM, in_flight_records=32), True, Decision(Verdict.RESUME)),
        (
            replace(CALM, in_flight_bytes=2_000_000),
            False,
            Decision(Verdict.PAUSE, "in_flight_bytes"),
        ),
    ],
)
def test_marks(pressure: Pressure, *, paused: bool, decision: Decision) -> None:
    assert decide(pressure, LIMITS, paused=paused) == decision


pressures = st.builds(
    Pressure,
    ahead_records=st.integers(0, 5000),
    in_flight_records=st.integers(0, 200),
    in_flight_bytes=st.integers(0, 3_000_000),
)


@given(pressure=pressures, paused=st.booleans())
def test_no_flapping_under_a_constant_pressure(
    pressure: Pressure, *, paused: bool
) -> None:
    """Whatever is decided first is decided again."""
    first = decide(pressure, LIMITS, paused=paused).verdict is Verdict.PAUSE
    assert (decide(pressure, LIMITS, paused=first).verdict is Verdict.PAUSE) == first


@given(one=pressures, other=pressures, paused=st.booleans())
def test_more_pressure_never_resumes(
    one: Pressure, other: Pressure, *, paused: bool
) -> None:
    more = Pressure(
        max(one.ahead_records, other.ahead_records),
        max(one.in_flight_records, other.in_flight_records),
        max(one.in_flight_bytes, other.in_flight_bytes),
    )
    if decide(one, LIMITS, paused=paused).verdict is Verdict.PAUSE:
        assert decide(more, LIMITS, paused=paused).verdict is Verdict.PAUSE


def test_low_above_high_still_resumes() -> None:
    mark = Mark(high=10, low=50)
    assert mark.holds(10, paused=True)
    assert not mark.holds(9, paused=True)


def test_ahead_is_seen_partition_by_partition_where_numbers_are_kept() -> None:
    lag = [0, 5000, 10]
    assert [ahead_of(i, lag, aligned=True) for i in range(4)] == [0, 5000, 10, 0]
    assert ahead_of(0, lag, aligned=False) == 1670
    assert ahead_of(0, [], aligned=False) == 0


def demand(**changes: object) -> Demand:
    fields: dict[str, object] = {
        "lag": [100] * 6,
        "busy_partitions": 6,
        "oldest_age_s": 1.0,
        "inflow_per_s": 0.0,
        "rate_per_s": 1.0,
        "current": 1,
        "held": False,
    }
    return Demand(**(fields | changes))  # type: ignore[arg-type]


def wanted(demand: Demand, *, max_replicas: int = 10) -> int:
    return wanted_replicas(demand, max_replicas=max_replicas, target_drain_s=60.0)


@pytest.mark.parametrize(
    ("changes", "replicas"),
    [
        ({}, 6),
        ({"rate_per_s": 5.0}, 2),
        ({"rate_per_s": 100.0}, 1),
        ({"lag": [0] * 6, "busy_partitions": 0}, 0),
        ({"lag": [600, 0, 0], "busy_partitions": 1}, 1),
        ({"lag": [0] * 6, "busy_partitions": 6, "inflow_per_s": 3.5}, 4),
        ({"rate_per_s": None, "current": 0}, 1),
        ({"rate_per_s": None, "current": 3}, 3),
        ({"held": True, "current": 2}, 2),
        ({"held": True, "current": 0}, 1),
        ({"current": 0}, 1),
        ({"paused": True, "current": 3}, 3),
        ({"paused": True, "current": 0}, 0),
        ({"paused": True, "current": 3, "lag": [0] * 6, "busy_partitions": 0}, 3),
        ({"rate_per_s": 100.0, "current": 5}, 1),
        ({"rate_per_s": 100.0, "current": 5, "oldest_age_s": 100.0}, 5),
    ],
)
def test_wanted(changes: dict[str, object], replicas: int) -> None:
    assert wanted(demand(**changes)) == replicas


demands = st.builds(
    Demand,
    lag=st.lists(st.integers(0, 100_000), min_size=1, max_size=20),
    busy_partitions=st.integers(0, 20),
    oldest_age_s=st.floats(0, 10_000),
    inflow_per_s=st.floats(0, 10_000),
    rate_per_s=st.none() | st.floats(0, 1000),
    current=st.integers(0, 30),
    held=st.booleans(),
)


@given(demands, st.integers(1, 30))
def test_bounded(given_demand: Demand, most: int) -> None:
    replicas = wanted(given_demand, max_replicas=most)
    with_lag = sum(1 for records in given_demand.lag if records)
    busy = max(with_lag, given_demand.busy_partitions)
    assert (replicas == 0) == (busy == 0)
    assert replicas <= most
    if not given_demand.held:
        assert replicas <= max(busy, 0)


@given(demands, st.data())
def test_monotone_in_lag(given_demand: Demand, data: st.DataObject) -> None:
    more = [n + data.draw(st.integers(0, 10_000)) for n in given_demand.lag]
    assert wanted(given_demand) <= wanted(replace(given_demand, lag=more))


@given(demands)
def test_an_outage_scales_nothing_out(given_demand: Demand) -> None:
    outage = replace(given_demand, held=True, current=max(given_demand.current, 1))
    assert wanted(outage, max_replicas=99) <= outage.current


@given(
    inflow=st.floats(0.1, 200),
    rate=st.floats(0.5, 20),
    backlog=st.integers(0, 5000),
    partitions=st.integers(1, 12),
)
def test_a_constant_load_settles(
    inflow: float, rate: float, backlog: int, partitions: int
) -> None:
    """Followed exactly, the number of replicas stops changing."""
    assume(inflow < rate * partitions * 0.95)
    lag, replicas = float(backlog), 1
    history = []
    for _ in range(2000):
        each = [int(lag / partitions) + 1] * partitions
        replicas = wanted(
            demand(
                lag=each,
                busy_partitions=partitions,
                inflow_per_s=inflow,
                rate_per_s=rate,
                current=replicas,
                oldest_age_s=lag / inflow,
            ),
            max_replicas=partitions,
        )
        lag = max(0.0, lag + (inflow - rate * replicas) * 15)
        history.append(replicas)
    assert len(set(history[-500:])) == 1
