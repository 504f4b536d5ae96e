from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from headrace.custody import FATAL, Custody, Doubt

WINDOW = 8

offsets = st.integers(0, 2**63 - 1)
custodies = st.builds(
    Custody,
    owner=st.sampled_from(["", "a1b2c3", "other"]),
    doubt=st.sampled_from(list(Doubt)),
    until=offsets,
    begun=offsets,
    record=st.integers(-1, 2**63 - 1),
    killed=st.integers(0, 2**31),
    alone=st.booleans(),
)


@given(custodies)
def test_what_is_noted_is_read_again(custody: Custody) -> None:
    assert Custody.read(custody.note) == custody
    assert len(custody.note) < 200, "Kafka takes 4,096 bytes"


@given(st.text() | st.lists(st.text() | offsets.map(str), max_size=9).map(" ".join))
@example("1 me 1 2 3 4 5 1")
@example("1 me 9 2 3 4 5 1")
@example("1 me 1 -2 3 4 5 1")
@example(f"1 me 1 {10**30} 3 4 5 1")
@example("2 me 1 2 3 4 5 1")
def test_no_note_of_others_stops_anybody(note: str) -> None:
    custody = Custody.read(note)
    assert custody == Custody() or Custody.read(custody.note) == custody


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
        assert (after.doubt, after.killed) == (custody.doubt, custody.killed)
        assert not after.alone


@given(custodies, offsets)
def test_who_dies_with_nothing_to_do_leaves_no_doubt(
    custody: Custody, offset: int
) -> None:
    if custody.owner:
        after = custody.taken("me", offset=offset, until=offset)
        assert after == Custody("me")


@given(custodies, offsets, offsets)
def test_a_record_inherits_no_deaths_of_another(
    custody: Custody, one: int, other: int
) -> None:
    if one != other:
        begun = custody.starts(one).starts(other)
        assert not begun.fatal(other) or begun.doubt is not Doubt.ONE


ENDS = ("handed over", "between", "in the midst of the next")

lives = st.lists(st.tuples(st.integers(0, 5), st.sampled_from(ENDS)), max_size=40)


@given(lives)
def test_only_a_record_that_was_alone_at_three_deaths_is_fatal(
    lives: list[tuple[int, str]],
) -> None:
    """Any sequence of lives: how many records each finished, and how it ended."""
    custody, committed = Custody(), 0
    died_alone: dict[int, int] = {}
    for number, (finished, end) in enumerate(lives):
        custody = Custody.read(custody.note)
        custody = custody.taken(
            f"p{number}", offset=committed, until=committed + WINDOW
        )
        if custody.fatal(committed):
            assert died_alone.get(committed, 0) >= FATAL
        for _ in range(finished):
            custody = custody.starts(committed).ended()
            committed += 1
            if custody.doubt and committed >= custody.until:
                custody = custody.cleared()
        if end == "handed over":
            custody = custody.handed_over()
        elif end == "in the midst of the next":
            custody = custody.starts(committed)
            if custody.doubt is Doubt.ONE:
                died_alone[committed] = died_alone.get(committed, 0) + 1


@given(st.integers(0, 3 * WINDOW), st.data())
def test_poison_is_found_after_a_few_deaths(poison: int, data: st.DataObject) -> None:
    """Whatever is committed before each death, and however much was begun."""
    custody, committed = Custody(), 0
    for number in range(100):
        custody = Custody.read(custody.note).taken(
            f"p{number}", offset=committed, until=committed + WINDOW
        )
        if custody.doubt is Doubt.ONE:
            committed = poison  # what is before it passes, one by one
            if custody.fatal(poison):
                break
        else:
            committed = data.draw(st.integers(committed, poison))
        if custody.doubt and committed >= custody.until:
            custody = custody.cleared()
        if custody.doubt:
            custody = custody.starts(poison)
    else:
        raise AssertionError("the processes die for ever")
    assert number <= 2 * (poison // WINDOW + 1) + 2 + FATAL
