from __future__ import annotations

import random
from collections import defaultdict
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.messages import Lane
from headrace.scheduling import Schedule


@dataclass(frozen=True)
class Item:
    number: int
    key: bytes | None
    lane: Lane = Lane.INTERACTIVE


def take_all(schedule: Schedule[Item]) -> list[int]:
    taken = []
    while (item := schedule.take()) is not None:
        taken.append(item.number)
    return taken


def test_one_key_runs_in_sequence_over_both_lanes() -> None:
    schedule: Schedule[Item] = Schedule(10)
    first, second = Item(1, b"a", Lane.BULK), Item(2, b"a")
    schedule.add(first)
    schedule.add(second)
    schedule.add(Item(3, b"b"))
    assert take_all(schedule) == [3, 1]
    schedule.finish(first)
    assert take_all(schedule) == [2]
    schedule.finish(second)
    assert not schedule.busy(b"a")


def test_a_try_again_keeps_its_key_and_frees_its_slot() -> None:
    schedule: Schedule[Item] = Schedule(1)
    item = Item(1, b"a")
    for added in (item, Item(2, b"a"), Item(3, b"b")):
        schedule.add(added)
    assert take_all(schedule) == [1]
    schedule.wait(item)
    assert take_all(schedule) == [3]
    schedule.finish(Item(3, b"b"))
    schedule.again(item)
    assert take_all(schedule) == [1]


def test_what_starts_at_once_after_a_wait_takes_a_slot_like_any_other() -> None:
    schedule: Schedule[Item] = Schedule(1)
    first, second = Item(1, b"a"), Item(2, None)
    schedule.add(first)
    schedule.add(second)
    schedule.add(Item(3, None))
    assert take_all(schedule) == [1]
    schedule.wait(first)
    assert take_all(schedule) == [2]
    schedule.resume(first)
    schedule.finish(second)
    assert take_all(schedule) == []
    schedule.finish(first)
    assert take_all(schedule) == [3]
    assert not schedule.busy(b"a")


def test_interactive_first_and_a_share_for_bulk() -> None:
    schedule: Schedule[Item] = Schedule(100)
    for number in range(20):
        schedule.add(Item(number, None, Lane.BULK))
        schedule.add(Item(100 + number, None, Lane.INTERACTIVE))
    order = take_all(schedule)[:12]
    assert [n < 100 for n in order] == [False, False, False, True] * 3


def test_bulk_leaves_slots_for_what_is_interactive() -> None:
    schedule: Schedule[Item] = Schedule(8)
    for number in range(20):
        schedule.add(Item(number, None, Lane.BULK))
    assert take_all(schedule) == [0, 1, 2, 3, 4, 5]
    schedule.add(Item(100, None))
    assert take_all(schedule) == [100]


def test_a_single_slot_serves_both_lanes() -> None:
    schedule: Schedule[Item] = Schedule(1)
    schedule.add(Item(1, None, Lane.BULK))
    assert take_all(schedule) == [1]


items = st.lists(
    st.tuples(st.sampled_from([None, b"a", b"b", b"c"]), st.sampled_from(list(Lane))),
    max_size=60,
)


@given(items, st.integers(1, 9), st.builds(random.Random, st.integers(0, 2**32)))
def test_everything_runs_once_and_keys_keep_their_order(
    kinds: list[tuple[bytes | None, Lane]], slots: int, chance: random.Random
) -> None:
    schedule: Schedule[Item] = Schedule(slots)
    todo = [Item(n, key, lane) for n, (key, lane) in enumerate(kinds)]
    finished: dict[bytes | None, list[int]] = defaultdict(list)
    running: list[Item] = []
    waiting: list[Item] = []
    added = 0
    while added < len(todo) or running or waiting or schedule.has_ready:
        if added < len(todo) and chance.random() < 0.5:
            schedule.add(todo[added])
            added += 1
        while (item := schedule.take()) is not None:
            assert item.key is None or item.key not in [r.key for r in running]
            running.append(item)
        assert len(running) == schedule.out <= slots
        if running:
            item = running.pop(chance.randrange(len(running)))
            if chance.random() < 0.3:
                schedule.wait(item)
                waiting.append(item)
            else:
                schedule.finish(item)
                finished[item.key].append(item.number)
        if waiting and chance.random() < 0.5:
            schedule.again(waiting.pop())
    ended = sorted(number for numbers in finished.values() for number in numbers)
    assert ended == [item.number for item in todo]
    for key in (b"a", b"b", b"c"):
        assert finished[key] == sorted(finished[key])
        assert not schedule.busy(key)


@pytest.mark.parametrize("key", [None, b"a"])
def test_adopted_items_hold_slot_and_key(key: bytes | None) -> None:
    schedule: Schedule[Item] = Schedule(1)
    item = Item(1, key)
    schedule.adopt(item)
    schedule.add(Item(2, key))
    assert take_all(schedule) == []
    schedule.finish(item)
    assert take_all(schedule) == [2]
