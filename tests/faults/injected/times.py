"""Shortens times that are no settings: nobody but this suite wants them otherwise."""

from __future__ import annotations


def install_in_gateway(scale: float) -> None:
    """Of what a dead gateway has claimed, and nobody else sends."""
    from headrace_gateway import relay  # noqa: PLC0415

    relay._CLAIM_MS = int(relay._CLAIM_MS * scale)
    relay._RENEW_S *= scale


def install_in_embedder(scale: float) -> None:
    """Of the embedder's pauses: half-open, and what only people can change."""
    from headrace_embedder import breaker, calls  # noqa: PLC0415
    from headrace_embedder.providers import openai_errors  # noqa: PLC0415

    breaker.Breaker.__init__.__kwdefaults__["half_open_after"] *= scale
    calls.PEOPLE_RETRY_S *= scale
    openai_errors.CONFIGURATION_RETRY_S *= scale
