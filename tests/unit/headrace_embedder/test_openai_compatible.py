"""The OpenAI-compatible provider against a server that does it wrong."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable

import pytest
from headrace_embedder.providers import Rejected, Unclear, http_transport
from headrace_embedder.providers.hash_provider import hash_vector
from headrace_embedder.providers.openai_compatible import OpenAICompatibleProvider

from headrace.errors import SharedFailure
from tests.support import fake_openai
from tests.support.eventually import eventually
from tests.support.fake_openai import FakeOpenAI
from tests.support.wrong_answers import WRONG, Items, shuffled

TEXTS = [f"text {number}" for number in range(5)]
RIGHT = [hash_vector(text, 8) for text in TEXTS]


@pytest.fixture
async def server() -> AsyncIterator[FakeOpenAI]:
    async with FakeOpenAI() as server:
        yield server


@pytest.fixture
async def provider(server: FakeOpenAI) -> AsyncIterator[OpenAICompatibleProvider]:
    provider = made(server)
    yield provider
    await provider.close()


def made(server: FakeOpenAI, *, dimensions: int = 8) -> OpenAICompatibleProvider:
    return OpenAICompatibleProvider(
        base_url=server.base_url, api_key="secret", model="m", dimensions=dimensions
    )


@pytest.mark.parametrize(
    ("base64", "encoding"),
    [
        ("right", "base64"),
        ("ignored", "float"),
        ("zero", "float"),
        ("short", "float"),
        ("refused", "float"),
    ],
)
async def test_base64_is_used_only_where_it_agrees_with_floats(
    server: FakeOpenAI, provider: OpenAICompatibleProvider, base64: str, encoding: str
) -> None:
    server.base64 = base64  # type: ignore[assignment]

    assert await provider.embed(TEXTS, deadline=5) == RIGHT
    assert encoding == provider.encoding == server.asked[-1].encoding


async def test_a_second_call_is_not_probed_again(
    server: FakeOpenAI, provider: OpenAICompatibleProvider
) -> None:
    await provider.embed(TEXTS, deadline=5)
    await provider.embed(TEXTS, deadline=5)

    assert [len(asked.texts) for asked in server.asked] == [1, 1, 5, 5]
    assert server.asked[0].key == "Bearer secret"
    assert {asked.dimensions for asked in server.asked} == {None}


async def test_dimensions_are_sent_only_to_a_model_of_another_size(
    server: FakeOpenAI,
) -> None:
    server.dimensions = 16
    provider = made(server)

    assert await provider.embed(TEXTS, deadline=5) == RIGHT
    assert server.asked[-1].dimensions == 8
    await provider.close()


async def test_a_model_of_another_size_that_cannot_be_cut_is_a_configuration_error(
    server: FakeOpenAI, provider: OpenAICompatibleProvider
) -> None:
    server.dimensions = 16
    server.takes_dimensions = False

    with pytest.raises(SharedFailure, match="gives 16 dimensions") as failure:
        await provider.embed(TEXTS, deadline=5)
    assert failure.value.reason == "provider_misconfigured"


async def test_a_provider_that_refuses_a_plain_text_is_misconfigured(
    server: FakeOpenAI, provider: OpenAICompatibleProvider
) -> None:
    server.always(fake_openai.status(400, message="no such model"))

    with pytest.raises(SharedFailure, match="no such model") as failure:
        await provider.embed(TEXTS, deadline=5)
    assert failure.value.reason == "provider_misconfigured"


async def test_shuffled_answers_are_put_in_order(
    server: FakeOpenAI, provider: OpenAICompatibleProvider
) -> None:
    server.change(shuffled)

    assert await provider.embed(TEXTS, deadline=5) == RIGHT


@pytest.mark.parametrize("base64", ["right", "ignored"])
@pytest.mark.parametrize("change", WRONG)
async def test_a_senseless_answer_is_never_taken(
    server: FakeOpenAI,
    provider: OpenAICompatibleProvider,
    base64: str,
    change: Callable[[Items], None],
) -> None:
    server.base64 = base64  # type: ignore[assignment]
    await provider.embed(TEXTS, deadline=5)
    server.change(change)

    with pytest.raises(Unclear) as failure:
        await provider.embed(TEXTS, deadline=5)
    assert failure.value.reason == "bad_answer"


@pytest.mark.parametrize(
    "fault",
    [
        fake_openai.html(),
        fake_openai.body(b'{"data": [{"index": 0, "embedding": "AAA'),
        fake_openai.body(b"{}"),
        fake_openai.body(b""),
        fake_openai.truncated(),
        fake_openai.half_body(),
        fake_openai.reset(),
        fake_openai.status(500),
        fake_openai.status(503),
    ],
)
async def test_a_broken_answer_is_unclear(
    server: FakeOpenAI, provider: OpenAICompatibleProvider, fault: fake_openai.Fault
) -> None:
    await provider.embed(TEXTS, deadline=5)
    server.script(fault)

    with pytest.raises(Unclear):
        await provider.embed(TEXTS, deadline=5)
    assert await provider.embed(TEXTS, deadline=5) == RIGHT


async def test_the_sdk_does_not_try_again_by_itself(
    server: FakeOpenAI, provider: OpenAICompatibleProvider
) -> None:
    await provider.embed(TEXTS, deadline=5)
    before = len(server.asked)
    server.always(fake_openai.status(503))

    with pytest.raises(Unclear):
        await provider.embed(TEXTS, deadline=5)
    assert len(server.asked) == before + 1


@pytest.mark.parametrize("fault", [fake_openai.hang(), fake_openai.drip()])
async def test_the_deadline_ends_the_call_and_nothing_goes_on(
    server: FakeOpenAI, provider: OpenAICompatibleProvider, fault: fake_openai.Fault
) -> None:
    await provider.embed(TEXTS, deadline=5)
    server.script(fault)

    with pytest.raises(Unclear) as failure:
        await provider.embed(TEXTS, deadline=0.1)
    assert failure.value.reason == "provider_timeout"
    await eventually(lambda: server.running == 0, patience_s=5)
    assert server.asked[-1].gone


async def test_a_cancelled_call_leaves_nothing_running(
    server: FakeOpenAI, provider: OpenAICompatibleProvider
) -> None:
    await provider.embed(TEXTS, deadline=5)
    server.script(fake_openai.hang())
    call = asyncio.create_task(provider.embed(TEXTS, deadline=60))
    await eventually(lambda: server.running == 1, patience_s=5)
    call.cancel()

    with pytest.raises(asyncio.CancelledError):
        await call
    await eventually(lambda: server.running == 0, patience_s=5)


async def test_nobody_listening_is_unclear() -> None:
    async with FakeOpenAI() as server:
        provider = made(server)
    with pytest.raises(Unclear) as failure:
        await provider.embed(TEXTS, deadline=5)
    assert failure.value.reason == "provider_unreachable"
    await provider.close()


async def test_an_over_long_text_is_rejected(
    server: FakeOpenAI, provider: OpenAICompatibleProvider
) -> None:
    with pytest.raises(Rejected, match="maximum context length"):
        await provider.embed([*TEXTS, "x" * 40_000], deadline=5)


async def test_rate_limits_tell_how_long(
    server: FakeOpenAI, provider: OpenAICompatibleProvider
) -> None:
    await provider.embed(TEXTS, deadline=5)
    in_ten = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 600))
    server.script(fake_openai.status(429, headers={"Retry-After": in_ten}))

    with pytest.raises(SharedFailure) as failure:
        await provider.embed(TEXTS, deadline=5)
    assert failure.value.reason == "provider_rate_limited"
    assert failure.value.retry_after == pytest.approx(600, abs=30)


async def test_the_key_is_in_no_error(
    server: FakeOpenAI, provider: OpenAICompatibleProvider
) -> None:
    server.always(fake_openai.status(401, error="invalid_api_key"))

    with pytest.raises(SharedFailure) as failure:
        await provider.embed(TEXTS, deadline=5)
    assert failure.value.reason == "provider_auth"
    assert "secret" not in str(failure.value)


@pytest.mark.parametrize("base64", ["right", "ignored"])
async def test_an_answer_of_several_parts_comes_whole_and_in_order(
    server: FakeOpenAI, provider: OpenAICompatibleProvider, base64: str
) -> None:
    server.base64 = base64  # type: ignore[assignment]
    texts = [f"text {number}" for number in range(300)]

    assert await provider.embed(texts, deadline=20) == [
        hash_vector(text, 8) for text in texts
    ]


async def test_an_answer_may_come_compressed(
    server: FakeOpenAI, provider: OpenAICompatibleProvider
) -> None:
    server.always(fake_openai.compressed())

    assert await provider.embed(TEXTS, deadline=5) == RIGHT


async def test_silence_within_the_deadline_is_a_timeout_too(
    server: FakeOpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_transport, "SILENCE_S", 0.1)
    provider = made(server)
    server.always(fake_openai.hang())

    with pytest.raises(Unclear) as failure:
        await provider.embed(TEXTS, deadline=60)
    assert failure.value.reason == "provider_timeout"
    await provider.close()


async def test_a_proxy_that_the_environment_names_is_used(
    server: FakeOpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", server.base_url.removesuffix("/v1"))
    provider = OpenAICompatibleProvider(
        base_url="http://elsewhere.invalid/v1", api_key="x", model="m", dimensions=8
    )

    assert await provider.embed(TEXTS, deadline=5) == RIGHT
    await provider.close()
