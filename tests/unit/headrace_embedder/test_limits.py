"""Rates, batch sizes and the breaker, as values over time."""

from __future__ import annotations

import pytest
from headrace_embedder.breaker import Breaker, BreakerState
from headrace_embedder.limits import BatchSize, Rate
from hypothesis import given
from hypothesis import strategies as st

waits = st.lists(st.floats(0, 30), min_size=1, max_size=60)


@given(per_minute=st.integers(1, 3000), pauses=waits, share=st.floats(0.01, 1))
def test_no_minute_sees_more_requests_than_the_limit(
    per_minute: int, pauses: list[float], share: float
) -> None:
    rate = Rate(per_minute, now=0)
    rate.scale(share, now=0)
    now = 0.0
    taken: list[float] = []
    for pause in pauses:
        now += pause
        taken += [now for _ in range(40) if rate.take(1, now=now) == 0]
    allowed = max(per_minute * share, 1)
    for start in taken:
        assert len([t for t in taken if start <= t < start + 59.999]) <= allowed + 1e-6


@given(per_minute=st.integers(100, 10**6), amounts=st.lists(st.integers(1, 5000)))
def test_no_minute_sees_more_tokens_than_the_limit(
    per_minute: int, amounts: list[int]
) -> None:
    rate = Rate(per_minute, now=0)
    burst = rate.burst or 0
    now, taken = 0.0, []
    for amount in amounts:
        at_once = min(amount, int(burst))
        now += rate.take(at_once, now=now)
        if rate.take(at_once, now=now) == 0:
            taken.append((now, at_once))
    for start, _ in taken:
        minute = [a for t, a in taken if start <= t < start + 59.999]
        assert sum(minute) <= per_minute + 1


@given(per_minute=st.integers(1, 10**6), amount=st.integers(1, 10**6))
def test_waiting_as_long_as_told_is_enough_and_less_is_not(
    per_minute: int, amount: int
) -> None:
    rate = Rate(per_minute, now=0)
    assert rate.take(10**6, now=0) == 0
    wait = rate.take(amount, now=0)
    assert wait > 0
    assert rate.take(amount, now=wait * 0.98) > 0
    assert rate.take(amount, now=wait * (1 + 1e-9)) == 0


def test_no_limit_never_waits() -> None:
    rate = Rate(0, now=0)

    assert [rate.take(10**9, now=0) for _ in range(50)] == [0.0] * 50


def test_batches_grow_by_half_while_three_quick_ones_are_full() -> None:
    size = BatchSize(minimum=10, maximum=200)
    sizes = []
    for _ in range(12):
        size.took(1, texts=size.texts)
        sizes.append(size.texts)

    assert sizes == [64, 64, 96, 96, 96, 144, 144, 144, 200, 200, 200, 200]


def test_batches_shrink_while_three_take_over_half_a_minute() -> None:
    size = BatchSize(minimum=10, maximum=200)
    for _ in range(3):
        size.took(31, texts=64)

    assert size.texts == 44


def test_small_quick_batches_teach_nothing() -> None:
    size = BatchSize(minimum=10, maximum=200)
    for _ in range(30):
        size.took(0.1, texts=3)

    assert size.texts == 64


@given(
    bounds=st.tuples(st.integers(1, 1000), st.integers(1, 1000)).map(sorted),
    calls=st.lists(st.tuples(st.floats(0, 200), st.integers(1, 1000))),
)
def test_the_size_stays_within_its_bounds(
    bounds: list[int], calls: list[tuple[float, int]]
) -> None:
    size = BatchSize(minimum=bounds[0], maximum=bounds[1])
    for seconds, texts in calls:
        size.took(seconds, texts=texts)
        assert bounds[0] <= size.texts <= bounds[1]


def opened(*, at: float = 100.0) -> Breaker:
    breaker = Breaker()
    for _ in range(5):
        breaker.failed(now=at, reason="provider_unavailable")
    return breaker


def test_five_failures_in_a_row_open_it() -> None:
    breaker = Breaker()
    for _ in range(4):
        breaker.failed(now=0, reason="x")
    breaker.succeeded()
    for _ in range(4):
        breaker.failed(now=0, reason="x")
    assert breaker.state is BreakerState.CLOSED
    breaker.failed(now=0, reason="x")

    assert (breaker.state, breaker.wait(now=0)) == (BreakerState.OPEN, 60)


def test_one_probe_after_a_minute_and_its_success_closes_it() -> None:
    breaker = opened(at=100)

    assert not breaker.start_probe(now=159.9)
    assert breaker.start_probe(now=160)
    assert not breaker.start_probe(now=160)
    states = [breaker.state]
    breaker.succeeded()

    assert [*states, breaker.state] == [BreakerState.HALF_OPEN, BreakerState.CLOSED]


def test_a_failed_probe_opens_it_for_another_minute() -> None:
    breaker = opened(at=100)
    assert breaker.start_probe(now=160)
    breaker.failed(now=165, reason="x")

    assert (breaker.state, breaker.wait(now=165)) == (BreakerState.OPEN, 60)


def test_a_late_answer_does_not_close_it() -> None:
    breaker = opened()
    breaker.succeeded()

    assert breaker.state is BreakerState.OPEN


def test_an_abandoned_probe_lets_another_start() -> None:
    breaker = opened(at=0)
    assert breaker.start_probe(now=60)
    breaker.abandon_probe()

    assert breaker.start_probe(now=60)


@pytest.mark.parametrize(("first", "second", "left"), [(3600, 1, 3600), (1, 30, 30)])
def test_the_longer_wait_holds(first: float, second: float, left: float) -> None:
    breaker = Breaker()
    breaker.hold(first, now=0, reason="provider_rate_limited")
    breaker.hold(second, now=0, reason="provider_rate_limited")

    assert breaker.wait(now=0) == left
