"""Tokens: which are believed."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import time
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from headrace_gateway.oidc import JwksCache, OidcTokens, TokenRefused
from headrace_gateway.settings import GatewaySettings
from pydantic import ValidationError

from headrace.database.keys import Scope
from headrace.errors import SharedFailure
from tests.support.eventually import eventually
from tests.support.fake_clock import FakeClock

ISSUER = "https://issuer.test"
KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
OTHER = rsa.generate_private_key(public_exponent=65537, key_size=2048)


def jwk(key: rsa.RSAPrivateKey, kid: str) -> dict[str, Any]:
    shown = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key()))
    return {**shown, "kid": kid, "use": "sig", "alg": "RS256"}


class Issuer:
    def __init__(self) -> None:
        self.keys = [jwk(KEY, "k1")]
        self.asked = 0
        self.down = False
        self.answering: asyncio.Event | None = None
        self.waited = False

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        if self.answering is not None:
            self.waited = True
            await self.answering.wait()
        if self.down:
            raise httpx.ConnectError("down")
        if request.url.path.endswith("openid-configuration"):
            return httpx.Response(200, json={"jwks_uri": f"{ISSUER}/jwks"})
        self.asked += 1
        return httpx.Response(200, json={"keys": self.keys})


@pytest.fixture
def issuer() -> Issuer:
    return Issuer()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def tokens(issuer: Issuer, clock: FakeClock) -> OidcTokens:
    settings = GatewaySettings(
        auth_mode="oidc", oidc_issuer=ISSUER, oidc_audience="headrace"
    )
    client = httpx.AsyncClient(transport=httpx.MockTransport(issuer))
    keys = JwksCache(issuer=ISSUER, url="", client=client, clock=clock)
    return OidcTokens(settings, keys=keys)


def token(
    *, key: Any = KEY, kid: str = "k1", algorithm: str = "RS256", **claims: Any
) -> str:
    said = {
        "iss": ISSUER,
        "aud": "headrace",
        "sub": "someone",
        "exp": int(time.time()) + 600,
        "tenant": "ann",
        "scope": "openid headrace:read headrace:write",
    } | claims
    said = {name: value for name, value in said.items() if value is not None}
    return jwt.encode(said, key, algorithm=algorithm, headers={"kid": kid})


async def test_claims_become_a_principal(tokens: OidcTokens) -> None:
    found = await tokens.principal(token())

    assert (found.tenant, found.name) == ("ann", "someone")
    assert found.scopes == {Scope.READ, Scope.WRITE}


@pytest.mark.parametrize("tenant", [None, "ann"])
async def test_the_issuer_says_who_is_an_operator(
    tokens: OidcTokens, tenant: str | None
) -> None:
    words = "headrace:read headrace:operator"
    found = await tokens.principal(token(tenant=tenant, scope=words))

    assert (found.tenant, found.only, found.operator) == ("*", "", True)
    assert found.scopes == {Scope.ADMIN}


def hmac_token(key: bytes) -> str:
    """What whoever knows the public key can make; the library refuses to help."""

    def part(value: Any) -> bytes:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=")

    claims = jwt.decode(token(), options={"verify_signature": False})
    body = part({"alg": "HS256", "typ": "JWT", "kid": "k1"}) + b"." + part(claims)
    signature = hmac.new(key, body, hashlib.sha256).digest()
    return (body + b"." + base64.urlsafe_b64encode(signature).rstrip(b"=")).decode()


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param(token(key=OTHER), id="another key"),
        pytest.param(token(aud="other"), id="another audience"),
        pytest.param(token(iss="https://evil.test"), id="another issuer"),
        pytest.param(token(exp=int(time.time()) - 600), id="expired"),
        pytest.param(token(exp=None), id="without end"),
        pytest.param(token(sub=None), id="without subject"),
        pytest.param(token(tenant=None), id="without tenant"),
        pytest.param(token(tenant=["ann"]), id="tenant is a list"),
        pytest.param(token(tenant="*"), id="the operator's tenant"),
        pytest.param(token(key="", algorithm="none"), id="unsigned"),
        pytest.param(token(algorithm="RS512"), id="algorithm not allowed"),
        pytest.param(token(kid="k9"), id="unknown key"),
        pytest.param("x.y.z", id="no token"),
        pytest.param("é", id="no text"),
        pytest.param(
            hmac_token(
                KEY.public_key().public_bytes(
                    serialization.Encoding.PEM,
                    serialization.PublicFormat.SubjectPublicKeyInfo,
                )
            ),
            id="signed with the public key",
        ),
    ],
)
async def test_what_is_not_believed(tokens: OidcTokens, bad: str) -> None:
    with pytest.raises(TokenRefused):
        await tokens.principal(bad)


async def test_keys_are_asked_for_once_and_anew_when_unknown(
    tokens: OidcTokens, issuer: Issuer, clock: FakeClock
) -> None:
    await tokens.principal(token())
    await tokens.principal(token())
    assert issuer.asked == 1
    issuer.keys.append(jwk(OTHER, "k2"))
    clock.advance(11)
    await tokens.principal(token(key=OTHER, kid="k2"))
    assert issuer.asked == 2
    for _ in range(5):
        with pytest.raises(TokenRefused):
            await tokens.principal(token(kid="k9"))
    assert issuer.asked == 2  # an invented key id is no way to have us ask


async def test_an_issuer_that_is_away_refuses_nobody_it_knows(
    tokens: OidcTokens, issuer: Issuer, clock: FakeClock
) -> None:
    issuer.down = True
    with pytest.raises(SharedFailure):
        await tokens.principal(token())
    issuer.down = False
    clock.advance(11)
    await tokens.principal(token())
    issuer.down = True
    clock.advance(3600)
    await tokens.principal(token())


async def test_while_no_key_could_be_read_nobody_is_called_a_stranger(
    tokens: OidcTokens, issuer: Issuer
) -> None:
    issuer.down = True
    for _ in range(2):  # the second does not ask again so soon
        with pytest.raises(SharedFailure):
            await tokens.principal(token())


async def test_a_stranger_makes_nobody_wait_for_the_issuer(
    tokens: OidcTokens, issuer: Issuer, clock: FakeClock
) -> None:
    await tokens.principal(token())
    clock.advance(11)
    issuer.answering = asyncio.Event()
    stranger = asyncio.create_task(tokens.principal(token(kid="k9")))
    await eventually(lambda: issuer.waited)

    async with asyncio.timeout(5):
        assert (await tokens.principal(token())).tenant == "ann"

    issuer.answering.set()
    with pytest.raises(TokenRefused):
        await stranger


def test_symmetric_algorithms_are_refused_at_start() -> None:
    for algorithms in (["HS256"], ["none"], ["RS256", "HS512"], []):
        with pytest.raises(ValidationError):
            GatewaySettings(
                auth_mode="oidc",
                oidc_issuer=ISSUER,
                oidc_audience="x",
                oidc_algorithms=algorithms,
            )


def test_no_configured_auth_is_no_start() -> None:
    with pytest.raises(ValidationError, match="HEADRACE_AUTH_MODE"):
        GatewaySettings()
