"""Follows the status topic until every document of a job is in a final state."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from headrace.kafka_clients import TopicReader
from headrace.status import status_of
from headrace_cli.outcomes import Outcomes

_STALLED_S = 8.0
_STRAGGLERS_S = 2.0
"""A stage may report after the next one has; its numbers should still be counted."""


async def follow(
    reader: TopicReader,
    outcomes: Outcomes,
    *,
    changed: Callable[[], None] = lambda: None,
    stalled: Callable[[], Awaitable[None]] | None = None,
    timeout_s: float | None = None,
) -> bool:
    """Feed ``outcomes`` until it is done; whether it is before the timeout.

    ``reader`` stands where it stood before the first event was sent. ``stalled`` is
    called now and then while nothing is heard.
    """
    straggling: float | None = None
    heard_at = time.monotonic()
    try:
        async with asyncio.timeout(timeout_s):
            async for records in reader.from_now_on():
                events = [event for event in map(status_of, records) if event]
                heard = [outcomes.accept(event) for event in events]
                if any(heard):
                    heard_at = time.monotonic()
                    changed()
                elif stalled and time.monotonic() - heard_at > _STALLED_S:
                    heard_at = time.monotonic()
                    await stalled()
                if not outcomes.done:
                    continue
                if straggling is None:
                    straggling = time.monotonic()
                late = time.monotonic() - straggling > _STRAGGLERS_S
                if outcomes.all_stages_heard or late:
                    return True
    except TimeoutError:
        return outcomes.done
    return outcomes.done
