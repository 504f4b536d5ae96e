"""``python -m headrace.database`` brings the schema up to date, then exits.

Gateway and registry do the same when they start; this is for those who want it done,
and seen to fail, before any of them is replaced.
"""

from __future__ import annotations

import asyncio
import sys

from headrace.database.engine import upgrade
from headrace.database.settings import DatabaseSettings
from headrace.errors import ConfigurationError, SharedFailure
from headrace.process import EXIT_CONFIGURATION, load_settings


def main() -> int:
    """Bring it up to date; the exit status."""
    try:
        settings = load_settings(DatabaseSettings)
        asyncio.run(upgrade(settings.database_url.get_secret_value()))
    except ConfigurationError as error:
        sys.stderr.write(f"configuration error: {error}\n")
        return EXIT_CONFIGURATION
    except SharedFailure as error:
        sys.stderr.write(f"not brought up to date: {error}; it may be tried again\n")
        return 1
    sys.stdout.write("the schema is up to date\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
