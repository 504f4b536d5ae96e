"""Points in a stage's work where it dies, stops or fails when told to.

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
from collections.abc import Callable
from pathlib import Path
from typing import Any

HIT = ".hit"


class Failpoints:
    """Counts how often each point was passed since it was armed."""

    def __init__(self, file: str) -> None:
        self._file = Path(file)
        self._armed = ""
        self._passed = 0

    def passed(self, point: str) -> None:
        """Do what is armed for this point, if its time has come.

        Raises:
            RuntimeError: that was armed.
        """
        try:
            armed = self._file.read_text()
        except FileNotFoundError:
            self._armed = ""
            return
        name, _, what = armed.partition(":")
        if name != point:
            return
        if armed != self._armed:
            self._armed, self._passed = armed, 0
        self._passed += 1
        action, _, at = what.partition("@")
        if self._passed < int(at or 1):
            return
        self._file.replace(f"{self._file}{HIT}")
        self._armed = ""
        if action == "kill9":
            os.kill(os.getpid(), signal.SIGKILL)
        elif action == "sigstop":
            os.kill(os.getpid(), signal.SIGSTOP)
        else:
            raise RuntimeError(f"failpoint {point}")


def install(file: str) -> None:
    """Put the points around the product's seams, by patching their classes."""
    # Only now: the product must find its modules as they are when it imports them.
    from headrace_indexer.batch import BatchWriter  # noqa: PLC0415

    from headrace import wire  # noqa: PLC0415
    from headrace.kafka_source import KafkaSource  # noqa: PLC0415
    from headrace.producer import KafkaProducer  # noqa: PLC0415
    from headrace.work import Worker  # noqa: PLC0415

    points = Failpoints(file)
    passed = points.passed

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
    KafkaProducer.send = _around(
        KafkaProducer.send,
        before=lambda: passed("before_produce"),
        after=lambda: passed("after_produce_before_commit"),
    )
    Worker.attempt = _around(Worker.attempt, after=lambda: passed("mid_batch"))
    BatchWriter._remove = _around(
        BatchWriter._remove, before=lambda: passed("between_upsert_and_cleanup")
    )
    for decode in ("event", "loaded_text", "chunk_slice", "embedded_slice"):
        name = f"decode_{decode}"
        setattr(wire, name, _decoding(getattr(wire, name), passed))


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
