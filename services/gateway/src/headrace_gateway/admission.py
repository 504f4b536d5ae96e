"""Who is let in, and who is asked to come back: 503 for us, 429 for the caller.

Three things bound what is accepted: how long the oldest event ahead waits, how many
documents are being accepted at this moment, and each tenant's own share. The decision
is ``backpressure.admit``'s; here is what it is decided from.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from headrace.backpressure import Intake, IntakeLimits, Verdict, admit
from headrace.clock import Clock
from headrace_gateway.principals import Principal
from headrace_gateway.problems import Problem, unavailable

_MOST_TENANTS = 10_000
_LONGEST_RETRY_S = 60

_AHEAD = ("ahead", "outbox")
_REASONS = {
    "ahead": "documents wait too long to be loaded",
    "outbox": "accepted documents do not reach Kafka",
    "database": "the database does not answer",
    "accepting": "too many documents are being accepted at this moment",
    "rate": "the tenant sends more requests than its rate",
    "tenant_accepting": "the tenant has too many uploads under way",
    "tenant_unfinished": "the tenant has too many documents under way",
}


@dataclass(slots=True)
class _Bucket:
    tokens: float
    filled_at: float


class RateLimits:
    """A bucket of requests for each tenant; a rate of 0 is no limit."""

    def __init__(self, *, per_s: float, burst: int, clock: Clock) -> None:
        self._per_s = per_s
        self._burst = burst
        self._clock = clock
        self._buckets: dict[str, _Bucket] = {}

    def wait_s(self, tenant: str) -> float:
        """Take a token; else how long until there is one."""
        if not self._per_s:
            return 0.0
        now = self._clock.monotonic()
        bucket = self._buckets.get(tenant)
        if bucket is None:
            self._forget_full(now)
            bucket = self._buckets[tenant] = _Bucket(self._burst, now)
        grown = bucket.tokens + (now - bucket.filled_at) * self._per_s
        bucket.tokens, bucket.filled_at = min(grown, self._burst), now
        if bucket.tokens < 1:
            return (1 - bucket.tokens) / self._per_s
        bucket.tokens -= 1
        return 0.0

    def _forget_full(self, now: float) -> None:
        """Names come from tokens: they must not pile up."""
        if len(self._buckets) < _MOST_TENANTS:
            return
        self._buckets = {
            tenant: bucket
            for tenant, bucket in self._buckets.items()
            if bucket.tokens + (now - bucket.filled_at) * self._per_s < self._burst
        }


class Admission:
    """Decides about requests; one per process.

    Args:
        limits: of what is accepted.
        tenant_accepting: of one tenant at once.
        retry_after_s: what is told at least.
        ahead_s: age of the oldest event that the loader has not read.
        outbox_s: age of the oldest event that has not reached Kafka; ``None`` where
            the database does not answer.
        rates: of requests.
        refused: told the reason of each refusal.
    """

    def __init__(
        self,
        *,
        limits: IntakeLimits,
        tenant_accepting: int,
        retry_after_s: int,
        ahead_s: Callable[[], float],
        outbox_s: Callable[[], float | None],
        rates: RateLimits,
        refused: Callable[[str], None],
    ) -> None:
        self._limits = limits
        self._tenant_accepting = tenant_accepting
        self._retry_after_s = retry_after_s
        self._ahead_s = ahead_s
        self._outbox_s = outbox_s
        self._rates = rates
        self._refused = refused
        self._accepting: Counter[str] = Counter()

    @property
    def accepting(self) -> int:
        """Documents being accepted at this moment."""
        return self._accepting.total()

    def problem(self) -> str | None:
        """Why uploads are refused now, or ``None``; a label and for people."""
        outbox_s = self._outbox_s()
        if outbox_s is None:
            return "database"
        intake = Intake(
            ahead_age_s=self._ahead_s(), outbox_age_s=outbox_s, accepting=self.accepting
        )
        decision = admit(intake, self._limits)
        return None if decision.verdict is Verdict.ADMIT else decision.reason

    def check_rate(self, principal: Principal) -> None:
        """Count a request.

        Raises:
            Problem: 429.
        """
        wait_s = self._rates.wait_s(principal.tenant)
        if wait_s:
            raise self._refusal("rate", status=429, wait_s=wait_s)

    @contextmanager
    def slot(self, principal: Principal, *, stored: bool = False) -> Iterator[None]:
        """Held while a document is being accepted.

        Args:
            principal: whose.
            stored: it is kept until there is room ahead, however long that takes.

        Raises:
            Problem: 503 or 429.
        """
        reason = self.problem()
        if reason and not (stored and reason in _AHEAD):
            raise self._refusal(reason, status=503)
        tenant = principal.tenant
        if self._accepting[tenant] >= self._tenant_accepting:
            raise self._refusal("tenant_accepting", status=429)
        self._accepting[tenant] += 1
        try:
            yield
        finally:
            self._accepting[tenant] -= 1
            if not self._accepting[tenant]:
                del self._accepting[tenant]

    def over_quota(self) -> Problem:
        """429 for a tenant with too many documents under way."""
        return self._refusal("tenant_unfinished", status=429)

    def _refusal(self, reason: str, *, status: int, wait_s: float = 0.0) -> Problem:
        self._refused(reason)
        seconds = min(max(self._retry_after_s, int(wait_s) + 1), _LONGEST_RETRY_S)
        return unavailable(
            f"busy_{reason}", _REASONS[reason], retry_after_s=seconds, status=status
        )
