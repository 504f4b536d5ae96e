"""How an outage is noticed by a stage that has nothing to do; in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.contact import Contact
from tests.support.virtual_time import VirtualClock, run_virtual

PATIENCE_S = 10.0
SOON_S = 3.0
"""The next question comes by then."""


class Broker:
    """Answers, refuses, or lets every question disappear."""

    def __init__(self) -> None:
        self.takes_s = 0.01
        self.reachable = asyncio.Event()
        self.reachable.set()
        self.refuses = False
        self.asked = 0

    async def answer(self) -> None:
        self.asked += 1
        if self.refuses:
            raise ConnectionRefusedError
        await self.reachable.wait()
        await asyncio.sleep(self.takes_s)

    def black_hole(self) -> None:
        self.reachable.clear()

    def refuse(self) -> None:
        self.refuses = True

    def heal(self) -> None:
        self.refuses = False
        self.reachable.set()


@asynccontextmanager
async def contact(broker: Broker) -> AsyncIterator[Contact]:
    made = Contact(broker.answer, patience_s=PATIENCE_S, clock=VirtualClock())
    made.start()
    yield made
    await made.stop()
    asked = broker.asked
    await asyncio.sleep(10 * PATIENCE_S)
    assert broker.asked == asked


@pytest.mark.parametrize("fault", [Broker.black_hole, Broker.refuse])
def test_an_outage_is_told_after_the_patience_and_over_at_the_next_answer(
    fault: Callable[[Broker], None],
) -> None:
    async def scenario() -> None:
        broker = Broker()
        async with contact(broker) as made:
            await asyncio.sleep(100)
            assert made.problem is None
            fault(broker)
            await asyncio.sleep(PATIENCE_S - SOON_S)
            assert made.problem is None
            await asyncio.sleep(2 * SOON_S)
            assert "has not answered" in (made.problem or "")
            await asyncio.sleep(100)
            assert "has not answered" in (made.problem or "")
            broker.heal()
            await asyncio.sleep(SOON_S)
            assert made.problem is None

    run_virtual(scenario())


@given(st.lists(st.floats(0, PATIENCE_S - SOON_S), min_size=1, max_size=20))
def test_answers_that_take_their_time_are_answers(takes_s: list[float]) -> None:
    async def scenario() -> None:
        broker = Broker()
        async with contact(broker) as made:
            for broker.takes_s in takes_s:
                for _ in range(50):
                    await asyncio.sleep(0.2)
                    assert made.problem is None

    run_virtual(scenario())


@given(
    st.lists(
        st.tuples(
            st.sampled_from([Broker.black_hole, Broker.refuse]),
            st.floats(0, PATIENCE_S - SOON_S),
            st.floats(SOON_S, 30),
        ),
        max_size=10,
    )
)
def test_what_mends_itself_in_time_is_no_problem(
    outages: list[tuple[Callable[[Broker], None], float, float]],
) -> None:
    async def scenario() -> None:
        broker = Broker()
        async with contact(broker) as made:
            for fault, lasts_s, well_s in outages:
                fault(broker)
                await asyncio.sleep(lasts_s)
                assert made.problem is None
                broker.heal()
                await asyncio.sleep(well_s)
                assert made.problem is None

    run_virtual(scenario())
