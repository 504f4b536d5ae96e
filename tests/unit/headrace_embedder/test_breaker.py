"""The breaker, as values over time."""

from __future__ import annotations

import pytest
from headrace_embedder.breaker import Breaker, BreakerState


def opened(*, at: float = 100.0) -> Breaker:
    breaker = Breaker()
    for _ in range(5):
        breaker.failed(now=at, reason="provider_unavailable", check=True)
    return breaker


def test_five_failures_in_a_row_open_it() -> None:
    breaker = Breaker()
    for _ in range(4):
        breaker.failed(now=0, reason="x", check=True)
    breaker.succeeded(check=True)
    for _ in range(4):
        breaker.failed(now=0, reason="x", check=True)
    assert breaker.state is BreakerState.CLOSED
    breaker.failed(now=0, reason="x", check=True)

    assert (breaker.state, breaker.wait(now=0)) == (BreakerState.OPEN, 60)


def test_one_probe_after_a_minute_and_its_success_closes_it() -> None:
    breaker = opened(at=100)

    assert not breaker.start_probe(now=159.9)
    assert breaker.start_probe(now=160)
    assert not breaker.start_probe(now=160)
    states = [breaker.state]
    breaker.succeeded(check=True)

    assert [*states, breaker.state] == [BreakerState.HALF_OPEN, BreakerState.CLOSED]


def test_a_failed_probe_opens_it_for_another_minute() -> None:
    breaker = opened(at=100)
    assert breaker.start_probe(now=160)
    breaker.failed(now=165, reason="x", check=True)

    assert (breaker.state, breaker.wait(now=165)) == (BreakerState.OPEN, 60)


def test_a_late_answer_does_not_close_it() -> None:
    breaker = opened()
    breaker.succeeded(check=True)

    assert breaker.state is BreakerState.OPEN


def test_only_the_check_decides_while_it_is_half_open() -> None:
    breaker = opened(at=0)
    assert breaker.start_probe(now=60)
    breaker.succeeded(check=False)
    breaker.failed(now=61, reason="x", check=False)
    assert breaker.state is BreakerState.HALF_OPEN
    breaker.succeeded(check=True)

    assert breaker.state is BreakerState.CLOSED


def test_a_late_failure_does_not_keep_it_open_longer() -> None:
    breaker = opened(at=0)
    breaker.failed(now=50, reason="x", check=False)

    assert breaker.wait(now=50) == 10


def test_failures_of_texts_do_not_open_it_while_a_good_one_is_answered() -> None:
    breaker = Breaker()
    for _ in range(50):
        breaker.failed(now=0, reason="x", check=False)
    assert (breaker.state, breaker.doubtful) == (BreakerState.CLOSED, True)
    breaker.succeeded(check=True)

    assert not breaker.doubtful


def test_a_check_that_fails_too_opens_it_at_once() -> None:
    breaker = Breaker()
    for _ in range(4):
        breaker.failed(now=0, reason="x", check=False)
    assert not breaker.doubtful
    breaker.failed(now=0, reason="x", check=True)

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
