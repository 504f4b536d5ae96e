from __future__ import annotations

import asyncio
import random

import pytest

from headrace.batching import Batcher
from headrace.errors import SharedFailure
from tests.support.virtual_time import run_virtual


class Flush:
    """Doubles numbers; remembers batches; can be held, slowed or made to fail."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.gate: asyncio.Event | None = None
        self.error: Exception | None = None
        self.running = 0
        self.most_running = 0
        self.cancelled = 0

    async def __call__(self, items: list[int]) -> list[int]:
        self.batches.append(items)
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            if self.gate is not None:
                await self.gate.wait()
            await asyncio.sleep(0)
            if self.error is not None:
                raise self.error
            return [item * 2 for item in items]
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.running -= 1


def batcher(flush: Flush, **limits: float) -> Batcher[int, int]:
    return Batcher(
        flush,
        max_items=int(limits.get("max_items", 4)),
        max_bytes=int(limits.get("max_bytes", 1_000_000)),
        max_wait_s=limits.get("max_wait_s", 60.0),
        concurrency=int(limits.get("concurrency", 1)),
        size_of=lambda item: item,
    )


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def test_leaves_when_full_by_count() -> None:
    async def scenario() -> None:
        flush = Flush()
        batch = batcher(flush, max_items=3)
        results = await asyncio.gather(*(batch.submit(n) for n in range(6)))
        assert results == [0, 2, 4, 6, 8, 10]
        assert flush.batches == [[0, 1, 2], [3, 4, 5]]
        assert asyncio.get_running_loop().time() == 1000.0, "nothing waited"

    run_virtual(scenario())


def test_leaves_when_full_by_bytes_and_never_exceeds_them() -> None:
    async def scenario() -> None:
        flush = Flush()
        batch = batcher(flush, max_items=100, max_bytes=10, max_wait_s=1.0)
        await asyncio.gather(*(batch.submit(n) for n in (4, 4, 4, 30, 2)))
        assert flush.batches == [[4, 4], [4], [30], [2]]

    run_virtual(scenario())


def test_waits_from_the_first_item_on() -> None:
    async def scenario() -> None:
        flush = Flush()
        batch = batcher(flush, max_wait_s=1.0)
        first = asyncio.create_task(batch.submit(1))
        await asyncio.sleep(0.9)
        second = asyncio.create_task(batch.submit(2))
        assert await first == 2
        assert await second == 4
        assert flush.batches == [[1, 2]]
        assert asyncio.get_running_loop().time() == pytest.approx(1001.0)

    run_virtual(scenario())


def test_fills_while_all_flushes_are_out() -> None:
    async def scenario() -> None:
        flush = Flush()
        flush.gate = asyncio.Event()
        batch = batcher(flush, max_items=4, max_wait_s=0.001, concurrency=2)
        tasks = [asyncio.create_task(batch.submit(n)) for n in range(12)]
        await asyncio.sleep(1)
        assert flush.batches == [[0, 1, 2, 3], [4, 5, 6, 7]]
        assert (batch.running, batch.queued) == (2, 4)
        flush.gate.set()
        assert list(await asyncio.gather(*tasks)) == [n * 2 for n in range(12)]
        assert flush.most_running == 2

    run_virtual(scenario())


def test_an_error_reaches_exactly_its_batch() -> None:
    async def scenario() -> None:
        flush = Flush()
        batch = batcher(flush, max_items=2)
        flush.error = ValueError("no")
        failed = await asyncio.gather(
            batch.submit(1), batch.submit(2), return_exceptions=True
        )
        assert [str(error) for error in failed] == ["no", "no"]
        flush.error = None
        fresh = await asyncio.gather(batch.submit(3), batch.submit(4))
        assert list(fresh) == [6, 8]

    run_virtual(scenario())


def test_a_wrong_number_of_results_is_an_error() -> None:
    async def scenario() -> None:
        async def flush(_: list[int]) -> list[int]:
            return []

        batch: Batcher[int, int] = Batcher(
            flush,
            max_items=1,
            max_bytes=1,
            max_wait_s=1,
            concurrency=1,
            size_of=lambda _: 1,
        )
        with pytest.raises(RuntimeError, match="0 results for 1 items"):
            await batch.submit(1)

    run_virtual(scenario())


def test_a_cancelled_submitter_withdraws_a_waiting_item() -> None:
    async def scenario() -> None:
        flush = Flush()
        batch = batcher(flush, max_items=3)
        tasks = [asyncio.create_task(batch.submit(n)) for n in (1, 2)]
        await turns()
        tasks[0].cancel()
        await asyncio.wait(tasks[:1])
        assert batch.queued == 1
        rest = await asyncio.gather(tasks[1], batch.submit(3), batch.submit(4))
        assert list(rest) == [4, 6, 8]
        assert flush.batches == [[2, 3, 4]]

    run_virtual(scenario())


def test_a_cancelled_submitter_leaves_the_others_of_its_batch() -> None:
    async def scenario() -> None:
        flush = Flush()
        flush.gate = asyncio.Event()
        batch = batcher(flush, max_items=2)
        tasks = [asyncio.create_task(batch.submit(n)) for n in (1, 2)]
        await turns()
        tasks[0].cancel()
        await asyncio.wait(tasks[:1])
        assert tasks[0].cancelled()
        flush.gate.set()
        assert await tasks[1] == 4
        assert flush.cancelled == 0

    run_virtual(scenario())


def test_a_batch_nobody_waits_for_is_cancelled_and_over() -> None:
    async def scenario() -> None:
        flush = Flush()
        flush.gate = asyncio.Event()
        batch = batcher(flush, max_items=2)
        tasks = [asyncio.create_task(batch.submit(n)) for n in (1, 2)]
        await turns()
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        assert flush.cancelled == 1
        assert flush.running == 0
        flush.gate.set()
        fresh = await asyncio.gather(batch.submit(5), batch.submit(6))
        assert list(fresh) == [10, 12]

    run_virtual(scenario())


def test_close_fails_what_waits_and_ends_what_is_out() -> None:
    async def scenario() -> None:
        flush = Flush()
        flush.gate = asyncio.Event()
        batch = batcher(flush, max_items=2)
        tasks = [asyncio.create_task(batch.submit(n)) for n in range(3)]
        await turns()
        await batch.close()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert [getattr(error, "reason", None) for error in results] == [
            "shutting_down"
        ] * 3
        assert flush.running == 0
        with pytest.raises(SharedFailure):
            await batch.submit(1)

    run_virtual(scenario())


@pytest.mark.parametrize("seed", range(30))
def test_random_submits_cancels_and_failures_leave_nothing_behind(seed: int) -> None:
    async def scenario() -> None:
        chance = random.Random(seed)

        async def flush(items: list[int]) -> list[int]:
            await asyncio.sleep(chance.random())
            if chance.random() < 0.2:
                raise ValueError
            return [item * 2 for item in items]

        batch: Batcher[int, int] = Batcher(
            flush,
            max_items=5,
            max_bytes=200,
            max_wait_s=0.1,
            concurrency=3,
            size_of=lambda item: item,
        )
        tasks = []
        for number in range(100):
            tasks.append(asyncio.create_task(batch.submit(number)))
            await asyncio.sleep(chance.random() * 0.1)
            if chance.random() < 0.3:
                chance.choice(tasks).cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        for number, result in enumerate(results):
            assert result == number * 2 or isinstance(
                result, (ValueError, asyncio.CancelledError)
            )
        assert (batch.queued, batch.running) == (0, 0)

    run_virtual(scenario())
