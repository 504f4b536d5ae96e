"""``python -m headrace_gateway``."""

from __future__ import annotations

import asyncio
import sys

import structlog

from headrace.errors import ConfigurationError
from headrace.leaving import leave
from headrace.lifecycle import EXIT_CONFIGURATION, load_settings
from headrace_gateway.app import run
from headrace_gateway.settings import GatewaySettings

_log = structlog.get_logger(__name__)


def main() -> None:
    """Run until SIGTERM or SIGINT."""
    status = 0
    try:
        asyncio.run(run(load_settings(GatewaySettings)))
    except ConfigurationError as error:
        sys.stderr.write(f"configuration error: {error}\n")
        status = EXIT_CONFIGURATION
    except Exception as error:  # noqa: BLE001  whatever it is, the process is over
        _log.critical("the process failed", exc_info=error)
        status = 1
    leave(status)


if __name__ == "__main__":
    main()
