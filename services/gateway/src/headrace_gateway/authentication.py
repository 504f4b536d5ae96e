"""Knows the caller before anything of a request's body is read."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Protocol

import structlog

from headrace.clock import Clock
from headrace.database.key_store import KeyStore
from headrace.database.keys import Scope, id_of, matches
from headrace.errors import SharedFailure
from headrace.identity import DEFAULT_TENANT
from headrace_gateway.oidc import OidcTokens, TokenRefused
from headrace_gateway.principals import Principal, required_scope
from headrace_gateway.problems import Problem

_log = structlog.get_logger(__name__)

_KEPT_S = 5.0
"""A revoked key works so long at most."""
_MOST_KEPT = 10_000


class Authenticator(Protocol):
    """Tells who sends a credential."""

    async def principal(self, credential: str) -> Principal | None:
        """The caller; ``None`` where the credential is good for nothing.

        Raises:
            SharedFailure: it cannot be told now.
        """


class Everybody:
    """Lets everybody do everything: only where ``auth_mode`` is ``none``."""

    async def principal(self, credential: str) -> Principal:
        """See ``Authenticator``."""
        del credential
        return Principal(DEFAULT_TENANT, frozenset(Scope), "everybody", everybody=True)


class ApiKeys:
    """Checks API keys; a good answer is kept for some seconds."""

    def __init__(self, keys: KeyStore, *, clock: Clock) -> None:
        self._keys = keys
        self._clock = clock
        self._known: dict[bytes, tuple[float, Principal]] = {}

    async def principal(self, credential: str) -> Principal | None:
        """See ``Authenticator``."""
        digest = hashlib.sha256(credential.encode()).digest()
        now = self._clock.monotonic()
        known = self._known.get(digest)
        if known is not None and now < known[0]:
            return known[1]
        id_ = id_of(credential)
        stored = await self._keys.find(id_) if id_ is not None else None
        if not matches(credential, stored) or stored is None:
            return None
        if not stored.usable(self._clock.now_ms()):
            return None
        found = Principal(stored.tenant, stored.scopes, f"key:{stored.id}")
        if len(self._known) >= _MOST_KEPT:
            self._known.clear()
        self._known[digest] = (now + _KEPT_S, found)
        return found


class Tokens:
    """Checks tokens of an OpenID provider."""

    def __init__(self, tokens: OidcTokens) -> None:
        self._tokens = tokens

    async def principal(self, credential: str) -> Principal | None:
        """See ``Authenticator``."""
        try:
            return await self._tokens.principal(credential)
        except TokenRefused as error:
            _log.info("a token was refused", reason=str(error))
            return None


async def caller(authenticator: Authenticator, authorization: str) -> Principal | None:
    """Who sends that header; ``None`` for nobody we know.

    Raises:
        SharedFailure: it cannot be told now.
    """
    scheme, _, rest = authorization.partition(" ")
    credential = rest.strip() if scheme.lower() == "bearer" else ""
    if not credential and not isinstance(authenticator, Everybody):
        return None
    return await authenticator.principal(credential)


async def authenticate(
    authenticator: Authenticator,
    *,
    authorization: str,
    method: str,
    path: str,
    retry_after: Callable[[SharedFailure], Problem],
) -> Principal:
    """The caller, who may do what is asked.

    Raises:
        Problem: 401, 403, or 503 where it cannot be told.
    """
    try:
        found = await caller(authenticator, authorization)
    except SharedFailure as error:
        raise retry_after(error) from error
    if found is None:
        raise Problem(
            401,
            "unauthenticated",
            "the request has no valid credential",
            advice="send Authorization: Bearer with an API key or a token",
            headers={"WWW-Authenticate": 'Bearer realm="headrace"'},
        )
    scope = required_scope(method, path)
    if not found.may(scope):
        raise Problem(
            403,
            "forbidden",
            f"the credential lacks the scope {scope}",
            headers={"WWW-Authenticate": 'Bearer error="insufficient_scope"'},
        )
    if found.operator and scope is not Scope.ADMIN:
        raise Problem(
            403,
            "operator_only",
            "the credential belongs to no tenant: it is for /v1/admin alone",
            advice="use a key of the tenant whose documents are meant",
        )
    return found
