"""How long the suite's times are: short by default, true with ``LONG=1``."""

from __future__ import annotations

import os

LONG = os.environ.get("LONG") == "1"
SCALE = 1.0 if LONG else float(os.environ.get("HEADRACE_FAULTS_SCALE", "0.1"))


def scaled(seconds: float) -> float:
    """A time of the fault matrix as this run takes it."""
    return seconds * SCALE


PAUSE_SCALE = 1.0 if LONG else SCALE / 4
"""Of pauses that the embedder takes by itself: rows sit through several of them."""


def pause(seconds: float) -> float:
    """How long the embedder pauses in this run where it else would so many seconds."""
    return seconds * PAUSE_SCALE
