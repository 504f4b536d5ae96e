"""The errors a handler may raise. The class decides what the loop does. Pure: no I/O.

========================  ==============================================================
class                     what the consuming loop does
========================  ==============================================================
``SharedFailure``         pauses the partition, tries again without limit, reports why;
                          nothing is dead-lettered
``DocumentFailure``       tries again with backoff while ``retryable`` and attempts are
                          left, then dead-letters; the partition goes on
``Unreadable``            dead-letters at once, original bytes kept
any other exception       counts as a retryable ``DocumentFailure`` with code
                          ``internal_error``
``CancelledError``        is never caught
========================  ==============================================================
"""

from __future__ import annotations


class SharedFailure(Exception):
    """Something all documents share is down: broker, store, provider, object store.

    Attributes:
        reason: short stable code, a metric label (``store_unavailable``).
        retry_after: seconds to wait before the next try, where the other side said.
    """

    def __init__(
        self, reason: str, message: str, *, retry_after: float | None = None
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.retry_after = retry_after


class DocumentFailure(Exception):
    """This document cannot be processed, whatever happens to others.

    Attributes:
        code: short stable code (``blocked_url``), at most 64 bytes.
        message: what and why, for people, without secrets.
        advice: what to do about it.
        retryable: whether another attempt may succeed by itself.
    """

    def __init__(
        self, code: str, message: str, *, advice: str = "", retryable: bool = False
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.advice = advice
        self.retryable = retryable


class Unreadable(DocumentFailure):
    """The record's bytes are not a message of the contract."""

    def __init__(self, code: str, message: str, *, advice: str = "") -> None:
        super().__init__(code, message, advice=advice, retryable=False)


class ConfigurationError(Exception):
    """The process cannot run as configured; it exits with status 78.

    The message names the setting and what to do.
    """
