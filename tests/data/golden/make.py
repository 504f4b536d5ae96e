"""Writes the golden bytes of a NEW message or field; refuses to touch what exists.

Run from the root of the repository: ``python -m tests.data.golden.make``. Bytes that
were released stay as they are for as long as somebody's topic may hold them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from headrace import wire
from headrace.messages import (
    ChunkSlice,
    DeadLetter,
    DocumentEvent,
    EmbeddedSlice,
    Heartbeat,
    LoadedText,
    Pause,
    StatusEvent,
)
from tests.data.golden.v1_values import VALUES

FOLDER = Path(__file__).parent / "v1"

ENCODERS: dict[type, Callable[[Any], bytes]] = {
    DocumentEvent: wire.encode_event,
    LoadedText: wire.encode_loaded_text,
    ChunkSlice: wire.encode_chunk_slice,
    EmbeddedSlice: wire.encode_embedded_slice,
    StatusEvent: wire.encode_status,
    Heartbeat: wire.encode_heartbeat,
    DeadLetter: wire.encode_dead_letter,
    Pause: wire.encode_pause,
    tuple: lambda parts: b"".join(wire.write_text_parts(parts)),
}


def main() -> int:
    """Write what is missing."""
    for name, value in VALUES.items():
        path = FOLDER / f"{name}.bin"
        if path.exists():
            sys.stdout.write(f"kept  {name}\n")
            continue
        path.write_bytes(ENCODERS[type(value)](value))
        sys.stdout.write(f"wrote {name}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
