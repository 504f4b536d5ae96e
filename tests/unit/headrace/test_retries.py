from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.errors import DocumentFailure, Unreadable
from headrace.retries import Backoff, describe


@pytest.mark.parametrize(
    ("error", "code", "retryable"),
    [
        (DocumentFailure("timeout", "slow", retryable=True), "timeout", True),
        (DocumentFailure("blocked_url", "no"), "blocked_url", False),
        (Unreadable("bad_bytes", "no"), "bad_bytes", False),
        (KeyError("x"), "internal_error", True),
    ],
)
def test_the_class_decides(error: Exception, code: str, retryable: bool) -> None:  # noqa: FBT001
    described = describe(error)
    assert (described.code, described.retryable) == (code, retryable)


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
