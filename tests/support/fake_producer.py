"""Producer, status reporter and dead letters that remember; they fail on command."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from aiokafka.partitioner import murmur2

from headrace.handler import Headers
from headrace.messages import DeadLetter, OutputPosition, StatusEvent


@dataclass(frozen=True, slots=True)
class Sent:
    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]

    def header(self, name: str) -> bytes | None:
        return dict(self.headers).get(name)


class FakeProducer:
    """``headrace.handler.Producer``; every send takes one turn of the loop."""

    def __init__(self, *, partitions: int = 6) -> None:
        self.sent: list[Sent] = []
        self.partitions = partitions
        self._offsets: Counter[tuple[str, int]] = Counter()
        self._failures: list[tuple[Callable[[str], bool], Exception]] = []

    def fail_next(
        self, error: Exception, *, times: int = 1, topic: str | None = None
    ) -> None:
        """The next sends (to ``topic``, if given) raise; nothing is recorded."""

        def matches(sent_to: str) -> bool:
            return topic is None or sent_to == topic

        self._failures += [(matches, error)] * times

    def to(self, topic: str) -> list[Sent]:
        """What went to a topic, in order."""
        return [sent for sent in self.sent if sent.topic == topic]

    async def send(
        self,
        topic: str,
        *,
        key: bytes | None,
        value: bytes | None,
        partition: int | None = None,
        headers: Headers = (),
    ) -> OutputPosition:
        await asyncio.sleep(0)
        for failure in self._failures:
            if failure[0](topic):
                self._failures.remove(failure)
                raise failure[1]
        if partition is None:
            partition = (murmur2(key or b"") & 0x7FFFFFFF) % self.partitions
        offset = self._offsets[topic, partition]
        self._offsets[topic, partition] += 1
        self.sent.append(Sent(topic, partition, offset, key, value, tuple(headers)))
        return OutputPosition(topic, partition, offset)


class FakeStatusReporter:
    """``headrace.handler.StatusReporter``."""

    def __init__(self) -> None:
        self.events: list[StatusEvent] = []
        self._failures: list[Exception] = []

    def fail_next(self, error: Exception, *, times: int = 1) -> None:
        self._failures += [error] * times

    async def report(self, event: StatusEvent) -> None:
        await asyncio.sleep(0)
        if self._failures:
            raise self._failures.pop(0)
        self.events.append(event)


class FakeDeadLetters:
    """``headrace.handler.DeadLetters``."""

    def __init__(self) -> None:
        self.letters: list[DeadLetter] = []
        self._failures: list[Exception] = []

    def fail_next(self, error: Exception, *, times: int = 1) -> None:
        self._failures += [error] * times

    async def put(self, letter: DeadLetter) -> None:
        await asyncio.sleep(0)
        if self._failures:
            raise self._failures.pop(0)
        self.letters.append(letter)
