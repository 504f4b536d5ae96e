"""What a parser child and its parent say to each other over two pipes. Pure.

The parent writes one ``Request`` as a line of JSON; the child answers with frames, each
a kind and a length followed by that many bytes: ``PART`` until the text is out, then
``END`` or ``FAILURE``. ``HELLO`` comes once, when the child is confined and ready.
"""

from __future__ import annotations

import json
import struct
from dataclasses import asdict, dataclass
from typing import Any

from headrace.errors import DocumentFailure

HEADER = struct.Struct(">cI")
HELLO = b"H"
PART = b"P"
END = b"E"
FAILURE = b"F"

MAX_FRAME = 2 * 1024 * 1024
"""A part has at most 256 KiB of text and labels; no child of ours sends more."""


@dataclass(frozen=True, slots=True)
class Request:
    """What to parse; the bytes are the file ``input`` in the child's directory."""

    name: str = ""
    media_type: str = ""
    cautious: bool = False

    def line(self) -> bytes:
        """As the child reads it."""
        return json.dumps(asdict(self)).encode() + b"\n"

    @classmethod
    def from_line(cls, line: bytes) -> Request:
        """The inverse of ``line``."""
        return cls(**json.loads(line))


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a document was read."""

    parser: str
    media_type: str


def frame(kind: bytes, payload: bytes) -> bytes:
    """One frame."""
    return HEADER.pack(kind, len(payload)) + payload


def report(kind: bytes, **facts: Any) -> bytes:
    """A frame of JSON."""
    return frame(kind, json.dumps(facts).encode())


def failure_facts(failure: DocumentFailure) -> dict[str, Any]:
    """Why a document cannot be read, as a frame's JSON."""
    return {
        "code": failure.code,
        "message": failure.message,
        "advice": failure.advice,
        "retryable": failure.retryable,
    }


def failure_from(facts: dict[str, Any]) -> DocumentFailure:
    """The inverse of ``failure_facts``, bounded: the child may be anybody's by now."""
    return DocumentFailure(
        str(facts.get("code", "malformed_document"))[:64],
        str(facts.get("message", ""))[:1000],
        advice=str(facts.get("advice", ""))[:500],
        retryable=bool(facts.get("retryable", False)),
    )
