"""How a command ends, and how it says why."""

from __future__ import annotations

EXIT_OK = 0
EXIT_FAILED = 1
"""Something could not be done; what could be is done."""
EXIT_USAGE = 2
"""The command line asks for something impossible (Click's own number)."""
EXIT_UNREACHABLE = 3
"""Kafka, the store or the stack cannot be reached."""
EXIT_CONFIGURATION = 78


class CommandFailed(Exception):
    """Ends the command with a message: what, why, and the next step.

    Attributes:
        code: short stable code for programs.
        advice: the next step.
        exit_code: one of this module's.
    """

    def __init__(
        self, code: str, message: str, *, advice: str = "", exit_code: int = EXIT_FAILED
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.advice = advice
        self.exit_code = exit_code


def unreachable(what: str, address: str, error: object) -> CommandFailed:
    """Something at an address does not answer."""
    return CommandFailed(
        "not_reachable",
        f"{what} at {address} cannot be reached: {error}",
        advice="start it, or name another one; `headrace doctor` checks all of them",
        exit_code=EXIT_UNREACHABLE,
    )


def usage(message: str, advice: str = "") -> CommandFailed:
    """The command line asks for something impossible."""
    return CommandFailed("usage", message, advice=advice, exit_code=EXIT_USAGE)
