"""Who calls, and what they may do. Pure: no I/O."""

from __future__ import annotations

from dataclasses import dataclass

from headrace.database.keys import Scope
from headrace_gateway.problems import Problem

OPERATOR = "*"
"""The tenant of keys that run the pipeline: all tenants, in the admin API only."""


@dataclass(frozen=True, slots=True)
class Principal:
    """A caller whose identity was checked."""

    tenant: str
    scopes: frozenset[Scope]
    name: str
    """For audit records: the key's id or the token's subject."""
    everybody: bool = False
    """Nobody is asked who they are: all have all rights."""

    def may(self, scope: Scope) -> bool:
        """Whether the scope was given; ``admin`` holds the others."""
        return scope in self.scopes or Scope.ADMIN in self.scopes

    @property
    def operator(self) -> bool:
        """Whether the caller works for no tenant but on the pipeline."""
        return self.tenant == OPERATOR

    @property
    def only(self) -> str:
        """The one tenant that the admin API shows and changes; empty: all of them."""
        return "" if self.operator or self.everybody else self.tenant


def required_scope(method: str, path: str) -> Scope:
    """What a request needs; decided before anything of its body is read."""
    if path.startswith("/v1/admin"):
        return Scope.ADMIN
    if method in {"GET", "HEAD", "OPTIONS"} or path == "/v1/search":
        return Scope.READ
    return Scope.WRITE


def operators_only(principal: Principal, act: str) -> None:
    """Let a tenant's administrator touch nothing but what is the tenant's.

    Raises:
        Problem: 403.
    """
    if principal.only:
        raise Problem(
            403,
            "operator_only",
            f"only an operator may {act}; the credential is of one tenant",
            advice="use a key made with `headrace keys create --tenant '*' --scope "
            "admin`",
        )
