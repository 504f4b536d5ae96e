"""What an error of an OpenAI-compatible API means for us. Pure: no I/O.

Two of the codes come with more than one status in the wild, so the code in the body
counts before the status.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime

from openai import APIConnectionError, APIStatusError, APITimeoutError, OpenAIError

from headrace.errors import SharedFailure
from headrace_embedder.providers.port import Rejected, Unclear

LONGEST_RETRY_AFTER_S = 3600.0
"""A provider that asks for more is asked again after this."""
CONFIGURATION_RETRY_S = 60.0
"""Quota, key and settings change by people only; asked again this often."""
DETAIL_CHARACTERS = 300

_QUOTA = frozenset({"insufficient_quota", "billing_hard_limit_reached"})


def classify(error: OpenAIError) -> SharedFailure | Rejected | Unclear:
    """The error of the port that stands for one of the SDK's."""
    if isinstance(error, APITimeoutError):
        return Unclear("provider_timeout", "the provider did not answer in time")
    if isinstance(error, APIConnectionError):
        cause = error.__cause__ or error
        return Unclear("provider_unreachable", f"{type(cause).__name__}: {cause}")
    if isinstance(error, APIStatusError):
        return _of_status(error)
    return Unclear("provider_failed", f"{type(error).__name__}: {error}")


def _of_status(error: APIStatusError) -> SharedFailure | Rejected | Unclear:
    status = error.status_code
    text = f"status {status}: {error.message[:DETAIL_CHARACTERS]}"
    if error.code in _QUOTA or error.type in _QUOTA or status == 402:
        return _configuration("provider_quota", text)
    if status == 429:
        wait = retry_after(error.response.headers, now=time.time())
        return SharedFailure("provider_rate_limited", text, retry_after=wait)
    if status in {401, 403}:
        return _configuration("provider_auth", text)
    if status in {400, 413, 422}:
        return Rejected("rejected_by_provider", text)
    if status >= 500 or status in {408, 409, 425}:
        return Unclear("provider_failed", text)
    # 404, 405, 410, a redirect: the address or the model is wrong for every text.
    return _configuration("provider_misconfigured", text)


def _configuration(reason: str, text: str) -> SharedFailure:
    return SharedFailure(reason, text, retry_after=CONFIGURATION_RETRY_S)


def retry_after(headers: Mapping[str, str], *, now: float) -> float | None:
    """Seconds that the provider asks for; at most ``LONGEST_RETRY_AFTER_S``.

    ``retry-after-ms`` counts before ``retry-after``, which is seconds or an HTTP date.
    ``None`` where there is neither, or none that can be read.

    Args:
        headers: of the answer; names in any case, as an HTTP client gives them.
        now: wall clock in seconds since 1970, for a date in an answer that does not
            say its own: the two clocks may differ by more than the wait.
    """
    seconds = _number(headers.get("retry-after-ms"))
    if seconds is not None:
        seconds /= 1000
    else:
        given = headers.get("retry-after")
        seconds = _number(given)
        until = _time(given) if seconds is None else None
        if until is not None:
            sent = _time(headers.get("date"))
            seconds = until - (now if sent is None else sent)
    if seconds is None:
        return None
    return min(max(seconds, 0.0), LONGEST_RETRY_AFTER_S)


def _number(text: str | None) -> float | None:
    try:
        number = float(text) if text else None
    except ValueError:
        return None
    # "nan" is a number to float() but no time to wait.
    return number if number is not None and number == number else None  # noqa: PLR0124


def _time(date: str | None) -> float | None:
    """Seconds since 1970 of an HTTP date."""
    try:
        parsed = parsedate_to_datetime(date or "")
    except (ValueError, OverflowError):
        return None
    # Without a zone it would be taken for this machine's time.
    return parsed.replace(tzinfo=parsed.tzinfo or UTC).timestamp()
