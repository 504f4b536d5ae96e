"""Writes down who did what with the admin API, before it is done."""

from __future__ import annotations

import json
from typing import Any

from headrace.clock import Clock
from headrace.handler import Producer
from headrace.topology import Topology
from headrace_gateway.principals import Principal


class Audit:
    """The append-only audit topic."""

    def __init__(self, producer: Producer, *, topology: Topology, clock: Clock) -> None:
        self._producer = producer
        self._topic = topology.audit
        self._clock = clock

    async def record(self, principal: Principal, action: str, **what: Any) -> None:
        """Note an act; what cannot be noted is not done.

        Raises:
            SharedFailure: Kafka does not take it.
        """
        said = {
            "action": action,
            "by": principal.name,
            "tenant": principal.tenant,
            "at_ms": self._clock.now_ms(),
            "request": what,
        }
        await self._producer.send(
            self._topic,
            key=principal.name.encode(),
            value=json.dumps(said, ensure_ascii=False).encode(),
        )
