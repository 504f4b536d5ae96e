"""Runs a scenario on a pipeline of its own, in virtual time."""

from __future__ import annotations

import logging
import random
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import structlog
from headrace_chunker import slices

from tests.faults.l1.oracle import check_end
from tests.faults.l1.pipeline import Pipeline
from tests.faults.l1.processes import SimulationLoop

Scenario = Callable[[Pipeline], Awaitable[None]]


SLICE_CHUNKS = 3


@contextmanager
def simulated() -> Iterator[None]:
    """What the simulation changes of the product: no logs, and small slices.

    Logging thousands of expected failures takes most of the time; short documents of
    several slices show the same as long ones.
    """

    def drop(*_: Any) -> Mapping[str, Any]:
        raise structlog.DropEvent

    critical = structlog.make_filtering_bound_logger(logging.CRITICAL)
    structlog.configure(wrapper_class=critical, processors=[drop])
    before, slices.MAX_CHUNKS = slices.MAX_CHUNKS, SLICE_CHUNKS
    try:
        yield
    finally:
        slices.MAX_CHUNKS = before
        structlog.reset_defaults()


def simulate(scenario: Scenario, *, seed: int = 0, verify: bool = True) -> None:
    """Run a scenario and, unless told otherwise, hold its end against the oracle.

    Raises:
        AssertionError: something is lost, doubled, stale or half there.
    """

    async def whole() -> None:
        pipeline = Pipeline(random.Random(seed))
        await pipeline.start_all()
        try:
            await scenario(pipeline)
            if verify:
                await check_end(pipeline)
        except AssertionError as error:
            error.add_note(f"seed {seed}")
            raise
        finally:
            await pipeline.close()

    loop = SimulationLoop()
    try:
        loop.run_until_complete(whole())
    finally:
        # Not by a Runner: it would wait for work that ignores its cancellation.
        loop.close()
