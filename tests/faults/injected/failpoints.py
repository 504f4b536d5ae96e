"""Points in a process's work where it dies, stops or fails when told to.

A file says where and how, ``after_poll:kill9@3``: at the third time from now on. It is
looked at each time, so that a running process can be armed. Before anything happens the
file is renamed, so that it happens once and whoever armed it sees that it did.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

HIT = ".hit"


class Failpoints:
    """Counts how often each point was passed since it was armed."""

    def __init__(self, file: str) -> None:
        self._file = Path(file)
        self._armed = ""
        self._passed = 0

    def due(self, point: str) -> str | None:
        """What is to be done at this point, if its time has come."""
        try:
            armed = self._file.read_text()
        except FileNotFoundError:
            self._armed = ""
            return None
        name, _, what = armed.partition(":")
        if name != point:
            return None
        if armed != self._armed:
            self._armed, self._passed = armed, 0
        self._passed += 1
        action, _, at = what.partition("@")
        if self._passed < int(at or 1):
            return None
        self._file.replace(f"{self._file}{HIT}")
        self._armed = ""
        return action

    def passed(self, point: str) -> None:
        """Do what is armed for this point, if its time has come.

        Raises:
            RuntimeError: that was armed.
        """
        action = self.due(point)
        if action is None:
            return
        if action == "kill9":
            os.kill(os.getpid(), signal.SIGKILL)
        elif action == "sigstop":
            os.kill(os.getpid(), signal.SIGSTOP)
        else:
            raise RuntimeError(f"failpoint {point}")


def install(file: str) -> None:
    """Put the points around the product's seams, by patching their classes."""
    # Only now: the product must find its modules as they are when it imports them.
    from headrace.producer import KafkaProducer  # noqa: PLC0415

    points = Failpoints(file)
    KafkaProducer.send = _around(
        KafkaProducer.send,
        before=lambda: points.passed("before_produce"),
        after=lambda: points.passed("after_produce_before_commit"),
    )
    if "headrace_gateway" in sys.orig_argv:
        _in_gateway(points)
    elif "headrace_registry" not in sys.orig_argv:
        _in_stage(points.passed)


def _in_stage(passed: Callable[[str], None]) -> None:
    from headrace_indexer.batch import BatchWriter  # noqa: PLC0415

    from headrace import wire  # noqa: PLC0415
    from headrace.kafka_source import KafkaSource  # noqa: PLC0415
    from headrace.work import Worker  # noqa: PLC0415

    fetch = KafkaSource.fetch

    @functools.wraps(fetch)
    async def fetched(*args: Any, **kwargs: Any) -> Any:
        records = await fetch(*args, **kwargs)
        if records:
            passed("after_poll")
        return records

    commit = KafkaSource.commit

    @functools.wraps(commit)
    async def committed(*args: Any, **kwargs: Any) -> None:
        passed("before_commit")
        committing = asyncio.ensure_future(commit(*args, **kwargs))
        try:
            # The request is written in these turns, its answer comes in a later one.
            for _ in range(3):
                await asyncio.sleep(0)
            passed("during_commit")
            await asyncio.shield(committing)
        except asyncio.CancelledError:
            committing.cancel()
            raise
        passed("after_commit")

    KafkaSource.fetch = fetched
    KafkaSource.commit = committed
    Worker.attempt = _around(Worker.attempt, after=lambda: passed("mid_batch"))
    BatchWriter._remove = _around(
        BatchWriter._remove, before=lambda: passed("between_upsert_and_cleanup")
    )
    for decode in ("event", "loaded_text", "chunk_slice", "embedded_slice"):
        name = f"decode_{decode}"
        setattr(wire, name, _decoding(getattr(wire, name), passed))


def _in_gateway(points: Failpoints) -> None:
    """Between each pair of steps of an upload."""
    from headrace_gateway.front import _Exchange  # noqa: PLC0415
    from headrace_gateway.intake import Intake  # noqa: PLC0415
    from headrace_gateway.relay import Relay  # noqa: PLC0415

    from headrace.objects import Objects  # noqa: PLC0415

    passed = points.passed
    put, once, made, send = Objects.put, Intake._once, Intake.__init__, _Exchange.send

    @functools.wraps(put)
    async def stored(self: Objects, key: str, data: Any) -> Any:
        async def pieces() -> AsyncIterator[bytes]:
            async for piece in data:
                yield piece
                passed("amid_bytes")

        done = await put(self, key, data if isinstance(data, bytes) else pieces())
        passed("after_bytes")
        return done

    @functools.wraps(once)
    async def recorded(self: Intake, tenant: str, asked: Any, act: Any) -> Any:
        async def acted(connection: Any) -> Any:
            accepted = await act(connection)
            passed("before_record_commit")
            return accepted

        return await once(self, tenant, asked, acted)

    @functools.wraps(made)
    def making(self: Intake, *args: Any, committed: Any, **kwargs: Any) -> None:
        def told() -> None:
            passed("after_record_commit")
            committed()

        made(self, *args, committed=told, **kwargs)

    @functools.wraps(send)
    async def answered(self: Any, message: Any) -> None:
        if message.get("status") == 202 and points.due("before_answer"):
            # All else goes on, until somebody kills the process.
            await asyncio.Event().wait()
        await send(self, message)

    Objects.put = stored
    Intake._once = recorded
    Intake.__init__ = making
    _Exchange.send = answered
    Relay._settle = _around(
        Relay._settle,
        before=lambda: passed("before_outbox_settled"),
        after=lambda: passed("after_outbox_settled"),
    )


def _around(
    method: Callable[..., Any],
    *,
    before: Callable[[], None] = lambda: None,
    after: Callable[[], None] = lambda: None,
) -> Callable[..., Any]:
    @functools.wraps(method)
    async def wrapped(*args: Any, **kwargs: Any) -> Any:
        before()
        result = method(*args, **kwargs)
        if inspect.isawaitable(result):
            result = await result
        after()
        return result

    return wrapped


def _decoding(
    decode: Callable[..., Any], passed: Callable[[str], None]
) -> Callable[..., Any]:
    @functools.wraps(decode)
    def decoded(*args: Any, **kwargs: Any) -> Any:
        result = decode(*args, **kwargs)
        passed("after_decode")
        return result

    return decoded
