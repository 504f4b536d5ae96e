"""One try at a record: the handler, and the dead letter when it is given up."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from enum import StrEnum

import structlog

from headrace.assignment import Item
from headrace.errors import DocumentFailure, SharedFailure
from headrace.handler import Delivery, Handler, Record
from headrace.headers import count_of
from headrace.messages import StatusError
from headrace.metrics import Metrics
from headrace.retries import Backoff, describe

_log = structlog.get_logger(__name__)

REPLAYS = "headrace-replays"
"""Header that counts how often people have replayed a record."""


_OUTAGE_WAIT_S = 10.0
"""At most; on average half of it comes on top of each outage."""


class Outcome(StrEnum):
    """How a try ended."""

    DONE = "done"
    DEAD_LETTER = "dead_letter"
    RETRY = "retry"
    HOLD = "hold"
    """As retry, and nothing new is started of its partition meanwhile."""


@dataclass(frozen=True, slots=True)
class Result:
    """The outcome and, where there is a next try, when and why."""

    outcome: Outcome
    wait_s: float = 0.0
    reason: str = ""


_DONE = Result(Outcome.DONE)
_DEAD_LETTER = Result(Outcome.DEAD_LETTER)

GiveUp = Callable[[Item, StatusError], Awaitable[None]]
"""Writes the dead letter and reports it; raises as ``Producer.send``."""


class Worker:
    """Does tries and says what comes next; keeps no state of its own."""

    def __init__(
        self,
        handler: Handler,
        *,
        give_up: GiveUp,
        attempts: int,
        backoff: Backoff,
        random: Callable[[], float],
        metrics: Metrics,
    ) -> None:
        self._handler = handler
        self._give_up = give_up
        self._attempts = attempts
        self._backoff = backoff
        self._outage_backoff = replace(
            backoff, cap_s=min(backoff.cap_s, _OUTAGE_WAIT_S)
        )
        self._random = random
        self._metrics = metrics

    async def attempt(self, item: Item) -> Result:
        """One try; only ``CancelledError`` gets out."""
        if item.given_up is None:
            try:
                await self._handler.handle(
                    Delivery(
                        item.record,
                        item.lane,
                        attempt=item.failures + 1,
                        replays=count_of(item.record.header(REPLAYS)),
                    )
                )
            except asyncio.CancelledError as error:
                if _asked_to_end():
                    raise
                # Something that the handler waited for was cancelled, not we. To
                # pass it on would leave the record in flight for ever.
                result = self._failed(item, RuntimeError(f"inner {error!r}"))
            except Exception as error:  # noqa: BLE001  its class decides
                result = self._failed(item, error)
            else:
                return _DONE
            if result is not None:
                return result
        assert item.given_up is not None  # noqa: S101  set by _failed
        try:
            await self._give_up(item, item.given_up)
        except Exception as error:  # noqa: BLE001  not committed, whatever it is
            return self._hold(item, _as_shared(error))
        self._metrics.dead_letters(item.given_up.code).inc()
        return _DEAD_LETTER

    def _failed(self, item: Item, error: Exception) -> Result | None:
        """What comes after a failure; ``None`` where the record is given up."""
        if isinstance(error, SharedFailure):
            return self._hold(item, error)
        item.outages, item.outage = 0, ""
        item.failures += 1
        described = describe(error)
        where = _where(item.record)
        if not isinstance(error, DocumentFailure):
            _log.error("unexpected error", **where, exc_info=error)
        if not described.retryable or item.failures >= self._attempts:
            item.given_up = described
            _log.warning(
                "record given up",
                **where,
                code=described.code,
                reason=described.message,
                attempts=item.failures,
            )
            return None
        self._metrics.retries(described.code).inc()
        wait_s = self._backoff.wait_s(item.failures, random=self._random)
        return Result(Outcome.RETRY, wait_s, described.code)

    def _hold(self, item: Item, error: SharedFailure) -> Result:
        item.outages += 1
        item.outage = error.reason if error.retry_after is None else ""
        self._metrics.retries(error.reason).inc()
        wait_s = self._outage_backoff.wait_s(
            item.outages, random=self._random, retry_after_s=error.retry_after
        )
        if item.outages == 1:
            _log.warning(
                "shared failure, trying again without limit",
                **_where(item.record),
                code=error.reason,
                reason=str(error),
                wait_s=round(wait_s, 1),
            )
        return Result(Outcome.HOLD, wait_s, error.reason)


def _asked_to_end() -> bool:
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0


def _as_shared(error: Exception) -> SharedFailure:
    if isinstance(error, SharedFailure):
        return error
    _log.error("a dead letter cannot be written", exc_info=error)
    return SharedFailure("dead_letter_failed", f"unexpected {type(error).__name__}")


def _where(record: Record) -> dict[str, object]:
    return {
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
    }
