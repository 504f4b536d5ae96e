"""For loaders without a parked topic."""

from __future__ import annotations


class NothingParked:
    """``headrace_loader.handler.Unparks``."""

    problem: str | None = None

    async def close(self) -> None:
        """There is nothing to end."""
