"""The Faust app, with every setting that keeps it from losing records."""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable
from typing import Any

import faust

from headrace.kafka import client_options
from headrace_registry.intake import Intake
from headrace_registry.settings import RegistrySettings

_BUFFERED = 128
"""Records that Faust holds before it stops fetching; its own 4,096 are too many."""
_A_DAY_S = 24 * 3600.0

Tick = Callable[[], Awaitable[None]]


class RegistryApp(faust.App):
    """Faust's app without what it does to the machine."""

    async def on_first_start(self) -> None:
        """Make no directories: no table is on disk."""


def registry_app(settings: RegistrySettings) -> RegistryApp:
    """An app that is not started; ``consume`` and ``tick`` tell it what to do."""
    options = client_options(settings)
    servers = ";".join(options["bootstrap_servers"])
    return RegistryApp(
        f"{settings.topology.prefix}.registry",
        broker=f"kafka://{servers}",
        broker_credentials=_credentials(options),
        key_serializer="raw",
        value_serializer="raw",
        store="memory://",
        processing_guarantee="at_least_once",
        consumer_auto_offset_reset="earliest",
        stream_buffer_maxsize=_BUFFERED,
        # What was written and not acknowledged is read again, which changes nothing;
        # to wait for it would hang while SQL is away.
        stream_wait_empty=False,
        broker_commit_interval=0.5,
        broker_session_timeout=settings.session_timeout_s,
        broker_heartbeat_interval=settings.session_timeout_s / 6,
        broker_rebalance_timeout=settings.rebalance_timeout_s,
        # While SQL is away nothing is polled; leaving the group would not help it.
        broker_max_poll_interval=_A_DAY_S,
        # Both would make topics of their own.
        topic_disable_leader=True,
        topic_allow_declare=False,
        web_enabled=False,
    )


def consume(app: RegistryApp, *, topic: str, intake: Intake) -> None:
    """Have the app read a topic, one event at a time."""
    source = app.topic(
        topic,
        key_type=bytes,
        value_type=bytes,
        key_serializer="raw",
        value_serializer="raw",
    )
    app.agent(source, name=topic, concurrency=1)(intake.consume)


def tick(app: RegistryApp, *, every_s: float, do: Tick) -> None:
    """Have the app call something now and then; it must not raise."""
    app.timer(interval=every_s)(do)


def _credentials(options: dict[str, Any]) -> Any:
    context: ssl.SSLContext | None = options.get("ssl_context")
    if options["security_protocol"].startswith("SASL"):
        return faust.SASLCredentials(
            username=options["sasl_plain_username"],
            password=options["sasl_plain_password"],
            mechanism=options["sasl_mechanism"],
            ssl_context=context,
        )
    return faust.SSLCredentials(context) if context is not None else None
