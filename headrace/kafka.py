"""Connection options of every aiokafka client, from the settings."""

from __future__ import annotations

import ssl
from typing import Any

from headrace.errors import ConfigurationError
from headrace.settings import Settings


def client_options(settings: Settings) -> dict[str, Any]:
    """Keyword arguments for any aiokafka client.

    Raises:
        ConfigurationError: a file cannot be read, or a user name is missing.
    """
    options: dict[str, Any] = {
        "bootstrap_servers": [
            server.strip() for server in settings.kafka_bootstrap_servers.split(",")
        ],
        "security_protocol": settings.kafka_security_protocol,
        # A connection that hangs must not hold commits for the default 40 s.
        "request_timeout_ms": 15_000,
        "retry_backoff_ms": 200,
        # Partitions that were added are noticed within this.
        "metadata_max_age_ms": 60_000,
    }
    if "SSL" in settings.kafka_security_protocol:
        options["ssl_context"] = _ssl_context(settings)
    if settings.kafka_security_protocol.startswith("SASL"):
        if not settings.kafka_username:
            raise ConfigurationError(
                "KAFKA_USERNAME: needed with KAFKA_SECURITY_PROTOCOL="
                f"{settings.kafka_security_protocol}"
            )
        options["sasl_mechanism"] = settings.kafka_sasl_mechanism
        options["sasl_plain_username"] = settings.kafka_username
        options["sasl_plain_password"] = settings.kafka_password.get_secret_value()
    return options


def _ssl_context(settings: Settings) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=settings.kafka_ca_file or None)
    except OSError as error:
        raise ConfigurationError(f"KAFKA_CA_FILE: {error}") from error
    if settings.kafka_cert_file:
        try:
            context.load_cert_chain(
                settings.kafka_cert_file, settings.kafka_key_file or None
            )
        except OSError as error:
            raise ConfigurationError(
                f"KAFKA_CERT_FILE, KAFKA_KEY_FILE: {error}"
            ) from error
    return context
