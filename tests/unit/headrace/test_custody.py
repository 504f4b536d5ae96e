from __future__ import annotations

import random
from collections import Counter

from hypothesis import example, given
from hypothesis import strategies as st

from headrace.custody import FATAL, Custody

WINDOW = 8
MOST_AT_ONCE = 64

offsets = st.integers(0, 2**63 - 1)
custodies = st.builds(
    Custody,
    owner=st.sampled_from(["", "a1b2c3", "other"]),
    until=offsets,
    working=st.frozensets(offsets),
    suspects=st.dictionaries(offsets, st.integers(0, 2**31)),
)


@given(custodies)
def test_what_is_noted_is_read_again(custody: Custody) -> None:
    assert Custody.read(custody.note) == custody


@given(st.text() | st.lists(st.text() | offsets.map(str), max_size=6).map(" ".join))
@example("2 me 1 2,3 4:5")
@example("2 me 1 2,x 4:5")
@example("2 me 1 2,3 4")
@example("2 me -1 2,3 4:5")
@example(f"2 me 1 {10**30} 4:5")
@example("1 me 1 2 3 4 5 1")
def test_no_note_of_others_stops_anybody(note: str) -> None:
    custody = Custody.read(note)
    assert custody == Custody() or Custody.read(custody.note) == custody


def test_a_note_stays_within_what_kafka_takes_however_many_die() -> None:
    custody, first = Custody(), 10**14
    for life in range(20):
        custody = custody.taken(f"{life:012}", offset=first, until=first + 10**6)
        for number in range(MOST_AT_ONCE):
            custody = custody.starts(first + life * MOST_AT_ONCE + number)
        assert len(custody.note) < 4096
    assert len(custody.suspects) >= MOST_AT_ONCE


def test_nothing_is_noted_of_what_was_handed_over_in_order() -> None:
    taken = Custody().taken("me", offset=10, until=18)
    assert taken.note
    assert not taken.handed_over().note


@given(custodies, offsets)
def test_who_hands_over_or_comes_back_alive_is_no_death(
    custody: Custody, offset: int
) -> None:
    for after in (
        custody.handed_over().taken("me", offset=offset, until=offset + WINDOW),
        custody.taken(custody.owner, offset=offset, until=offset + WINDOW),
    ):
        assert after.suspects.items() <= custody.suspects.items()
        assert after.until in (0, custody.until)
        assert not after.working


@given(custodies, offsets)
def test_who_dies_with_nothing_to_do_leaves_no_doubt(
    custody: Custody, offset: int
) -> None:
    if custody.owner:
        after = custody.taken("me", offset=offset, until=offset)
        assert after == Custody("me")


@given(custodies, offsets)
def test_doubt_ends_where_all_that_is_doubtful_is_done(
    custody: Custody, offset: int
) -> None:
    after = custody.past(offset)
    rest = {at for at in custody.suspects if at >= offset}
    assert set(after.suspects) == rest
    assert after.doubtful == bool(rest or custody.until > offset)
    assert after.doubtful or after == Custody(custody.owner)


chances = st.builds(random.Random, st.integers(0, 2**32))
ENDS = ("handed over", "between", "killed")


@given(st.lists(st.tuples(st.integers(0, 5), st.sampled_from(ENDS), chances)))
def test_only_a_record_that_was_alone_at_three_deaths_is_fatal(
    lives: list[tuple[int, str, random.Random]],
) -> None:
    """Any sequence of lives: how many rounds of work each has, and how it ends."""
    custody, done = Custody(), set[int]()
    died_alone: Counter[int] = Counter()
    for number, (rounds, end, chance) in enumerate(lives):
        committed = min(set(range(len(done) + 1)) - done)
        custody = Custody.read(custody.note)
        custody = custody.taken(
            f"p{number}", offset=committed, until=committed + WINDOW
        )
        for left in range(rounds, -1, -1):
            undone = [at for at in range(len(done) + WINDOW) if at not in done]
            begun = chance.sample(undone, chance.randint(1, min(4, len(undone))))
            suspects = [at for at in begun if at in custody.suspects]
            begun = suspects[:1] or begun
            for at in begun:
                if custody.fatal(at):
                    assert died_alone[at] >= FATAL
                if custody.doubtful:
                    custody = custody.starts(at)
            if not left and end == "killed":
                died_alone.update(suspects[:1])
                break
            for at in begun:
                well = chance.random() < 0.8
                custody = custody.ended(at, done=well)
                done |= {at} if well else set()
            custody = custody.past(min(set(range(len(done) + 1)) - done))
        if end == "handed over":
            custody = custody.handed_over()


@given(st.integers(0, 3 * WINDOW), st.data())
def test_poison_is_found_after_a_few_deaths(poison: int, data: st.DataObject) -> None:
    """Whatever is committed before each death, and whatever else was in work."""
    custody, committed = Custody(), 0
    for number in range(100):
        custody = Custody.read(custody.note).taken(
            f"p{number}", offset=committed, until=committed + WINDOW
        )
        if custody.fatal(poison):
            break
        committed = data.draw(st.integers(committed, poison))
        custody = custody.past(committed)
        others = data.draw(st.sets(st.integers(committed, poison + WINDOW), max_size=3))
        if custody.doubtful:
            alone = poison in custody.suspects
            for at in (
                {poison} if alone else {poison} | (others - set(custody.suspects))
            ):
                custody = custody.starts(at)
    else:
        raise AssertionError("the processes die for ever")
    assert number <= 2 * (poison // WINDOW + 1) + 2 + FATAL
