"""Whose turn it is among imports that wait. Pure.

Tenants have their turns one after the other, and so have the jobs of each: a tenant
waits for one turn of each other at most, however many jobs those have, and however much
is in them.
"""

from __future__ import annotations

from collections.abc import Sequence

Job = tuple[str, str]
"""A tenant, and the id of a job of it."""


class Turns:
    """Remembers who had the last turn."""

    def __init__(self) -> None:
        self._tenant = ""
        self._jobs: dict[str, str] = {}

    def next(self, waiting: Sequence[Job], most: int) -> list[Job]:
        """The next of those that wait; none of them twice.

        Args:
            waiting: all that do, in any order.
            most: how many.
        """
        jobs: dict[str, list[str]] = {}
        for tenant, job in sorted(waiting):
            jobs.setdefault(tenant, []).append(job)
        queues = {
            tenant: _after(self._jobs.get(tenant, ""), its)
            for tenant, its in jobs.items()
        }
        # Whoever has nothing left begins anew another time.
        self._jobs = {tenant: self._jobs.get(tenant, "") for tenant in jobs}
        chosen: list[Job] = []
        while queues and len(chosen) < most:
            for tenant in _after(self._tenant, list(queues))[: most - len(chosen)]:
                job = queues[tenant].pop(0)
                chosen.append((tenant, job))
                self._tenant, self._jobs[tenant] = tenant, job
                if not queues[tenant]:
                    del queues[tenant]
        return chosen


def _after(last: str, names: list[str]) -> list[str]:
    """In their order, beginning after ``last``."""
    return [each for each in names if each > last] + [
        each for each in names if each <= last
    ]
