"""Who is fed next."""

from __future__ import annotations

from collections import Counter

from headrace_gateway.turns import Turns
from hypothesis import given
from hypothesis import strategies as st

JOBS = st.lists(
    st.tuples(st.sampled_from("abcd"), st.integers(0, 9).map(str)),
    unique=True,
    min_size=1,
    max_size=30,
)


@given(waiting=JOBS, most=st.integers(1, 12), rounds=st.integers(1, 20))
def test_nobody_waits_for_more_than_a_turn_of_each_other(
    waiting: list[tuple[str, str]], most: int, rounds: int
) -> None:
    turns = Turns()
    had: list[tuple[str, str]] = []
    for _ in range(rounds):
        chosen = turns.next(waiting, most)
        assert len(chosen) == len(set(chosen)) == min(most, len(waiting))
        assert set(chosen) <= set(waiting)
        had += chosen
    for tenant in {tenant for tenant, _ in waiting}:
        jobs = Counter({job: 0 for of, job in waiting if of == tenant})
        jobs.update(job for of, job in had if of == tenant)
        # Equal turns, but for the one that is under way.
        assert max(jobs.values()) - min(jobs.values()) <= 1


@given(waiting=JOBS, rounds=st.integers(1, 40))
def test_tenants_have_equal_turns_however_many_jobs_they_have(
    waiting: list[tuple[str, str]], rounds: int
) -> None:
    turns = Turns()
    had = Counter({tenant: 0 for tenant, _ in waiting})
    for _ in range(rounds):
        had.update(tenant for tenant, _ in turns.next(waiting, 1))
    assert max(had.values()) - min(had.values()) <= 1


def test_who_comes_later_has_the_next_turn() -> None:
    turns = Turns()
    many = [("big", str(number)) for number in range(9)]
    assert len(turns.next(many, 3)) == 3
    assert ("small", "x") in turns.next([*many, ("small", "x")], 2)
