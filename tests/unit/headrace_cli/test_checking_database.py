"""When all pools at their fullest fit into what a PostgreSQL server allows."""

from __future__ import annotations

from headrace_cli.checking_database import SPARE, Replicas, Room, room
from hypothesis import given
from hypothesis import strategies as st

from headrace.database.settings import DatabaseSettings

SMALL = st.integers(1, 60)


@given(SMALL, st.integers(0, 60), SMALL, SMALL, st.integers(1, 2000))
def test_it_is_enough_exactly_if_the_sum_leaves_some_free(
    size: int, overflow: int, gateways: int, registries: int, most: int
) -> None:
    found = asked(size, overflow, Replicas(gateways, registries), most=most)

    wanted = (size + overflow) * (gateways + registries)
    assert found.enough == (wanted <= most - SPARE)
    assert str(wanted) in found.detail
    assert str(wanted + SPARE) in found.advice


def test_what_it_advises_would_be_enough() -> None:
    few = asked(5, 3, Replicas(2, 1), most=20)
    assert not few.enough
    assert "their sum to 5 at most" in few.advice

    assert asked(4, 1, Replicas(2, 1), most=20).enough
    assert asked(5, 3, Replicas(2, 1), most=29).enough
    assert not asked(5, 3, Replicas(2, 1), most=28).enough


def asked(size: int, overflow: int, replicas: Replicas, *, most: int) -> Room:
    settings = DatabaseSettings(
        database_pool_size=size, database_pool_overflow=overflow
    )
    return room(settings, replicas, most=most)
