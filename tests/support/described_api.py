"""Requests that an API's own description allows, and such that it does not."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable


@schemathesis.serializer("application/x-ndjson")
def lines(_: schemathesis.SerializationContext, value: object) -> bytes:
    return str(value).encode("utf-8", "replace")


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
