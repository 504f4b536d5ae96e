"""What is paused, as this gateway has heard; and pausing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Protocol

from headrace.clock import Clock
from headrace.control import Control, Target
from headrace.control_topic import pause, resume
from headrace.errors import SharedFailure
from headrace.handler import Producer
from headrace.messages import Pause
from headrace.topology import Topology
from headrace_gateway.problems import Problem
from headrace_gateway.views import when

_RETRY_AFTER_S = 30
"""People pause, and people take their time."""
_SEEN_WITHIN_S = 5.0
_LOOK_S = 0.05


class Follower(Protocol):
    """See ``ControlFollower``."""

    state: Control

    @property
    def known(self) -> bool:
        """Whether ``state`` means anything yet."""


class Pauses:
    """One per process."""

    def __init__(
        self,
        follower: Follower,
        *,
        producer: Producer,
        topology: Topology,
        clock: Clock,
    ) -> None:
        self._follower = follower
        self._producer = producer
        self._topology = topology
        self._clock = clock

    @property
    def all(self) -> Mapping[Target, Pause]:
        """What is paused.

        Raises:
            SharedFailure: that is not known yet.
        """
        if not self._follower.known:
            raise SharedFailure(
                "broker_unavailable", "the control topic was not read yet"
            )
        return self._follower.state.pauses

    @property
    def collections(self) -> list[tuple[str, str]]:
        """Tenant and name of each collection that is paused, as far as is known."""
        pauses = self._follower.state.pauses
        return [(each.tenant, each.collection) for each in pauses if each.collection]

    def check(self, tenant: str, collection: str) -> None:
        """Take nothing into a collection that is paused.

        What comes while that is not known yet, or in the seconds before it is, the
        loader sets aside.

        Raises:
            Problem: it is.
        """
        found = self._follower.state.collection_paused(tenant, collection)
        if found is not None:
            raise paused_collection(collection, found)

    async def pause(self, target: Target, *, by: str, reason: str) -> Pause:
        """Pause something; returns once this gateway obeys, as it soon will.

        Raises:
            SharedFailure: Kafka does not take it.
        """
        why = Pause(by=by, reason=reason, at_ms=self._clock.now_ms())
        await pause(self._producer, self._topology, target, why=why)
        await self._seen(lambda pauses: pauses.get(target) == why)
        return why

    async def resume(self, target: Target) -> None:
        """Let something go on. Raises as ``pause``."""
        await resume(self._producer, self._topology, target)
        await self._seen(lambda pauses: target not in pauses)

    async def _seen(self, done: Callable[[Mapping[Target, Pause]], bool]) -> None:
        """So that who asks here next finds it done; Kafka has it in any case."""
        try:
            async with asyncio.timeout(_SEEN_WITHIN_S):
                while not done(self._follower.state.pauses):  # noqa: ASYNC110  it tells nobody
                    await asyncio.sleep(_LOOK_S)
        except TimeoutError:
            return


def paused_collection(collection: str, pause_: Pause) -> Problem:
    """503 for what would go into a paused collection."""
    said = f": {pause_.reason}" if pause_.reason else ""
    return Problem(
        503,
        "paused_collection",
        f"the collection {collection} was paused by {pause_.by} at "
        f"{when(pause_.at_ms)}{said}",
        advice="wait until it is resumed, or have it resumed: "
        f"`headrace admin resume --collection {collection}`",
        headers={"Retry-After": str(_RETRY_AFTER_S)},
        paused_by=pause_.by,
        paused_at=when(pause_.at_ms),
        reason=pause_.reason,
    )
