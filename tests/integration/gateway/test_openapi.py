"""The API as its own description has it: whatever is sent, it does not break."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

import httpx
import pytest
import schemathesis

from tests.support.described_api import check, operations
from tests.support.served_gateway import Served

EXAMPLES = 8
_ENDLESS = "/v1/events"
"""Its answer does not end; it has tests of its own."""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with Served(tmp_path_factory.mktemp("served")) as running:
        yield running


@pytest.fixture(scope="module")
def described(served: Served) -> schemathesis.BaseSchema:
    return schemathesis.openapi.from_url(f"{served.url}/openapi.json")


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


def test_a_browser_runs_nothing_but_what_the_docs_page_needs(served: Served) -> None:
    refused = httpx.get(f"{served.url}/v1/documents")
    assert refused.headers["content-security-policy"].startswith("default-src 'none'")
    page = httpx.get(f"{served.url}/docs")
    policy = page.headers["content-security-policy"]
    for source in re.findall(r'(?:src|href)="https://([^/"]+)', page.text):
        assert source in policy
    assert "frame-ancestors 'none'" in policy
