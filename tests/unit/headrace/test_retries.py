from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.errors import DocumentFailure, SharedFailure, Unreadable
from headrace.retries import Action, Backoff, classify, describe


@pytest.mark.parametrize(
    ("error", "attempt", "action", "code"),
    [
        (SharedFailure("store_unavailable", "down"), 1, "pause", "store_unavailable"),
        (SharedFailure("store_unavailable", "down"), 99, "pause", "store_unavailable"),
        (DocumentFailure("timeout", "slow", retryable=True), 1, "retry", "timeout"),
        (DocumentFailure("timeout", "slow", retryable=True), 2, "retry", "timeout"),
        (
            DocumentFailure("timeout", "slow", retryable=True),
            3,
            "dead_letter",
            "timeout",
        ),
        (DocumentFailure("blocked_url", "no"), 1, "dead_letter", "blocked_url"),
        (Unreadable("bad_bytes", "no"), 1, "dead_letter", "bad_bytes"),
        (KeyError("x"), 1, "retry", "internal_error"),
        (KeyError("x"), 3, "dead_letter", "internal_error"),
    ],
)
def test_the_class_decides(
    error: Exception, attempt: int, action: str, code: str
) -> None:
    verdict = classify(error, attempt=attempt, attempts=3)
    assert (verdict.action, verdict.error.code) == (Action(action), code)


def test_retry_after_is_passed_on() -> None:
    error = SharedFailure("rate_limited", "429", retry_after=7)
    assert classify(error, attempt=1, attempts=3).retry_after_s == 7


def test_an_unexpected_error_does_not_show_its_text() -> None:
    assert "secret text" not in str(describe(ValueError("secret text")))


@given(st.text(), st.text(), st.text())
def test_descriptions_keep_the_bounds(code: str, message: str, advice: str) -> None:
    error = describe(DocumentFailure(code * 70, message * 500, advice=advice * 300))
    assert len(error.code.encode()) <= 64
    assert len(error.message.encode()) <= 1024
    assert len(error.advice.encode()) <= 512


@given(
    failures=st.integers(1, 5000),
    first=st.floats(0.01, 10),
    cap=st.floats(1, 100),
    seed=st.integers(),
)
def test_waits_are_between_nothing_and_the_cap(
    failures: int, first: float, cap: float, seed: int
) -> None:
    backoff = Backoff(first, cap)
    wait = backoff.wait_s(failures, random=random.Random(seed).random)
    assert 0 <= wait <= min(cap, first * 2.0 ** min(failures - 1, 1000))


@given(told=st.floats(0, 100_000), seed=st.integers())
def test_retry_after_is_honoured_up_to_an_hour(told: float, seed: int) -> None:
    wait = Backoff(2.0).wait_s(1, random=random.Random(seed).random, retry_after_s=told)
    assert min(told, 3600) <= wait <= min(told, 3600) + 2.0


def test_jitter_spreads() -> None:
    chance = random.Random(1)
    waits = [Backoff(2.0).wait_s(3, random=chance.random) for _ in range(1000)]
    assert min(waits) < 1
    assert max(waits) > 7
    assert 3.5 < sum(waits) / len(waits) < 4.5
