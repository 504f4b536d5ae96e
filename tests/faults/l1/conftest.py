"""Fixtures of the simulation."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.faults.injected import mutations
from tests.faults.l1.simulation import simulated


@pytest.fixture(scope="session", autouse=True)
def _mutated() -> None:
    """At this level the product runs in this process, and so do its mutations."""
    name = os.environ.get("HEADRACE_MUTATION", "")
    if name:
        mutations.install(name)


@pytest.fixture(autouse=True)
def _simulated() -> Iterator[None]:
    with simulated():
        yield
