"""What a provider says with an error, and how long it asks us to wait."""

from __future__ import annotations

import httpx2
import openai
import pytest
from headrace_embedder.providers import Rejected, Unclear
from headrace_embedder.providers.openai_errors import classify, retry_after

from headrace.errors import SharedFailure

NOON = 1_792_411_200.0
"""2026-10-19 12:00:00 UTC."""


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after-ms": "1500", "retry-after": "60"}, 1.5),
        ({"retry-after": "Mon, 19 Oct 2026 12:10:00 GMT"}, 600),
        ({"retry-after": "Mon, 19 Oct 2026 11:00:00 GMT"}, 0),
        ({"retry-after": "Mon, 19 Oct 2026 12:10:00"}, 600),
        (
            {
                "retry-after": "Mon, 19 Oct 2026 18:00:05 GMT",
                "date": "Mon, 19 Oct 2026 18:00:00 GMT",
            },
            5,
        ),
        ({"retry-after": "7", "date": "Mon, 19 Oct 2026 18:00:00 GMT"}, 7),
        ({"retry-after": "Mon, 19 Oct 2026 12:10:00 GMT", "date": "now"}, 600),
        ({"retry-after": "Mon, 99 Oct 2026 12:10:00 GMT"}, None),
        ({"retry-after": "86400"}, 3600),
        ({"retry-after": "-3"}, 0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": ""}, None),
    ],
)
def test_retry_after_in_every_form(
    headers: dict[str, str], seconds: float | None
) -> None:
    assert seconds == retry_after(headers, now=NOON)


def error(code: int, *, kind: str | None = None) -> openai.APIStatusError:
    request = httpx2.Request("POST", "http://provider/v1/embeddings")
    response = httpx2.Response(code, request=request, headers={"retry-after": "9"})
    body = {"code": kind, "type": kind, "message": "no"}
    return openai.APIStatusError("no", response=response, body=body)


@pytest.mark.parametrize(
    ("code", "kind", "reason"),
    [
        (429, None, "provider_rate_limited"),
        (429, "insufficient_quota", "provider_quota"),
        (402, None, "provider_quota"),
        (401, "invalid_api_key", "provider_auth"),
        (403, None, "provider_auth"),
        (404, "model_not_found", "provider_misconfigured"),
        (308, None, "provider_misconfigured"),
    ],
)
def test_what_all_texts_share_is_a_shared_failure(
    code: int, kind: str | None, reason: str
) -> None:
    found = classify(error(code, kind=kind))

    assert isinstance(found, SharedFailure)
    assert reason == found.reason
    assert found.retry_after == (9 if reason == "provider_rate_limited" else 60)


@pytest.mark.parametrize("code", [400, 413, 422])
def test_a_refused_content_is_rejected(code: int) -> None:
    assert isinstance(classify(error(code)), Rejected)


@pytest.mark.parametrize("code", [408, 409, 500, 502, 503, 504, 529])
def test_a_server_error_is_unclear(code: int) -> None:
    assert isinstance(classify(error(code)), Unclear)
