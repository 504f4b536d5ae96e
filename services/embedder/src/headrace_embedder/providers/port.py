"""The port to an embedding model, and its two errors of unclear scope. Pure: no I/O.

===================  ================================================================
raised               means
===================  ================================================================
``SharedFailure``    no text would do better now: rate limit, quota, key, settings;
                     ``retry_after`` where the provider said
``Rejected``         this request was refused for what is in it (400, 413, 422)
``Unclear``          it failed, and one failure does not tell whether the provider or
                     the texts are at fault: 5xx, timeout, broken or senseless answer
===================  ================================================================
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class _CallFailed(Exception):
    """A call's failure.

    Attributes:
        reason: stable code, at most 64 bytes.
        message: for people, without secrets.
        call: number of the call among the process's; later calls have higher ones.
        api_seconds: how long the call was in the API. Both are set by ``calls``.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.call = 0
        self.api_seconds = 0.0


class Rejected(_CallFailed):
    """The provider refused the request for its content."""


class Unclear(_CallFailed):
    """The call failed; others must show whose fault it is."""


class EmbeddingProvider(Protocol):
    """Turns texts into vectors; one per process.

    Calls may overlap. A call that is cancelled or past its deadline has left nothing
    running when it raises. It never tries again by itself.

    Attributes:
        max_texts: most texts of one call.
        max_tokens: most tokens of one call, all texts together.
    """

    max_texts: int
    max_tokens: int

    async def embed(self, texts: Sequence[str], *, deadline: float) -> list[bytes]:
        """Vectors as little-endian float32 bytes, in the order of the texts.

        Every vector has the configured dimensions, is finite and not zero.

        Args:
            texts: prefix included; at least one, none blank.
            deadline: seconds for the whole call, waiting for a connection included.

        Raises:
            SharedFailure, Rejected, Unclear: see the module's table.
        """

    async def close(self) -> None:
        """Cancel and await what runs, release connections and memory."""
