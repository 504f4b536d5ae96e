"""What is asked for cannot be done, and why: for commands and the gateway. Pure."""

from __future__ import annotations


class Refused(Exception):
    """Ends a piece of work that somebody asked for.

    Attributes:
        code: short stable code for programs.
        message: what and why.
        advice: the next step.
        usage: what was asked makes no sense, whatever there is.
    """

    def __init__(
        self, code: str, message: str, *, advice: str = "", usage: bool = False
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.advice = advice
        self.usage = usage
