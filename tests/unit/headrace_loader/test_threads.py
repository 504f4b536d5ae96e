"""Blocking steps: shared by callers, none of whom hears of another's failure."""

import asyncio
import threading

import pytest
from headrace_loader.threads import Gathered
from hypothesis import given, settings
from hypothesis import strategies as st


async def test_what_is_asked_for_in_one_turn_goes_in_few_steps() -> None:
    steps: dict[int, list[int]] = {}
    all_started = threading.Barrier(3)

    def double(item: int) -> int:
        mine = steps.setdefault(threading.get_ident(), [])
        if not mine:
            all_started.wait(timeout=30)  # so that each step has a thread of its own
        mine.append(item)
        return 2 * item

    gathered = Gathered(double, at_most=4)

    results = await asyncio.gather(*(gathered.call(item) for item in range(10)))

    assert results == [2 * item for item in range(10)]
    assert sorted(steps.values()) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


async def test_an_items_failure_is_its_own() -> None:
    gathered = Gathered(lambda item: 10 // item, at_most=16)

    results = await asyncio.gather(
        *(gathered.call(item) for item in (1, 0, 5)), return_exceptions=True
    )

    assert (results[0], results[2]) == (10, 2)
    assert isinstance(results[1], ZeroDivisionError)


@settings(deadline=None, max_examples=30)
@given(st.sets(st.integers(0, 5)), st.integers(0, 3))
def test_who_is_cancelled_leaves_and_the_others_get_theirs(
    gone: set[int], turns: int
) -> None:
    async def scenario() -> None:
        go = threading.Event()

        def waiting(item: int) -> int:
            assert go.wait(timeout=10)
            return -item

        gathered = Gathered(waiting, at_most=3)
        tasks = [asyncio.create_task(gathered.call(item)) for item in range(6)]
        for _ in range(turns):
            await asyncio.sleep(0)
        for item in gone:
            tasks[item].cancel()
        if gone:
            await asyncio.wait([tasks[item] for item in gone])
        go.set()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        for item, result in enumerate(results):
            if item in gone:
                assert isinstance(result, asyncio.CancelledError)
            else:
                assert result == -item

    asyncio.run(scenario())


async def test_without_threads_the_callers_are_told() -> None:
    await asyncio.get_running_loop().shutdown_default_executor()

    with pytest.raises(RuntimeError):
        await Gathered(abs, at_most=2).call(-1)
