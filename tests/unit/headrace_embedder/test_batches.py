"""The queue: bounds, order, and suspects going by themselves."""

from __future__ import annotations

import asyncio

from headrace_embedder.batches import Batch, Queue, Text, Waiter, Wanted
from hypothesis import given
from hypothesis import strategies as st


def wanted(name: str, *, tokens: int = 10, waiters: int = 1) -> Wanted:
    text = Text(name, tokens=tokens, key=name.encode())
    # Nothing here awaits it.
    loop = asyncio.new_event_loop()
    loop.close()
    waiter = Waiter(1, loop.create_future())
    return Wanted(text, waiters=[waiter] * waiters)


def take(queue: Queue, texts: int = 100, tokens: int = 10**6) -> Batch | None:
    return queue.take(texts=texts, tokens=tokens, now=0)


def names(batch: Batch | None) -> list[str]:
    return [] if batch is None else [one.text.text for one in batch.wanted]


@given(
    tokens=st.lists(st.integers(1, 50), min_size=1, max_size=40),
    texts=st.integers(1, 10),
    most=st.integers(1, 60),
)
def test_batches_hold_every_text_once_in_order_and_within_bounds(
    tokens: list[int], texts: int, most: int
) -> None:
    queue = Queue(drop=lambda _: None)
    for number, count in enumerate(tokens):
        queue.add(wanted(str(number), tokens=count))
    found = []
    while (batch := take(queue, texts, most)) is not None:
        assert len(batch.wanted) <= texts
        assert batch.tokens <= most or len(batch.wanted) == 1
        found += names(batch)

    assert found == [str(number) for number in range(len(tokens))]


def test_a_text_that_nobody_waits_for_is_dropped() -> None:
    dropped: list[Wanted] = []
    queue = Queue(drop=dropped.append)
    alone = wanted("alone", waiters=0)
    queue.add(alone)

    assert take(queue) is None
    assert dropped == [alone]


def test_suspects_come_back_first_and_apart() -> None:
    queue = Queue(drop=lambda _: None)
    queue.paused(Batch([wanted("a"), wanted("b")], began=0, suspect=True))
    for name in "xabcy":
        queue.add(wanted(name))

    batches = [take(queue), take(queue)]
    assert [names(one) for one in batches] == [["a", "b"], ["x", "c", "y"]]
    assert [one.suspect for one in batches if one] == [True, False]


def test_no_more_suspects_go_together_than_failed_together() -> None:
    queue = Queue(drop=lambda _: None)
    for pair in ("ab", "cd"):
        both = [wanted(name) for name in pair]
        queue.paused(Batch(both, began=0, suspect=True))
    for name in "abcd":
        queue.add(wanted(name))

    assert [names(take(queue)), names(take(queue))] == [["a", "b"], ["c", "d"]]


def test_what_a_text_did_by_itself_is_counted_on() -> None:
    queue = Queue(drop=lambda _: None)
    queue.paused(Batch([wanted("a")], began=0, suspect=True, failures=3))
    queue.add(wanted("a"))
    batch = take(queue)

    assert batch is not None
    assert (batch.failures, batch.worn_out) == (3, False)


def test_a_batch_that_failed_only_in_an_outage_is_under_no_suspicion() -> None:
    queue = Queue(drop=lambda _: None)
    queue.paused(Batch([wanted("a"), wanted("b")], began=0))
    queue.add(wanted("a"))
    queue.add(wanted("x"))

    assert names(take(queue)) == ["a", "x"]


def test_a_suspect_that_nobody_waits_for_stays_one() -> None:
    queue = Queue(drop=lambda _: None)
    queue.paused(Batch([wanted("a")], began=0, suspect=True))
    queue.add(wanted("a", waiters=0))
    assert take(queue) is None
    queue.add(wanted("a"))
    queue.add(wanted("x"))

    assert names(take(queue)) == ["a"]
