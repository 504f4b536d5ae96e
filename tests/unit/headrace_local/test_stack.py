"""What the processes of a stack are told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from headrace_local.data_dir import DataDir
from headrace_local.services import Service
from headrace_local.stack import (
    StackPlan,
    _Builder,
    provider_defaults,
    public_settings,
    variable_of,
)

from headrace.errors import ConfigurationError
from headrace.messages import Stage
from headrace.settings import Settings


@pytest.fixture(autouse=True)
def _no_settings_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    for field in Settings.model_fields:
        monkeypatch.delenv(variable_of(field), raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)


def builder(tmp_path: Path, **overrides: object) -> _Builder:
    return _Builder(
        StackPlan(
            data_dir=DataDir(tmp_path), overrides=overrides, file_roots=[tmp_path]
        )
    )


def names(built: _Builder) -> list[list[str]]:
    return [[part.name for part in group] for group in built.groups]


def test_everything_is_local_by_default(tmp_path: Path) -> None:
    assert names(builder(tmp_path)) == [
        ["store", "broker"],
        ["loader", "chunker", "embedder", "indexer"],
    ]


def test_services_run_beside_the_stages_or_later(tmp_path: Path) -> None:
    built = _Builder(
        StackPlan(
            data_dir=DataDir(tmp_path),
            overrides={},
            services=tuple(Service),
            later=(Service.REGISTRY,),
        )
    )

    assert names(built)[1] == ["loader", "chunker", "embedder", "indexer", "gateway"]
    assert [part.name for part in built.later] == ["registry"]
    assert built.state(serving=True).gateway == built.gateway
    assert built.state(serving=False).gateway == ""


def test_a_kafka_or_qdrant_of_ones_own_replaces_the_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "kafka:9092")
    assert names(builder(tmp_path))[0] == ["store"]

    monkeypatch.setenv("QDRANT_URL", "http://qdrant:6334")
    built = builder(tmp_path)
    assert names(built)[0] == []
    assert built.settings.qdrant_url == "http://qdrant:6334"
    assert built.settings.kafka_bootstrap_servers == "kafka:9092"


def test_stages_are_told_what_the_command_line_and_the_environment_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADRACE_DRAIN_S", "3")
    monkeypatch.setenv("HEADRACE_CHUNK_PROSE_TOKENS", "100")
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    built = builder(tmp_path, embedding_provider="hash", partitions=5)

    loader = built._stage_environment(Stage.LOADER)
    assert loader["HEADRACE_EMBEDDING_PROVIDER"] == "hash"
    assert loader["HEADRACE_PARTITIONS"] == "5"
    assert loader["HEADRACE_DOCUMENT_PARTITIONS"] == "5"
    assert loader["HEADRACE_DRAIN_S"] == "3"
    assert loader["HEADRACE_CHUNK_PROSE_TOKENS"] == "100"
    assert json.loads(loader["HEADRACE_FILE_ROOTS"]) == [str(tmp_path)]
    assert loader["HEADRACE_OBJECT_STORE_URL"] == (tmp_path / "objects").as_uri()


def test_only_the_embedder_gets_the_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    built = builder(tmp_path)

    holders = [s for s in Stage if "OPENAI_API_KEY" in built._stage_environment(s)]
    assert holders == [Stage.EMBEDDER]


def test_partitions_stay_what_they_were(tmp_path: Path) -> None:
    first = builder(tmp_path, partitions=5)
    DataDir(tmp_path).write_state(first.state(serving=False))

    assert builder(tmp_path).settings.partitions == 5


def test_secrets_are_not_written_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KAFKA_PASSWORD", "hunter2")
    monkeypatch.setenv("QDRANT_API_KEY", "hunter3")

    written = json.dumps(public_settings(builder(tmp_path).settings))

    assert "hunter" not in written


def test_an_endpoint_without_a_model_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="HEADRACE_EMBEDDING_MODEL"):
        provider_defaults({"OPENAI_BASE_URL": "http://localhost"}, {})


def test_an_endpoint_with_a_model_makes_the_provider() -> None:
    environ = {
        "OPENAI_BASE_URL": "http://localhost",
        "HEADRACE_EMBEDDING_MODEL": "m",
        "HEADRACE_EMBEDDING_DIMENSIONS": "8",
    }

    assert provider_defaults(environ, {}) == {
        "embedding_provider": "openai",
        "tokenizer": "cl100k_base",
    }


@pytest.mark.parametrize(
    ("environ", "overrides"),
    [
        pytest.param({}, {}, id="nothing set"),
        pytest.param({"OPENAI_API_KEY": "k"}, {}, id="a key alone"),
        pytest.param(
            {"OPENAI_BASE_URL": "u"}, {"embedding_provider": "local"}, id="option"
        ),
        pytest.param(
            {"OPENAI_BASE_URL": "u", "HEADRACE_EMBEDDING_PROVIDER": "hash"},
            {},
            id="variable",
        ),
    ],
)
def test_an_explicit_provider_or_none_implies_nothing(
    environ: dict[str, str], overrides: dict[str, str]
) -> None:
    assert provider_defaults(environ, overrides) == {}
