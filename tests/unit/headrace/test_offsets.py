from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
)

from headrace.offsets import OffsetTracker


class PartitionMachine(RuleBasedStateMachine):
    """A partition read by one owner after another; each may end or be killed.

    Checks what Kafka would see: an offset is committed only when every record below it
    was finished by somebody, and a whole finished prefix is always committable.
    """

    def __init__(self) -> None:
        super().__init__()
        self.log: list[int] = []
        self.committed = 0
        self.done: set[int] = set()
        self.assign()

    def assign(self) -> None:
        self.tracker = OffsetTracker()
        self.waiting = [offset for offset in self.log if offset >= self.committed]
        self.delivered: list[int] = []
        self.running: dict[int, int] = {}

    @rule(gap=st.integers(0, 3))
    def append(self, gap: int) -> None:
        offset = (self.log[-1] + 1 if self.log else 0) + gap
        self.log.append(offset)
        self.waiting.append(offset)

    @precondition(lambda self: self.waiting)
    @rule(size=st.integers(0, 100))
    def deliver(self, size: int) -> None:
        offset = self.waiting.pop(0)
        self.tracker.deliver(offset, size=size)
        self.delivered.append(offset)
        self.running[offset] = size

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        offset = data.draw(st.sampled_from(sorted(self.running)))
        del self.running[offset]
        self.done.add(offset)
        self.tracker.finish(offset)

    @precondition(lambda self: self.done)
    @rule(data=st.data())
    def finish_again(self, data: st.DataObject) -> None:
        offset = data.draw(st.sampled_from(sorted(self.done)))
        if offset not in self.running:
            self.tracker.finish(offset)

    @rule()
    def commit(self) -> None:
        if self.tracker.committable is not None:
            self.committed = self.tracker.committable

    @rule()
    def revoke(self) -> None:
        """Commit what is finished; the rest is somebody else's now."""
        self.commit()
        self.assign()

    @rule()
    def crash(self) -> None:
        self.assign()

    @invariant()
    def nothing_unfinished_is_skipped(self) -> None:
        committable = self.tracker.committable
        if committable is None:
            assert not self.delivered
            return
        assert all(o in self.done for o in self.log if o < committable)
        assert committable >= self.committed

    @invariant()
    def every_finished_prefix_can_be_committed(self) -> None:
        if not self.delivered:
            return
        unfinished = [o for o in self.delivered if o in self.running]
        expected = unfinished[0] if unfinished else self.delivered[-1] + 1
        assert self.tracker.committable == expected

    @invariant()
    def in_flight_is_what_runs(self) -> None:
        assert self.tracker.in_flight == len(self.running)
        assert self.tracker.in_flight_bytes == sum(self.running.values())


TestPartition = PartitionMachine.TestCase
TestPartition.settings = settings(max_examples=200, stateful_step_count=40)


def test_head_still_running() -> None:
    """2,585 runs alone while those behind it are done: it must be read again."""
    tracker = OffsetTracker()
    for offset in range(2585, 2590):
        tracker.deliver(offset)
    for offset in range(2586, 2590):
        tracker.finish(offset)
    assert tracker.committable == 2585
    tracker.finish(2585)
    assert tracker.committable == 2590


def test_fresh_partition() -> None:
    """A partition that was never committed starts at 0, and 0 is not "nothing"."""
    tracker = OffsetTracker()
    assert tracker.committable is None
    for offset in range(7):
        tracker.deliver(offset)
    assert tracker.committable == 0
    tracker.finish(5)
    tracker.finish(6)
    assert tracker.committable == 0


def test_gaps_are_not_waited_for() -> None:
    tracker = OffsetTracker()
    for offset in (10, 17, 18):
        tracker.deliver(offset)
        tracker.finish(offset)
    assert tracker.committable == 19


def test_a_finish_of_something_never_delivered_changes_nothing() -> None:
    tracker = OffsetTracker()
    tracker.deliver(4, size=7)
    tracker.finish(3)
    tracker.finish(5)
    assert (tracker.committable, tracker.in_flight_bytes) == (4, 7)


def test_out_of_order_delivery_is_refused() -> None:
    tracker = OffsetTracker()
    tracker.deliver(4)
    with pytest.raises(ValueError, match="offset 4 delivered after 4"):
        tracker.deliver(4)
