"""Which errors of the database are nobody's fault and will pass. Pure: no I/O.

The database is shared by all documents: while it is away one waits and tries again, as
for broker and store.
"""

from __future__ import annotations

from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from headrace.errors import SharedFailure

TOO_MANY_WAIT_S = 30.0
"""Who is refused a connection must not add to the crowd at the door."""

_TOO_MANY = "53300"
_PASSING_CLASSES = {
    "08",  # connection lost
    "28",  # not let in: the password is being changed, or wrong until somebody acts
    "3D",  # no such database yet
    "53",  # disk full, out of memory, too many connections
    "57",  # shutting down, starting, cancelled
    "58",  # system error
}
_PASSING_STATES = {
    "25006",  # read-only: a replica that is not yet, or no longer, the primary
    "40001",  # could not serialize
    "40P01",  # deadlock
    "55P03",  # lock not available
}
_SQLITE_PASSING = (
    "locked",
    "busy",
    "disk i/o error",
    "disk is full",
    "unable to open database file",
    "readonly database",
)


def shared_failure(error: BaseException) -> SharedFailure | None:
    """What to raise instead, where the error will pass; else ``None``.

    Args:
        error: of SQLAlchemy or a driver; connecting fails with the driver's own, or
            the operating system's.
    """
    if isinstance(error, PoolTimeoutError):
        return SharedFailure(
            "database_pool_exhausted",
            "no connection of this process's pool came free in time; raise "
            "HEADRACE_DATABASE_POOL_SIZE or HEADRACE_DATABASE_POOL_OVERFLOW",
        )
    cause = error.orig if isinstance(error, DBAPIError) else error
    state = getattr(cause, "sqlstate", None)
    if state == _TOO_MANY:
        return SharedFailure(
            "database_connections",
            "the database refuses further connections: the pools of all replicas "
            "are larger together than its max_connections",
            retry_after=TOO_MANY_WAIT_S,
        )
    if state is not None:
        passing = state[:2] in _PASSING_CLASSES or state in _PASSING_STATES
    else:
        text = str(cause).lower()
        lost = isinstance(error, DBAPIError) and error.connection_invalidated
        passing = (
            isinstance(cause, OSError | TimeoutError)
            or lost
            or any(words in text for words in _SQLITE_PASSING)
            or "connection was closed" in text
            or "connection is closed" in text
        )
    if not passing:
        return None
    return SharedFailure("database_unavailable", f"the database: {cause}")
