"""Records of the status and heartbeats topics, as rows."""

from __future__ import annotations

from dataclasses import dataclass

from headrace_registry.records import read_heartbeat, read_status
from hypothesis import given
from hypothesis import strategies as st

from headrace.identity import Arrival, DocumentKey
from headrace.messages import Heartbeat, Stage, State, StatusEvent
from headrace.status import status_key
from headrace.wire import encode_heartbeat, encode_status

KEY = DocumentKey("t", "c", "d")
EVENT = StatusEvent(KEY, 7, Arrival(1, "x", 0, 2), Stage.CHUNKER, State.PASSED_ON)


@dataclass
class Message:
    value: bytes | None
    key: bytes | None = None
    partition: int = 3
    offset: int = 5
    timestamp: float | None = 1.5


def test_a_status() -> None:
    read = read_status(Message(encode_status(EVENT)))
    assert read.outcome == "status"
    assert read.row is not None
    assert (read.row["work"], read.row["stage"]) == ("7", 2)
    assert (read.row["status_partition"], read.row["status_offset"]) == (3, 5)


def test_a_tombstone_has_the_key_of_its_status() -> None:
    for revision in (0, 7):
        event = StatusEvent(KEY, revision, EVENT.arrival, EVENT.stage, EVENT.state)
        said = read_status(Message(encode_status(event))).row
        gone = read_status(Message(None, key=status_key(event))).row
        assert said is not None
        assert gone is not None
        for name in ("document", "work", "stage", "tenant", "document_id"):
            assert said[name] == gone[name]
        assert gone["gone"]
        assert not said["gone"]


def test_a_heartbeat() -> None:
    heartbeat = Heartbeat(KEY, 7, EVENT.arrival, Stage.EMBEDDER, "w", 1, 2)
    read = read_heartbeat(Message(encode_heartbeat(heartbeat)))
    assert read.row is not None
    assert (read.row["heard_ms"], read.row["worker"]) == (1500, "w")


@given(st.none() | st.binary(max_size=60), st.none() | st.binary(max_size=60))
def test_anything_else_is_passed_over(value: bytes | None, key: bytes | None) -> None:
    for read in (read_status, read_heartbeat):
        found = read(Message(value, key=key))
        assert (found.row is None) == (found.outcome == "unreadable")
        assert bool(found.problem) == (found.row is None)
