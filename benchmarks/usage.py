"""CPU time of processes that run."""

from __future__ import annotations

import psutil


def cpu_seconds(process: psutil.Process) -> float:
    """User and system time of a process and its children, ended ones included."""
    own = process.cpu_times()
    used = own.user + own.system + own.children_user + own.children_system
    for child in process.children(recursive=True):
        times = child.cpu_times()
        used += times.user + times.system
    return float(used)
