from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

from aiokafka.client import ConnectionGroup

from headrace.kafka_topic_ids import topic_ids

NONE_SUCH = 3


class Client:
    """A broker's answers, in order on each connection; a fetch waits on one."""

    def get_random_node(self) -> int:
        return 0

    async def send(
        self,
        _node: int,
        _request: object,
        *,
        group: ConnectionGroup = ConnectionGroup.DEFAULT,
    ) -> Any:
        if group is ConnectionGroup.DEFAULT:
            await asyncio.Event().wait()
        topics = [(0, "texts", "an id", ()), (NONE_SUCH, "chunks", "", ())]
        return SimpleNamespace(topics=topics)


async def test_ids_are_told_while_a_fetch_waits_for_records() -> None:
    async with asyncio.timeout(10):
        ids = await topic_ids(Client(), ["texts", "chunks"])
    assert ids == {"texts": "an id"}
