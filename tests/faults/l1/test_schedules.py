"""Thousands of schedules of everything that may happen, each ending with the oracle."""

from __future__ import annotations

import pytest
from hypothesis import seed
from hypothesis.stateful import run_state_machine_as_test

from tests.faults.l1.machine import (
    PipelineMachine,
    how_many,
    schedules,
    shrinks,
    which_seed,
)
from tests.faults.reporting import Row


@pytest.mark.row(
    "1 to 4",
    level=1,
    injected="seeded schedules of crashes at any await, rebalances, zombies, outages",
)
def test_row_01_to_04_everything_in_any_order(row: Row) -> None:
    number, count = which_seed(), how_many()
    try:
        run_state_machine_as_test(
            seed(number)(PipelineMachine), settings=schedules(count, shrink=shrinks())
        )
    except BaseException as error:
        error.add_note(
            f"replay with HEADRACE_L1_SEED={number} HEADRACE_L1_SCHEDULES={count}"
        )
        raise
    row.result(note=f"{count} schedules")
