"""``python -m headrace_gateway``."""

from __future__ import annotations

import asyncio

from headrace.process import load_settings, run_to_end
from headrace_gateway.app import run
from headrace_gateway.settings import GatewaySettings


def main() -> None:
    """Run until SIGTERM or SIGINT."""
    run_to_end(lambda: asyncio.run(run(load_settings(GatewaySettings))))


if __name__ == "__main__":
    main()
