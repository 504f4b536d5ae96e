"""Waiting until stages have nothing left to read."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from contextlib import suppress

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from headrace.errors import SharedFailure
from headrace.lag import GroupOffsets
from headrace.messages import Stage
from headrace.settings import Settings

_EVERY_S = 0.5
_PATIENCE_S = 10.0
"""For the first answer, however little time there is to drain."""

Left = dict[Stage, int]
"""Records that wait for a stage or are in work there, where there are any."""


def _ignore(_left: Left) -> None:
    return None


async def drained(
    settings: Settings,
    stages: Collection[Stage],
    *,
    timeout_s: float,
    tell: Callable[[Left], None] = _ignore,
) -> Left:
    """Wait until these stages have committed all that is there; what is left then.

    Empty where they have. That holds for good only if nothing comes in any more: the
    caller has paused what is before them.

    Args:
        settings: where Kafka is.
        stages: in any order.
        timeout_s: for how long, at most; with 0 it only says what is left.
        tell: called with what is left, each time that it is something else.

    Raises:
        SharedFailure: Kafka does not answer.
    """
    topology = settings.topology
    offsets = GroupOffsets(settings)

    async def read() -> Left:
        # In the order of the data path: a record that has left one stage is found in
        # the next, which is read later. The other way round both would miss it.
        return left_of(
            {
                stage: await offsets.read(
                    topology.group(stage), list(topology.inputs(stage).values())
                )
                for stage in Stage
                if stage in stages
            }
        )

    try:
        return await none_left(read, timeout_s=timeout_s, tell=tell)
    except TimeoutError as error:
        raise SharedFailure(
            "broker_unavailable", "Kafka does not tell how far the stages are"
        ) from error
    finally:
        await offsets.stop()


def left_of(
    offsets: Mapping[Stage, Mapping[TopicPartition, tuple[int, int]]],
) -> Left:
    """What is left, from committed and end offset by stage and partition. Pure."""
    left = {
        stage: sum(max(end - committed, 0) for committed, end in places.values())
        for stage, places in offsets.items()
    }
    return {stage: records for stage, records in left.items() if records}


async def none_left(
    read: Callable[[], Awaitable[Left]],
    *,
    timeout_s: float,
    tell: Callable[[Left], None] = _ignore,
) -> Left:
    """Read again and again until nothing is left or time is over; what is left then.

    Raises:
        TimeoutError: there was no first reading.
    """
    now = asyncio.get_running_loop().time
    deadline = now() + timeout_s
    left: Left | None = None
    try:
        async with asyncio.timeout(max(timeout_s, _PATIENCE_S)):
            while True:
                # Kafka may be away for a moment, at this time of all times.
                with suppress(KafkaError):
                    found = await read()
                    if found != left:
                        left = found
                        tell(left)
                if left is not None and (not left or now() >= deadline):
                    return left
                await asyncio.sleep(_EVERY_S)
    except TimeoutError:
        if left is None:
            raise
        return left
