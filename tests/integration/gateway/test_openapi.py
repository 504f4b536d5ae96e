"""The API as its own description has it: whatever is sent, it does not break."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable

from tests.support.served_gateway import Served

EXAMPLES = 8
_ENDLESS = "/v1/events"
"""Its answer does not end; it has tests of its own."""


@schemathesis.serializer("application/x-ndjson")
def lines(_: schemathesis.SerializationContext, value: object) -> bytes:
    return str(value).encode("utf-8", "replace")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with Served(tmp_path_factory.mktemp("served")) as running:
        yield running


@pytest.fixture(scope="module")
def described(served: Served) -> schemathesis.BaseSchema:
    return schemathesis.openapi.from_url(f"{served.url}/openapi.json")


def operations(
    described: schemathesis.BaseSchema,
) -> Iterator[schemathesis.APIOperation]:
    for found in described.get_all_operations():
        yield found.ok()


def check(
    operation: schemathesis.APIOperation,
    judge: Callable[[schemathesis.Case], None],
    *,
    examples: int,
) -> None:
    """Try an operation with what its description allows, and what it does not."""
    for mode in schemathesis.GenerationMode:
        quick = settings(
            max_examples=examples,
            deadline=None,
            database=None,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        try:
            cases = operation.as_strategy(generation_mode=mode)
            quick(given(case=cases)(judge))()
        except Unsatisfiable:
            continue  # some have nothing that could be wrong


def test_nothing_breaks_it(described: schemathesis.BaseSchema, served: Served) -> None:
    seen: Counter[int] = Counter()

    def judge(case: schemathesis.Case) -> None:
        answer = case.call(headers=served.key)
        seen[answer.status_code] += 1
        # There is no Kafka here, and what needs it says so.
        away = case.path.startswith("/v1/admin") and answer.status_code == 503
        assert answer.status_code < 500 or away, answer.text
        if answer.status_code >= 400:
            assert answer.headers["content-type"] == ["application/problem+json"]
            assert answer.json()["status"] == answer.status_code

    for operation in operations(described):
        if operation.path != _ENDLESS:
            check(operation, judge, examples=EXAMPLES)
    # Else the descriptions are not good enough to get anywhere.
    assert {200, 202, 404, 422} <= set(seen), seen


def test_without_a_key_nothing_answers(
    described: schemathesis.BaseSchema, served: Served
) -> None:
    def judge(case: schemathesis.Case) -> None:
        answer = case.call(headers={"Authorization": "Bearer no"})
        assert answer.status_code == 401, answer.text

    for operation in operations(described):
        check(operation, judge, examples=2)
