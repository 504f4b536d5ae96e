"""Turns records of the two topics into rows. Pure: no I/O.

A record that cannot be read is passed over: the topic is the truth, not these tables,
and no document waits for one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from headrace.database.merging import (
    Row,
    heartbeat_row,
    status_row,
    tombstone_row,
)
from headrace.errors import Unreadable
from headrace.wire import decode_heartbeat, decode_status


class Message(Protocol):
    """A record as Faust gives it."""

    partition: int
    offset: int
    key: bytes | None
    value: bytes | None

    @property
    def timestamp(self) -> float | None:
        """In seconds."""


@dataclass(frozen=True, slots=True)
class Read:
    """What a record says: ``row`` to be merged, if any, and what it was."""

    outcome: str
    row: Row | None = None
    problem: str = ""


def read_status(message: Message) -> Read:
    """A record of the status topic."""
    at = {"partition": message.partition, "offset": message.offset}
    if message.value is None:
        row = tombstone_row(message.key or b"", **at)
        if row is None:
            return Read("unreadable", problem="a tombstone for no key of ours")
        return Read("tombstone", row)
    try:
        return Read("status", status_row(decode_status(message.value), **at))
    except Unreadable as error:
        return Read("unreadable", problem=f"{error.code}: {error.message}")


def read_heartbeat(message: Message) -> Read:
    """A record of the heartbeats topic."""
    try:
        heartbeat = decode_heartbeat(message.value)
    except Unreadable as error:
        return Read("unreadable", problem=f"{error.code}: {error.message}")
    heard_ms = round((message.timestamp or 0.0) * 1000)
    row = heartbeat_row(heartbeat, heard_ms=heard_ms, offset=message.offset)
    return Read("heartbeat", row)
