"""The API as its own description has it: whatever is sent, it does not break."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

import pytest
import schemathesis
from headrace_gateway.serving import HttpServer, listen
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable

from headrace.database.keys import Scope
from tests.support.eventually import eventually
from tests.support.gateway_world import gateway_world

EXAMPLES = 8
_ENDLESS = "/v1/events"
"""Its answer does not end; it has tests of its own."""


@schemathesis.serializer("application/x-ndjson")
def lines(_: schemathesis.SerializationContext, value: object) -> bytes:
    return str(value).encode("utf-8", "replace")


class Served:
    """A gateway on a port of its own, in a thread with a loop of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ready = threading.Event()
        self._server: HttpServer | None = None
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))
        self.url = ""
        self.key: dict[str, str] = {}

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(60)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.should_exit = True
        self._thread.join(60)

    async def _serve(self) -> None:
        async with gateway_world(
            self._folder, auth="keys", max_json_bytes=100_000, max_upload_bytes=100_000
        ) as world:
            self.key = await world.key("ann", *Scope)
            listening = listen("127.0.0.1", 0)
            port = listening.getsockname()[1]
            self.url = f"http://127.0.0.1:{port}"
            self._server = HttpServer(world.app, drain_s=2)
            running = asyncio.create_task(self._server.run_on(listening))
            await eventually(lambda: self._server and self._server.started)
            self._ready.set()
            await running


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
        assert answer.status_code < 500, answer.text
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
