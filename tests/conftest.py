"""Fixtures that every kind of test may use."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator

import pytest
from headrace_local.broker import Broker

from tests.support.broker import running_broker

_numbers = itertools.count(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whoever asks for the broker carries the marker ``kafka``."""
    for item in items:
        if "broker" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.kafka)


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """One real Kafka for the whole session; use ``topic_prefix`` to be alone on it."""
    with running_broker(tmp_path_factory.mktemp("kafka")) as running:
        yield running


@pytest.fixture
def topic_prefix(request: pytest.FixtureRequest) -> str:
    """A prefix of topics and groups that no other test uses."""
    name = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower())[:40].strip("-")
    return f"t{next(_numbers)}-{name}"
