"""Why a request is refused, as the status that a Qdrant server would answer."""

from __future__ import annotations

import grpc


class Refused(Exception):
    """Ends a call with a status; nothing was changed by it."""

    def __init__(self, status: grpc.StatusCode, message: str) -> None:
        super().__init__(message)
        self.status = status


def invalid(message: str) -> Refused:
    """The request makes no sense."""
    return Refused(grpc.StatusCode.INVALID_ARGUMENT, f"Wrong input: {message}")


def unsupported(what: str) -> Refused:
    """The request makes sense to a Qdrant server only."""
    return Refused(
        grpc.StatusCode.UNIMPLEMENTED,
        f"the local store does not support {what}; use a Qdrant server for it",
    )


def missing(collection: str) -> Refused:
    """There is no such collection."""
    return Refused(
        grpc.StatusCode.NOT_FOUND,
        f"Not found: Collection `{collection}` doesn't exist!",
    )
