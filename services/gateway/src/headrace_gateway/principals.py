"""Who calls, and what they may do. Pure: no I/O."""

from __future__ import annotations

from dataclasses import dataclass

from headrace.database.keys import Scope

OPERATOR = "*"
"""The tenant of keys that run the pipeline: all tenants, in the admin API only."""


@dataclass(frozen=True, slots=True)
class Principal:
    """A caller whose identity was checked."""

    tenant: str
    scopes: frozenset[Scope]
    name: str
    """For audit records: the key's id or the token's subject."""

    def may(self, scope: Scope) -> bool:
        """Whether the scope was given; ``admin`` holds the others."""
        return scope in self.scopes or Scope.ADMIN in self.scopes

    @property
    def operator(self) -> bool:
        """Whether the caller works for no tenant but on the pipeline."""
        return self.tenant == OPERATOR


def required_scope(method: str, path: str) -> Scope:
    """What a request needs; decided before anything of its body is read."""
    if path.startswith("/v1/admin"):
        return Scope.ADMIN
    if method in {"GET", "HEAD", "OPTIONS"} or path == "/v1/search":
        return Scope.READ
    return Scope.WRITE
