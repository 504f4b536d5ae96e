"""What the consuming loop wants of Kafka; ``kafka_source`` gives it, tests fake it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol

from headrace.handler import Record


class Partition(NamedTuple):
    """A partition of a topic."""

    topic: str
    number: int


class Position(NamedTuple):
    """Where the group stands in a partition."""

    offset: int
    """The next one to read: the committed one, else the first there is."""
    end: int
    """One past the last record there is."""
    note: str = ""
    """What went with the last commit."""


class CommitRefused(Exception):
    """The group has moved on: the partitions may be somebody else's. Never repeat."""


class CommitFailed(Exception):
    """The broker did not answer in time or could not commit; a later one may."""


class Listener(Protocol):
    """Told by the source, in turn, before and after each change of assignment."""

    async def revoked(self, *, lost: bool) -> None:
        """All partitions are taken away when this returns.

        ``lost``: they are gone already and must not be committed.
        """

    async def assigned(
        self, partitions: frozenset[Partition], *, counts: Mapping[str, int]
    ) -> None:
        """These are ours from now on; ``counts`` has the partitions of each topic."""


class Source(Protocol):
    """A member of a consumer group."""

    async def start(self, listener: Listener) -> None:
        """Join the group; the listener is told when partitions come."""

    async def fetch(self, *, max_records: int, timeout_s: float) -> Sequence[Record]:
        """Records of partitions that are not paused; maybe none.

        Offsets of a partition rise. Records are of the current assignment at the
        moment of return. Waits without limit while the group is rebalancing; may be
        cancelled only when no other call follows.

        Raises:
            Exception: the member cannot go on.
        """

    def pause(self, partitions: Iterable[Partition]) -> None:
        """Return no records of these, until resumed or revoked; nothing is lost."""

    def resume(self, partitions: Iterable[Partition]) -> None:
        """Return their records again."""

    async def positions(
        self, partitions: Iterable[Partition]
    ) -> Mapping[Partition, Position]:
        """What the group has committed, before the first fetch of an assignment.

        Raises:
            CommitFailed: the broker did not answer in time.
        """

    def note(self, partition: Partition, text: str) -> None:
        """Send this with each later commit of a partition, until it is revoked."""

    async def commit(self, offsets: Mapping[Partition, int]) -> None:
        """Commit the next offsets to read, within a few seconds.

        Raises:
            CommitRefused: see there.
            CommitFailed: see there.
        """

    async def stop(self) -> None:
        """Leave the group; the listener is not told any more."""
