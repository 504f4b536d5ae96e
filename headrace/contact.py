"""Whether Kafka answers, for a process that would notice by nothing else.

Whoever has records to send or offsets to commit sees an outage by these. A stage that
has nothing to do reads on without a word: a fetch that fails and one that finds nothing
look alike.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from headrace.clock import Clock

_EVERY_S = 2.0


class Contact:
    """Asks now and then, and remembers when there was an answer.

    Args:
        ask: returns once it has been answered.
        patience_s: for how long there may be none. Shorter than the group's patience
            with its members it would find fault with what mends itself.
    """

    def __init__(
        self, ask: Callable[[], Awaitable[object]], *, patience_s: float, clock: Clock
    ) -> None:
        self._ask = ask
        self._patience_s = patience_s
        self._clock = clock
        self._answered = clock.monotonic()
        self._task: asyncio.Task[None] | None = None

    @property
    def problem(self) -> str | None:
        """That there is no answer, and since when; or ``None``.

        By the clock, not by a failure: a question into a black hole does not fail.
        """
        silent_s = self._clock.monotonic() - self._answered
        if silent_s <= self._patience_s:
            return None
        return f"Kafka has not answered this group's member for {silent_s:.0f} s"

    def start(self) -> None:
        """Ask from now on."""
        self._answered = self._clock.monotonic()
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Ask no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    async def _run(self) -> None:
        while True:
            try:
                async with asyncio.timeout(self._patience_s):
                    await self._ask()
            except Exception:  # noqa: BLE001, S110  whatever it is, it is no answer
                pass
            else:
                self._answered = self._clock.monotonic()
            await self._clock.sleep(_EVERY_S)
