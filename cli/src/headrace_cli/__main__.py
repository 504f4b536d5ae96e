"""``headrace`` and ``python -m headrace_cli``."""

from __future__ import annotations

from typing import NoReturn

from headrace.leaving import leave
from headrace_cli.app import build_app


def main() -> NoReturn:
    """Run the command that the arguments name, and end the process."""
    try:
        build_app()()
    except SystemExit as end:
        leave(end.code if isinstance(end.code, int) else 0)
    leave(0)


if __name__ == "__main__":
    main()
