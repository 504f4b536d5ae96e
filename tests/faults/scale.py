"""How long the suite's times are: short by default, true with ``LONG=1``."""

from __future__ import annotations

import os

LONG = os.environ.get("LONG") == "1"
SCALE = 1.0 if LONG else float(os.environ.get("HEADRACE_FAULTS_SCALE", "0.1"))


def scaled(seconds: float) -> float:
    """A time of the fault matrix as this run takes it."""
    return seconds * SCALE
