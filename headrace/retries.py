"""What is said of a failure, and how long to wait after it. Pure: no I/O."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from headrace.errors import DocumentFailure
from headrace.messages import StatusError

LONGEST_RETRY_AFTER_S = 3600.0
"""A longer Retry-After is taken as this: quotas are raised by people meanwhile."""


def describe(error: Exception) -> StatusError:
    """The error for programs and people, within the bounds of the contract."""
    if isinstance(error, DocumentFailure):
        code, message, advice = error.code, error.message, error.advice
        retryable = error.retryable
    else:
        code, retryable = "internal_error", True
        # Not its text: what an unexpected error says may hold the document's.
        message = f"unexpected {type(error).__name__}"
        advice = "See the worker's log; replay the letter once it is fixed."
    return StatusError(
        cut(code, 64), cut(message, 1024), cut(advice, 512), retryable=retryable
    )


def cut(text: str, size: int) -> str:
    """At most ``size`` bytes of UTF-8."""
    return text.encode(errors="replace")[:size].decode(errors="ignore")


@dataclass(frozen=True, slots=True)
class Backoff:
    """Exponential with full jitter: up to the first wait, doubled each time, capped."""

    first_s: float
    cap_s: float = 30.0

    def wait_s(
        self,
        failures: int,
        *,
        random: Callable[[], float],
        retry_after_s: float | None = None,
    ) -> float:
        """How long to wait after the ``failures``-th failure in a row (from 1).

        Never shorter than ``retry_after_s`` (up to an hour), and spread after it so
        that not all who were told the same come back in the same moment.
        """
        # 2**63 would do as well as 2**1000, without the float overflow.
        longest = min(self.cap_s, self.first_s * 2.0 ** min(failures - 1, 63))
        if retry_after_s is None:
            return random() * longest
        told = min(max(retry_after_s, 0.0), LONGEST_RETRY_AFTER_S)
        return told + random() * self.first_s
