"""Settings and wiring."""

from __future__ import annotations

import pytest
from headrace_embedder.app import build
from headrace_embedder.factory import build_provider
from headrace_embedder.settings import EmbedderSettings, ProviderSettings

from headrace.control import Control
from headrace.errors import ConfigurationError
from headrace.lifecycle import StageContext
from headrace.messages import Stage
from headrace.metrics import Metrics
from headrace.process import load_settings
from tests.support.fake_clock import FakeClock
from tests.support.fake_producer import (
    FakeDeadLetters,
    FakeProducer,
    FakeStatusReporter,
)


async def test_the_stage_is_built_from_its_context() -> None:
    settings = EmbedderSettings(
        embedding_provider="hash", embedding_model="hash", embedding_dimensions=8
    )
    handler = await build(
        StageContext(
            stage=Stage.EMBEDDER,
            settings=settings,
            topology=settings.topology,
            producer=FakeProducer(),
            status=FakeStatusReporter(),
            dead_letters=FakeDeadLetters(),
            metrics=Metrics(Stage.EMBEDDER),
            clock=FakeClock(),
            control=Control,
            worker="test",
        )
    )

    assert handler.ready() is None
    await handler.close()


def test_the_variables_users_know_from_elsewhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HEADRACE_EMBEDDING_PROVIDER", "openai")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:1/v1")
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    settings = load_settings(EmbedderSettings)

    assert settings.openai_base_url == "http://127.0.0.1:1/v1"
    assert "secret" not in repr(settings)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("HEADRACE_EMBED_CALLS", "0", "HEADRACE_EMBED_CALLS"),
        ("HEADRACE_EMBED_BATCH_MIN", "500", "HEADRACE_EMBED_BATCH_MIN"),
        ("HEADRACE_EMBEDDING_PROVIDER", "openai", "OPENAI_API_KEY"),
    ],
)
def test_a_bad_setting_is_named(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    monkeypatch.setenv(name, value)

    with pytest.raises(ConfigurationError, match=said):
        load_settings(EmbedderSettings)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"embedding_model": "unheard-of"}, "all-MiniLM-L6-v2"),
        ({"embedding_dimensions": 1536}, "has 384"),
    ],
)
async def test_a_local_model_that_is_not_there_is_a_configuration_error(
    changes: dict[str, object], said: str
) -> None:
    settings = ProviderSettings().model_copy(update=changes)

    with pytest.raises(ConfigurationError, match=said):
        await build_provider(settings)
