"""A process that owns lag and does not move is told from all others."""

from __future__ import annotations

import asyncio

import pytest
from aiokafka import TopicPartition
from headrace_registry.watching import Stalled, Watch

from headrace.settings import Settings
from tests.support.fake_clock import FakeClock

MINE, THEIRS = TopicPartition("status", 0), TopicPartition("status", 1)


class Offsets:
    """Answers what it is told to, for as long as there is something to answer."""

    def __init__(self, answers: list[object]) -> None:
        self.answers = answers

    async def read(self, group: str, topics: list[str]) -> object:
        if not self.answers:
            raise asyncio.CancelledError
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return {MINE: answer, THEIRS: (0, 99)}


def watch(answers: list[object], *, excused: bool = False) -> Watch:
    made = Watch(
        Settings(),
        topic="status",
        group="registry",
        mine=lambda: {MINE},
        excused=lambda: excused,
        stalled_after_s=120,
        clock=FakeClock(),
    )
    made._offsets = Offsets(answers)
    return made


@pytest.mark.parametrize(
    "answers",
    [
        [(5, 5)] * 40,
        [(number, 99) for number in range(40)],
        [(5, 9)] * 11 + [(6, 9)] * 11,
        ([(5, 9)] * 10 + [OSError()]) * 4,
    ],
    ids=["nothing to do", "moves", "moves now and then", "no broker"],
)
async def test_others_are_left_alone(answers: list[object]) -> None:
    with pytest.raises(asyncio.CancelledError):
        await watch(answers).run()


async def test_a_stalled_one_ends() -> None:
    with pytest.raises(Stalled):
        await watch([(5, 9)] * 40).run()


async def test_sql_is_an_excuse() -> None:
    with pytest.raises(asyncio.CancelledError):
        await watch([(5, 9)] * 40, excused=True).run()


async def test_it_says_while_nobody_answers() -> None:
    silent = watch([OSError("gone")])
    with pytest.raises(asyncio.CancelledError):
        await silent.run()
    assert silent.problem is not None
    assert "gone" in silent.problem
