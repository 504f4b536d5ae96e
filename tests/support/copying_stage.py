"""A stage as a process: copies each text to the chunks topic, and writes it down.

Run as ``python -m tests.support.copying_stage``; the ledger is a file to which each
finished record appends one line.
"""

from __future__ import annotations

import asyncio
import os
import random

from headrace.errors import DocumentFailure
from headrace.handler import Delivery
from headrace.lifecycle import StageContext, main
from headrace.messages import Stage
from headrace.settings import StageSettings


class CopyingSettings(StageSettings):
    ledger: str
    work_s: float = 0.01


class CopyingHandler:
    def __init__(self, context: StageContext[CopyingSettings]) -> None:
        self._context = context
        self._ledger = os.open(
            context.settings.ledger, os.O_APPEND | os.O_CREAT | os.O_WRONLY
        )

    async def handle(self, delivery: Delivery) -> None:
        record = delivery.record
        await asyncio.sleep(random.random() * 2 * self._context.settings.work_s)
        if record.value == b"poison":
            raise DocumentFailure("poison", "as asked for")
        outputs = self._context.topology.outputs(Stage.CHUNKER)
        await self._context.producer.send(
            outputs[delivery.lane],
            key=record.key,
            value=record.value,
            partition=record.partition,
        )
        line = f"{record.topic} {record.partition} {record.offset} {record.topic_id}\n"
        os.write(self._ledger, line.encode())

    def assigned(self, share: float) -> None:
        return None

    def ready(self) -> str | None:
        return None

    async def close(self) -> None:
        os.close(self._ledger)


async def build(context: StageContext[CopyingSettings]) -> CopyingHandler:
    return CopyingHandler(context)


if __name__ == "__main__":
    main(Stage.CHUNKER, CopyingSettings, build)
