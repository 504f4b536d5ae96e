"""API keys: how they are made, and what is stored of them. Pure: no I/O.

A key is ``hr_<id>_<secret>``: the id finds its row, and of the whole only a SHA-256 is
stored. The secret has 256 random bits, so that a fast hash is as good as a slow one.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass
from enum import StrEnum

_KEY = re.compile(r"hr_([0-9a-f]{12})_[A-Za-z0-9_-]{43}")


class Scope(StrEnum):
    """What a caller may do; ``admin`` holds the others."""

    READ = "read"
    WRITE = "write"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class StoredKey:
    """A key as the database has it."""

    id: str
    hash: str
    tenant: str
    scopes: frozenset[Scope]
    label: str
    created_ms: int
    expires_ms: int | None = None
    revoked_ms: int | None = None

    def usable(self, now_ms: int) -> bool:
        """Whether it was not revoked and has not expired."""
        expired = self.expires_ms is not None and now_ms >= self.expires_ms
        return self.revoked_ms is None and not expired


def new_key() -> tuple[str, str]:
    """A key's id and the key itself, which is shown once."""
    id_ = secrets.token_hex(6)
    return id_, f"hr_{id_}_{secrets.token_urlsafe(32)}"


def hash_of(key: str) -> str:
    """What is stored of a key."""
    return hashlib.sha256(key.encode()).hexdigest()


def id_of(key: str) -> str | None:
    """The id in a key; ``None`` for what is no key of ours."""
    match = _KEY.fullmatch(key)
    return match[1] if match else None


def matches(key: str, stored: StoredKey | None) -> bool:
    """Whether it is that key; takes as long where there is none."""
    expected = stored.hash if stored is not None else "0" * 64
    return hmac.compare_digest(hash_of(key), expected) and stored is not None
