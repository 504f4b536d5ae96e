"""What the producer makes of sessions that end; ``tests/integration`` has a broker."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiokafka.errors import MessageSizeTooLargeError
from aiokafka.structs import RecordMetadata

from headrace import producer as module
from headrace.errors import DocumentFailure
from headrace.metrics import Metrics
from headrace.producer import KafkaProducer
from headrace.settings import Settings
from tests.support.fake_clock import FakeClock


class RefusingSession:
    """A broker that finds every record too large."""

    def __init__(self, _options: dict[str, Any]) -> None:
        return None

    async def start(self) -> None:
        return None

    async def stop(self, *, timeout_s: float) -> None:
        return None

    async def give_up(self) -> None:
        return None

    def known_partitions(self, _topic: str) -> int:
        return 0

    async def partitions(self, _topic: str) -> int:
        return 1

    async def queue(
        self, _topic: str, **_record: object
    ) -> asyncio.Future[RecordMetadata]:
        refused = asyncio.get_running_loop().create_future()
        refused.set_exception(MessageSizeTooLargeError())
        return refused

    async def send_alone(self, _topic: str, **_record: object) -> RecordMetadata:
        raise MessageSizeTooLargeError


async def test_a_refused_record_leaves_no_problem_when_nothing_is_sent_after_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "ProducerSession", RefusingSession)
    producer = KafkaProducer(Settings(), metrics=Metrics("test"), clock=FakeClock())
    assert producer.problem == "the producer is not connected"
    await producer.start()
    assert producer.problem is None

    with pytest.raises(DocumentFailure, match="too large"):
        await producer.send("vectors", key=b"k", value=b"v")

    assert producer.problem is None
    await producer.stop(timeout_s=1)
