"""Waiting for stages ends when nothing is left, or when time is over."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import KafkaConnectionError

from headrace.draining import Left, left_of, none_left
from headrace.messages import Stage
from tests.support.virtual_time import run_virtual


def readings(*each: Left | Exception) -> Callable[[], Awaitable[Left]]:
    """One after another; the last one for ever."""
    left: Iterator[Left | Exception] = iter(each)
    last = each[-1]

    async def read() -> Left:
        found = next(left, last)
        if isinstance(found, Exception):
            raise found
        return found

    return read


def test_what_is_left_counts_only_where_something_is() -> None:
    def place(number: int) -> TopicPartition:
        return TopicPartition("t", number)

    left = left_of(
        {
            Stage.LOADER: {place(0): (5, 5), place(1): (0, 0)},
            Stage.CHUNKER: {place(0): (5, 7), place(1): (1, 2), place(2): (9, 8)},
        }
    )
    assert left == {Stage.CHUNKER: 3}


def test_returns_as_soon_as_nothing_is_left_and_tells_on_the_way() -> None:
    told: list[Left] = []
    two, one = {Stage.LOADER: 2}, {Stage.INDEXER: 1}

    async def wait() -> Left:
        read = readings(two, KafkaConnectionError("away"), two, one, {})
        return await none_left(read, timeout_s=60, tell=told.append)

    assert run_virtual(wait()) == {}
    assert told == [two, one, {}]


def test_says_what_is_left_when_time_is_over() -> None:
    left = {Stage.EMBEDDER: 4}
    assert run_virtual(none_left(readings(left), timeout_s=30)) == left


def test_without_time_it_reads_once() -> None:
    left = {Stage.EMBEDDER: 4}
    told: list[Left] = []
    assert run_virtual(none_left(readings(left), timeout_s=0, tell=told.append)) == left
    assert told == [left]


def test_kafka_that_never_answers_is_not_taken_for_drained() -> None:
    with pytest.raises(TimeoutError):
        run_virtual(none_left(readings(KafkaConnectionError("away")), timeout_s=3))
