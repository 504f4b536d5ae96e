"""Calls to the provider within all limits, and the judgement whose fault a failure is.

Time waiting (slot, rate) and time in the API are measured apart. The provider's own
retries are off; whoever calls here decides about another try.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import structlog

from headrace.clock import Clock
from headrace.errors import SharedFailure
from headrace.metrics import Metrics
from headrace.retries import Backoff
from headrace_embedder.breaker import Breaker, BreakerState
from headrace_embedder.limits import BatchSize, Rate
from headrace_embedder.providers import EmbeddingProvider, Rejected, Unclear
from headrace_embedder.slots import Slots

KNOWN_GOOD_TEXT = "The wheel turns as fast as the water comes."
"""A provider that refuses it would refuse anything. A number is added to it: an answer
from a cache on the way would say nothing about the provider behind it."""
KNOWN_GOOD_TOKENS = 20
FIRST_REQUESTS = 4
"""Until a provider has answered, it may ask up to three things of its own before."""
PEOPLE_RETRY_S = 60.0
"""What only people can change is tried again this often."""

_FOR_PEOPLE = {
    "provider_quota": "the provider's quota is spent; raise it, or wait for the next",
    "provider_auth": "the provider refuses the key; check OPENAI_API_KEY",
    "provider_misconfigured": "the provider refuses even a plain text; check "
    "OPENAI_BASE_URL, HEADRACE_EMBEDDING_MODEL and HEADRACE_EMBEDDING_DIMENSIONS",
}

_STATE_VALUES = {
    BreakerState.CLOSED: 0,
    BreakerState.HALF_OPEN: 1,
    BreakerState.OPEN: 2,
}


@dataclass(frozen=True, kw_only=True)
class CallLimits:
    """Of the whole stage, as configured; ``Calls.assigned`` takes a share of them."""

    calls: int
    requests_per_minute: int
    tokens_per_minute: int
    deadline_s: float
    batch_tokens: int
    batch_min: int
    batch_max: int


class Calls:
    """The only way from the embedder to its provider.

    Attributes:
        slots: whoever calls ``embed`` has taken one.
        size: how many texts a call may have at the moment.
    """

    def __init__(
        self,
        provider: EmbeddingProvider,
        *,
        limits: CallLimits,
        breaker: Breaker,
        clock: Clock,
        metrics: Metrics,
        backoff: Backoff,
        random: Callable[[], float],
    ) -> None:
        self.slots = Slots(limits.calls)
        self.size = BatchSize(
            minimum=min(limits.batch_min, provider.max_texts),
            maximum=min(limits.batch_max, provider.max_texts),
        )
        self._provider = provider
        self._limits = limits
        self._breaker = breaker
        self._clock = clock
        self._metrics = metrics
        self._backoff = backoff
        self._random = random
        now = clock.monotonic()
        self._requests = Rate(limits.requests_per_minute, now=now)
        self._tokens = Rate(limits.tokens_per_minute, now=now)
        self._call = 0
        self._answered = 0
        """Number of the newest call that was answered well."""
        self._throttled = 0
        self._last_failure = ""
        self._noted = (breaker.state, breaker.reason)
        self._check: asyncio.Task[None] | None = None
        self._looking: asyncio.Task[None] | None = None
        self._log = structlog.get_logger(__name__)

    @property
    def max_tokens(self) -> int:
        """Most tokens of one call: the provider's bound, and what the rate lets by."""
        bound = min(self._provider.max_tokens, self._limits.batch_tokens)
        burst = self._tokens.burst
        return bound if burst is None else min(bound, max(int(burst), 1))

    @property
    def blocked(self) -> str | None:
        """Why no call will succeed before somebody acts, if so, and what to do."""
        reason = self._breaker.reason
        advice = _FOR_PEOPLE.get(reason)
        return None if advice is None else f"{reason}: {advice}"

    def assigned(self, share: float) -> None:
        """Take this share of the stage's limits; always at least one call."""
        now = self._clock.monotonic()
        self.slots.resize(max(int(self._limits.calls * share), 1))
        self._requests.scale(share, now=now)
        self._tokens.scale(share, now=now)

    def check(self) -> None:
        """Send a text that is known to be good, without waiting for the answer.

        At start it finds a wrong key, model or size before any document comes by;
        ``blocked`` then says so.
        """
        self._running_check()

    async def embed(self, texts: Sequence[str], *, tokens: int) -> list[bytes]:
        """One call. Takes over the caller's slot and gives it back at the end.

        Raises:
            SharedFailure, Rejected, Unclear: as ``EmbeddingProvider.embed``; also
                ``SharedFailure`` while calls are paused.
        """
        began = self._clock.monotonic()
        try:
            await self._wait_for_rate(tokens)
            waited = self._clock.monotonic() - began
            self._metrics.provider_wait_seconds.observe(waited)
            self._raise_if_paused()
            return await self._ask(texts, waited=waited, check=False)
        finally:
            if self._breaker.doubtful and not self._checking:
                # The slot goes to the check: what waits for one would fail as well.
                self._check = asyncio.create_task(self._checked())
            else:
                self.slots.release()

    async def admit(self) -> None:
        """Return once calls may go out; the first one after a pause is a small check.

        Raises:
            SharedFailure: calls are paused; ``retry_after`` says for how long.
        """
        while self._breaker.state is not BreakerState.CLOSED:
            if not self._checking:
                if not self._breaker.start_probe(now=self._clock.monotonic()):
                    raise self._paused()
                self._note_state()
            await asyncio.wait({self._running_check()})

    async def others_succeed(self, *, since: int, failures: int) -> None:
        """Return once the provider has answered a call that began after ``since``.

        Where no other call has shown it, a text that is known to be good is sent. A
        failure that is followed by this is the fault of what was in its call.

        Args:
            since: number of the call that failed.
            failures: how often, for the wait before the next try; 0 does not wait.

        Raises:
            SharedFailure: it answered none: calls are paused now.
        """
        # First the judgement, then the wait: a pause may come before that is over.
        while self._answered <= since:
            self._raise_if_paused()
            await asyncio.wait({self._running_check()})
            if self._answered <= since:
                self._raise_if_paused()
                await self._back_off(failures)
                failures += 1
        if failures:
            await self._back_off(failures)

    async def close(self) -> None:
        """Cancel what runs of its own, and wait for its end."""
        # The one that starts checks first.
        for task in (self._looking, self._check):
            if task is not None:
                task.cancel()
                await asyncio.wait({task})

    @property
    def _checking(self) -> bool:
        return self._check is not None and not self._check.done()

    def _running_check(self) -> asyncio.Task[None]:
        """The check that runs, or a new one; never two at once."""
        if self._check is None or self._check.done():
            self._check = asyncio.create_task(self._check_in_turn())
        return self._check

    async def _check_in_turn(self) -> None:
        await self.slots.acquire()
        await self._checked()

    async def _until_mended(self) -> None:
        """Look again and again whether people have acted.

        Records would do it too, but none may come, and the stage would not be ready.
        """
        while self.blocked:
            await self._clock.sleep(self._breaker.wait(now=self._clock.monotonic()))
            with suppress(SharedFailure):
                await self.admit()

    async def _checked(self) -> None:
        """Send the text that is known to be good; the breaker learns the outcome.

        Takes over a slot.
        """
        try:
            await self._wait_for_rate(
                KNOWN_GOOD_TOKENS, requests=1 if self._answered else FIRST_REQUESTS
            )
            if self._breaker.state is not BreakerState.OPEN:
                number = int(self._random() * 10**9)
                await self._ask([f"{KNOWN_GOOD_TEXT} {number}"], waited=0, check=True)
        except Rejected as error:
            self._hold("provider_misconfigured", error.message, seconds=PEOPLE_RETRY_S)
        except (SharedFailure, Unclear):
            pass  # _ask has told the breaker
        finally:
            self._breaker.abandon_probe()
            self.slots.release()
            self._note_state()

    async def _ask(
        self, texts: Sequence[str], *, waited: float, check: bool
    ) -> list[bytes]:
        self._call += 1
        call = self._call
        began = self._clock.monotonic()
        outcome = "cancelled"
        self._metrics.provider_calls.inc()
        try:
            vectors = await self._provide(texts)
        except SharedFailure as error:
            outcome = error.reason
            self._throttle(error, check=check)
            raise self._paused() from error
        except Rejected as error:
            outcome, error.call = error.reason, call
            raise
        except Unclear as error:
            now = self._clock.monotonic()
            outcome, error.call, error.api_seconds = error.reason, call, now - began
            self._last_failure = error.message
            self._breaker.failed(now=now, reason="provider_unavailable", check=check)
            self.size.failed(error.api_seconds)
            raise
        else:
            outcome = "answered"
            self._throttled = 0
            self._answered = max(self._answered, call)
            self._breaker.succeeded(check=check)
            if not check:
                self.size.answered(self._clock.monotonic() - began, texts=len(texts))
            return vectors
        finally:
            seconds = self._clock.monotonic() - began
            self._metrics.provider_calls.dec()
            self._metrics.provider_requests(outcome).inc()
            self._metrics.provider_api_seconds.observe(seconds)
            self._metrics.batch_limit_items.set(self.size.texts)
            self._note_state()
            level = "debug" if outcome == "answered" else "warning"
            getattr(self._log, level)(
                "provider_called",
                outcome=outcome,
                texts=len(texts),
                waiting_seconds=round(waited, 3),
                api_seconds=round(seconds, 3),
            )

    async def _provide(self, texts: Sequence[str]) -> list[bytes]:
        try:
            return await self._provider.embed(texts, deadline=self._limits.deadline_s)
        except (SharedFailure, Rejected, Unclear):
            raise
        except Exception as error:
            # A text may have brought it out; the same text again will tell.
            self._log.exception("provider_broke")
            raise Unclear("internal_error", type(error).__name__) from error

    async def _back_off(self, failures: int) -> None:
        wait = self._backoff.wait_s(max(failures, 1), random=self._random)
        await self._clock.sleep(wait)

    async def _wait_for_rate(self, tokens: int, *, requests: int = 1) -> None:
        for rate, amount in ((self._requests, requests), (self._tokens, tokens)):
            while wait := rate.take(amount, now=self._clock.monotonic()):
                await self._clock.sleep(wait)

    def _throttle(self, error: SharedFailure, *, check: bool) -> None:
        """Pause for as long as the provider says, longer where it said so in vain."""
        if check or self._breaker.state is BreakerState.CLOSED:
            # Calls that ran beside each other are told the same thing.
            self._throttled += 1
            if error.reason == "provider_rate_limited" and not check:
                self.size.limited()
        seconds = error.retry_after or 0.0
        if not seconds or self._throttled > 1:
            wait = self._backoff.wait_s(self._throttled, random=self._random)
            seconds = max(seconds, wait, self._backoff.first_s)
        self._hold(error.reason, str(error), seconds=seconds)

    def _hold(self, reason: str, message: str, *, seconds: float) -> None:
        self._last_failure = message
        self._breaker.hold(seconds, now=self._clock.monotonic(), reason=reason)

    def _raise_if_paused(self) -> None:
        if self._breaker.state is not BreakerState.CLOSED:
            raise self._paused()

    def _paused(self) -> SharedFailure:
        wait = self._breaker.wait(now=self._clock.monotonic())
        reason = self._breaker.reason or "provider_unavailable"
        return SharedFailure(
            reason,
            f"calls to the embeddings provider are paused for {wait:.0f} s: "
            f"{self._last_failure}",
            retry_after=wait,
        )

    def _note_state(self) -> None:
        """Tell the metric, and the log where calls begin to be paused or go on."""
        state, reason = self._breaker.state, self._breaker.reason
        self._metrics.breaker_state.set(_STATE_VALUES[state])
        before, self._noted = self._noted, (state, reason)
        if self._noted == before or state is BreakerState.HALF_OPEN:
            return
        if state is BreakerState.CLOSED:
            self._log.info("provider_resumed")
            return
        if self.blocked and (self._looking is None or self._looking.done()):
            self._looking = asyncio.create_task(self._until_mended())
        # A rate limit is what a busy provider says; everything else may need people.
        alarming = reason != "provider_rate_limited"
        getattr(self._log, "error" if alarming else "warning")(
            "provider_paused",
            reason=reason,
            seconds=round(self._breaker.wait(now=self._clock.monotonic()), 1),
            error=self._last_failure,
            advice=_FOR_PEOPLE.get(reason, "it goes on by itself"),
        )
