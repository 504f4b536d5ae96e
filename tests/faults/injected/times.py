"""Shortens times that are no settings: nobody but this suite wants them otherwise."""

from __future__ import annotations


def install(scale: float) -> None:
    """Of the embedder's pauses: half-open, and what only people can change."""
    from headrace_embedder import breaker, calls  # noqa: PLC0415
    from headrace_embedder.providers import openai_errors  # noqa: PLC0415

    breaker.Breaker.__init__.__kwdefaults__["half_open_after"] *= scale
    calls.PEOPLE_RETRY_S *= scale
    openai_errors.CONFIGURATION_RETRY_S *= scale
