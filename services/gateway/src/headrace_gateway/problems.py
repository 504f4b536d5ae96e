"""Errors as callers see them: problem details (RFC 9457). Pure: no I/O."""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

MEDIA_TYPE = "application/problem+json"


class Problem(Exception):
    """Ends a request with an error that says what, why and what to do.

    Attributes:
        status: HTTP status.
        code: short stable code for programs.
        detail: what is wrong, for people.
        advice: what to do about it.
        headers: of the answer.
        extra: further members (``existing_id``).
    """

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        advice: str = "",
        headers: Mapping[str, str] | None = None,
        **extra: Any,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.advice = advice
        self.headers = dict(headers or {})
        self.extra = extra

    def body(self, *, request_id: str) -> bytes:
        """The document."""
        members: dict[str, Any] = {
            "type": f"urn:headrace:problem:{self.code}",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "code": self.code,
            "detail": self.detail,
            "request_id": request_id,
        }
        if self.advice:
            members["advice"] = self.advice
        return json.dumps(members | self.extra).encode()


def too_large(what: str, limit: int) -> Problem:
    """413."""
    return Problem(
        413,
        "too_large",
        f"{what} is larger than {limit:,} bytes",
        advice="send less, or put it into an object store and send its URI",
    )


def not_found(what: str) -> Problem:
    """404, also for what belongs to another tenant: nobody learns that it is there."""
    return Problem(404, "not_found", f"there is no such {what}")


def invalid(detail: str, *, code: str = "invalid_request", **extra: Any) -> Problem:
    """422."""
    return Problem(422, code, detail, **extra)


def unavailable(
    code: str, detail: str, *, retry_after_s: int, status: int = 503
) -> Problem:
    """503, or 429 where the caller is the reason."""
    return Problem(
        status,
        code,
        detail,
        advice=f"try again after {retry_after_s} s",
        headers={"Retry-After": str(retry_after_s)},
    )
