"""Tokens of an OpenID provider: checked by its public keys, turned into principals."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import httpx
import jwt
import structlog
from jwt.algorithms import has_crypto

from headrace.clock import Clock
from headrace.database.keys import Scope
from headrace.errors import ConfigurationError, SharedFailure
from headrace_gateway.principals import OPERATOR, Principal
from headrace_gateway.settings import GatewaySettings

_log = structlog.get_logger(__name__)

_LEEWAY_S = 30
"""Clocks of issuer and gateway differ by so much at most."""
_KEPT_S = 600.0
_AGAIN_S = 10.0
"""An unknown key id asks the issuer again, but not more often than this."""
_PREFIX = "headrace:"
_OPERATOR = "operator"
"""What makes a token one for the whole pipeline, whatever tenant it names."""


class TokenRefused(Exception):
    """The token is not to be believed; the message says why, without its content."""


class JwksCache:
    """The issuer's public keys, asked for anew when they are old or one is unknown."""

    def __init__(
        self, *, issuer: str, url: str, client: httpx.AsyncClient, clock: Clock
    ) -> None:
        self._issuer = issuer.rstrip("/")
        self._url = url
        self._client = client
        self._clock = clock
        self._keys: dict[str, jwt.PyJWK] = {}
        self._read_at: float | None = None
        self._tried_at: float | None = None
        self._reading = asyncio.Lock()

    async def key(self, key_id: str) -> jwt.PyJWK:
        """A key by its id.

        Raises:
            TokenRefused: the issuer has no such key.
            SharedFailure: the issuer does not answer and the key is not known.
        """
        if key_id in self._keys and not self._wanting(key_id):
            # Does not wait while a stranger's key id has us ask the issuer.
            return self._keys[key_id]
        async with self._reading:
            if self._wanting(key_id):
                self._tried_at = self._clock.monotonic()
                try:
                    await self._read()
                except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
                    _log.warning("the issuer's keys cannot be read", reason=repr(error))
                    if key_id not in self._keys:
                        raise SharedFailure(
                            "issuer_unavailable", "the issuer's keys cannot be read"
                        ) from error
        return self._known(key_id)

    def _known(self, key_id: str) -> jwt.PyJWK:
        if key_id in self._keys:
            return self._keys[key_id]
        if self._read_at is None:
            raise SharedFailure("issuer_unavailable", "the issuer's keys are not known")
        raise TokenRefused("the issuer has no key of that id")

    def _wanting(self, key_id: str) -> bool:
        now = self._clock.monotonic()
        if self._tried_at is not None and now - self._tried_at < _AGAIN_S:
            return False
        old = self._read_at is None or now - self._read_at > _KEPT_S
        return old or key_id not in self._keys

    async def _read(self) -> None:
        url = self._url
        if not url:
            found = await self._client.get(
                f"{self._issuer}/.well-known/openid-configuration"
            )
            url = found.raise_for_status().json()["jwks_uri"]
        answer = await self._client.get(url)
        keys: dict[str, jwt.PyJWK] = {}
        for raw in answer.raise_for_status().json()["keys"]:
            # A symmetric key in public would let everybody sign.
            if raw.get("kty") == "oct" or not raw.get("kid"):
                continue
            try:
                keys[raw["kid"]] = jwt.PyJWK(raw)
            except jwt.PyJWTError:
                continue  # a kind of key that we do not know
        self._keys = keys
        self._read_at = self._clock.monotonic()


class OidcTokens:
    """Checks tokens.

    Raises:
        ConfigurationError: what checks signatures is not installed.
    """

    def __init__(self, settings: GatewaySettings, *, keys: JwksCache) -> None:
        if not has_crypto:
            raise ConfigurationError(
                "HEADRACE_AUTH_MODE is oidc, which needs the package cryptography: "
                "install the packages of requirements/gateway.txt (in a checkout, "
                "`scripts/setup server`)"
            )
        self._settings = settings
        self._keys = keys

    async def principal(self, token: str) -> Principal:
        """Who holds the token.

        Raises:
            TokenRefused: it is not to be believed, or names no tenant.
            SharedFailure: the issuer's keys cannot be read.
        """
        settings = self._settings
        try:
            header = jwt.get_unverified_header(token)
        except jwt.PyJWTError as error:
            raise TokenRefused("it is no signed token") from error
        algorithm, key_id = header.get("alg"), header.get("kid")
        if algorithm not in settings.oidc_algorithms:
            raise TokenRefused("its algorithm is not among the allowed ones")
        if not isinstance(key_id, str):
            raise TokenRefused("it names no key")
        key = await self._keys.key(key_id)
        if key.algorithm_name not in (None, algorithm):
            raise TokenRefused("its key is for another algorithm")
        try:
            claims = jwt.decode(
                token,
                key,
                algorithms=[algorithm],
                audience=settings.oidc_audience,
                issuer=settings.oidc_issuer,
                leeway=_LEEWAY_S,
                options={"require": ["exp", "iss", "aud", "sub"]},
            )
        except jwt.PyJWTError as error:
            raise TokenRefused(f"it is not valid: {type(error).__name__}") from error
        return self._of(claims)

    def _of(self, claims: Mapping[str, Any]) -> Principal:
        words = claims.get(self._settings.oidc_scope_claim, "")
        listed = words.split() if isinstance(words, str) else words
        scopes = frozenset(
            word.removeprefix(_PREFIX)
            for word in (listed if isinstance(listed, list) else [])
            if isinstance(word, str) and word.startswith(_PREFIX)
        )
        name = str(claims["sub"])[:256]
        if _OPERATOR in scopes:
            return Principal(OPERATOR, frozenset([Scope.ADMIN]), name)
        tenant = claims.get(self._settings.oidc_tenant_claim)
        if not isinstance(tenant, str) or not tenant or len(tenant.encode()) > 128:
            raise TokenRefused("it names no tenant")
        # A tenant may be called anything, but not what means all of them.
        if tenant == OPERATOR:
            raise TokenRefused("its tenant is reserved")
        known = frozenset(scope for scope in Scope if scope in scopes)
        return Principal(tenant, known, name)
