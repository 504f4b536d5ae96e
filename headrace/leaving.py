"""How a process that has opened the object store ends."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import NoReturn


def leave(status: int) -> NoReturn:
    """End the process, everything of it being closed.

    Not by way of the interpreter's own end: a thread of the object store that comes
    back from a cancelled call finds no interpreter then, and aborts the process.
    """
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):  # whoever read it has gone
            stream.flush()
    os._exit(status)
