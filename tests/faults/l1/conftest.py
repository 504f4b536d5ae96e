"""Fixtures of the simulation."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults.l1.simulation import simulated


@pytest.fixture(autouse=True)
def _simulated() -> Iterator[None]:
    with simulated():
        yield
