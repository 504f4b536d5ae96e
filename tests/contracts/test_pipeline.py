"""A few schedules of the simulated pipeline; the fault suite runs thousands."""

from __future__ import annotations

from hypothesis import seed
from hypothesis.stateful import run_state_machine_as_test

from tests.faults.l1.machine import PipelineMachine, schedules
from tests.faults.l1.simulation import simulated


def test_documents_end_at_their_newest_whatever_happens() -> None:
    with simulated():
        run_state_machine_as_test(seed(1)(PipelineMachine), settings=schedules(40))
