from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from headrace.custody import FATAL, SUSPICIOUS, Custody

WINDOW = 8

offsets = st.integers(0, 2**63 - 1)
counts = st.integers(0, 2**31)
custodies = st.builds(
    Custody,
    owner=st.sampled_from(["", "a1b2c3", "other"]),
    deaths=counts,
    until=offsets,
    record=st.integers(-1, 2**63 - 1),
    killed=counts,
    alone=st.booleans(),
)


@given(custodies)
def test_what_is_noted_is_read_again(custody: Custody) -> None:
    assert Custody.read(custody.note) == custody
    assert len(custody.note) < 200, "Kafka takes 4,096 bytes"


@given(st.text() | st.lists(st.text() | offsets.map(str), max_size=8).map(" ".join))
@example("1 me 1 2 3 4 1")
@example("1 me -1 2 3 4 1")
@example(f"1 me 1 {10**30} 3 4 1")
@example("2 me 1 2 3 4 1")
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
        assert (after.deaths, after.killed) == (custody.deaths, custody.killed)
        assert not after.alone


@given(custodies, offsets, offsets)
def test_a_record_inherits_no_deaths_of_another(
    custody: Custody, one: int, other: int
) -> None:
    if one != other:
        begun = custody.begun(one).begun(other)
        assert begun.killed == 0
        assert not begun.fatal(other)


lives = st.lists(
    st.tuples(
        st.integers(0, 5),  # records finished in this life
        st.sampled_from(["alone", "between", "handed over"]),
    ),
    max_size=30,
)


@given(lives)
def test_only_a_record_that_was_alone_at_three_deaths_is_fatal(
    lives: list[tuple[int, str]],
) -> None:
    """Any sequence of lives: how each got on, and how it ended."""
    custody = Custody()
    committed = 0
    died_alone: dict[int, int] = {}
    since_progress = 0
    for number, (finished, end) in enumerate(lives):
        custody = Custody.read(custody.note)
        custody = custody.taken(
            f"p{number}", offset=committed, until=committed + WINDOW
        )
        assert custody.fatal(committed) == (died_alone.get(committed, 0) >= FATAL)
        if custody.cautious:
            assert since_progress >= SUSPICIOUS
        for _ in range(finished):
            if custody.cautious:
                custody = custody.begun(committed).ended()
            committed += 1
            if custody.deaths and committed >= custody.until:
                custody, since_progress = custody.cleared(), 0
        if end == "handed over":
            custody = custody.handed_over()
            continue
        since_progress += 1
        if end == "alone" and custody.cautious:
            custody = custody.begun(committed)
            died_alone[committed] = died_alone.get(committed, 0) + 1


@given(st.integers(0, 3 * WINDOW), st.integers(0, WINDOW), st.data())
def test_poison_is_found_after_a_few_deaths(
    poison: int, committed: int, data: st.DataObject
) -> None:
    """Whatever is committed before each death, as long as it is within the window."""
    committed = min(committed, poison)
    custody = Custody()
    for number in range(100):
        custody = Custody.read(custody.note)
        custody = custody.taken(
            f"p{number}", offset=committed, until=committed + WINDOW
        )
        if not custody.cautious:
            committed = data.draw(st.integers(committed, poison))
        else:
            committed = poison  # what is before it passes, one by one
            if custody.fatal(poison):
                break
            custody = custody.begun(poison)
        if custody.deaths and committed >= custody.until:
            custody = custody.cleared()
    else:
        raise AssertionError("the processes die for ever")
    assert number <= 3 * (poison // WINDOW + 1) + SUSPICIOUS + FATAL
