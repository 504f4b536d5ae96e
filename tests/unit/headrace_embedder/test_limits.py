"""Rates and batch sizes, as values over time."""

from __future__ import annotations

from headrace_embedder.limits import BatchSize, Rate
from hypothesis import given, settings
from hypothesis import strategies as st

waits = st.lists(st.floats(0, 30), min_size=1, max_size=60)


@settings(deadline=None)
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
        size.answered(1, texts=size.texts)
        sizes.append(size.texts)

    assert sizes == [64, 64, 96, 96, 96, 144, 144, 144, 200, 200, 200, 200]


def test_batches_shrink_while_three_take_over_half_a_minute() -> None:
    size = BatchSize(minimum=10, maximum=200)
    for _ in range(3):
        size.answered(31, texts=64)

    assert size.texts == 44


def test_small_quick_batches_teach_nothing() -> None:
    size = BatchSize(minimum=10, maximum=200)
    for _ in range(30):
        size.answered(0.1, texts=3)

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
        size.answered(seconds, texts=texts)
        assert bounds[0] <= size.texts <= bounds[1]


def test_a_quick_failure_is_no_quick_call() -> None:
    size = BatchSize(minimum=10, maximum=200)
    for _ in range(9):
        size.failed(0.01)

    assert size.texts == 64


def test_calls_that_end_by_their_deadline_shrink_it() -> None:
    size = BatchSize(minimum=10, maximum=200)
    for _ in range(3):
        size.failed(60)

    assert size.texts == 44


def test_a_size_that_no_limit_lets_by_is_made_smaller_until_it_fits() -> None:
    size = BatchSize(minimum=10, maximum=200)
    sizes = []
    for _ in range(8):
        size.limited()
        sizes.append(size.texts)

    assert sizes == [64, 44, 30, 21, 14, 10, 10, 10]


def test_one_call_over_a_limit_now_and_then_says_nothing_of_the_size() -> None:
    size = BatchSize(minimum=10, maximum=200)
    for _ in range(5):
        size.limited()
        size.answered(10, texts=64)

    assert size.texts == 64
