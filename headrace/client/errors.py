"""What the API refuses. Pure: no I/O."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class ApiError(Exception):
    """The gateway refused.

    Attributes:
        status: HTTP status.
        code: short stable code.
        detail: what is wrong.
        advice: what to do about it.
        problem: all that the answer said (``existing_id``).
        retry_after_s: when to come again, where it said so.
    """

    def __init__(
        self, status: int, problem: Mapping[str, Any], retry_after_s: float | None
    ) -> None:
        self.status = status
        self.code = str(problem.get("code", "unknown"))
        self.detail = str(problem.get("detail", f"the gateway answered {status}"))
        self.advice = str(problem.get("advice", ""))
        self.problem = problem
        self.retry_after_s = retry_after_s
        super().__init__(f"{self.code}: {self.detail}")
