"""Starts the parts of a stack in order, keeps them running, stops them in reverse."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, TypeVar

from headrace.process import EXIT_CONFIGURATION
from headrace_local.parts import Part, PartFailed

FIRST_BACKOFF_S = 0.5
LONGEST_BACKOFF_S = 10.0
STEADY_S = 60.0
"""A part that ran this long starts again without waiting longer than the first time."""
FAILED_STARTS = 8
"""Starts in a row that never became ready, after which we give up. A record that kills
its process is found at the fifth."""
SAMPLE_S = 0.5

T = TypeVar("T")
Report = Callable[[str, str], None]
"""Is told of a part's name and what happened to it."""


class Supervisor:
    """Runs groups of parts; a group starts together, after the groups before it.

    The parts of ``later`` start ``later_after_s`` after all groups, and nobody waits
    until they have.

    A part that ends is started again, later each time; one that says its settings are
    wrong, or that never becomes ready again, ends the whole (``failure``).
    """

    def __init__(
        self,
        groups: Sequence[Sequence[Part]],
        *,
        report: Report,
        after_group: Callable[[int], Awaitable[None]] | None = None,
        later: Sequence[Part] = (),
        later_after_s: float = 0.0,
        restarted: Callable[[], None] = lambda: None,
    ) -> None:
        self._groups = [list(group) for group in groups]
        self._later = list(later)
        self._later_after_s = later_after_s
        self._report = report
        self._after_group = after_group
        self._restarted = restarted
        self._tasks: list[asyncio.Task[None]] = []
        self._failure: asyncio.Future[None] | None = None
        self.restarts: dict[str, int] = {}
        self.peak_memory = 0
        """Highest sum of all parts' memory seen, in bytes."""

    @property
    def parts(self) -> list[Part]:
        """All parts, in the order of their start."""
        return [*(part for group in self._groups for part in group), *self._later]

    async def start(self) -> None:
        """Start everything; what had started is stopped again if a part fails.

        Raises:
            PartFailed: naming the part and the end of its log.
        """
        self._failure = asyncio.get_running_loop().create_future()
        try:
            for number, group in enumerate(self._groups):
                starting = [
                    asyncio.create_task(self._start_anyway(part)) for part in group
                ]
                try:
                    await asyncio.gather(*starting)
                finally:
                    for task in starting:
                        task.cancel()
                    await asyncio.gather(*starting, return_exceptions=True)
                if self._after_group is not None:
                    await self._after_group(number)
        except BaseException:
            await self.stop()
            raise
        started = [part for part in self.parts if part not in self._later]
        self._tasks = [asyncio.create_task(self._keep(part)) for part in started]
        self._tasks += [
            asyncio.create_task(self._bring_up(part)) for part in self._later
        ]
        self._tasks.append(asyncio.create_task(self._sample()))
        for task in self._tasks:
            task.add_done_callback(self._watcher_ended)

    async def stop(self) -> None:
        """Stop everything, the last started first."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
        for group in (self._later, *reversed(self._groups)):
            await asyncio.gather(*(part.stop() for part in group))
        if self._failure is not None and self._failure.done():
            self._failure.exception()  # nobody may have been waiting for it

    async def while_running(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of ``work``, unless the stack gives up before.

        Raises:
            PartFailed: a part ended for good; the work is cancelled.
        """
        if self._failure is None:
            raise RuntimeError("the supervisor is not started")
        task = asyncio.create_task(work)
        waiting: set[asyncio.Future[Any]] = {task, self._failure}
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                self._failure.result()
            return await task
        finally:
            if not task.done():
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task

    async def _start_anyway(self, part: Part) -> None:
        """Start it, again where a signal ends it: a record of before may kill it."""
        backoff = FIRST_BACKOFF_S
        for left in reversed(range(FAILED_STARTS)):
            try:
                return await part.start()
            except PartFailed as error:
                if not (error.killed and left):
                    raise
            self._report(part.name, f"was killed; starts again in {backoff:g} s")
            await asyncio.sleep(backoff)
            backoff = min(LONGEST_BACKOFF_S, 2 * backoff)
        return None

    async def _bring_up(self, part: Part) -> None:
        """Start what nobody waits for, then keep it running."""
        await asyncio.sleep(self._later_after_s)
        try:
            await self._start_anyway(part)
        except PartFailed as error:
            self._report(part.name, f"does not start, the rest goes on: {error}")
            return
        self._restarted()
        await self._keep(part)

    async def _keep(self, part: Part) -> None:
        backoff = FIRST_BACKOFF_S
        failed = 0
        started = time.monotonic()
        while True:
            code = await part.process.wait()
            if code == EXIT_CONFIGURATION:
                self._give_up(
                    PartFailed(
                        f"the {part.name} refuses its settings:\n"
                        f"{part.process.log_tail()}",
                        configuration=True,
                    )
                )
                return
            if time.monotonic() - started > STEADY_S:
                backoff = FIRST_BACKOFF_S
            self.restarts[part.name] = self.restarts.get(part.name, 0) + 1
            self._report(
                part.name, f"ended ({_ending(code)}); starts again in {backoff:g} s"
            )
            await asyncio.sleep(backoff)
            backoff = min(LONGEST_BACKOFF_S, 2 * backoff)
            started = time.monotonic()
            try:
                await part.start()
            except PartFailed as error:
                failed += 1
                if error.configuration or failed >= FAILED_STARTS:
                    self._give_up(error)
                    return
            else:
                failed = 0
                self._restarted()
                self._report(part.name, "is ready again")

    def _watcher_ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._give_up(error)

    def _give_up(self, error: BaseException) -> None:
        if self._failure is not None and not self._failure.done():
            self._failure.set_exception(error)

    async def _sample(self) -> None:
        while True:
            self.sample()
            await asyncio.sleep(SAMPLE_S)

    def sample(self) -> None:
        """Note how much memory the parts use now."""
        used = sum(part.process.sample() for part in self.parts)
        self.peak_memory = max(self.peak_memory, used)


def _ending(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"
