"""Settings and wiring."""

from __future__ import annotations

from pathlib import Path

import pytest
from headrace_loader.app import build, own_hosts
from headrace_loader.settings import LoaderSettings

from headrace.control import Control
from headrace.errors import ConfigurationError, SharedFailure
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


def context(tmp_path: Path) -> StageContext[LoaderSettings]:
    settings = LoaderSettings(
        work_dir=tmp_path / "work", object_store_url=f"file://{tmp_path}/objects"
    )
    return StageContext(
        stage=Stage.LOADER,
        settings=settings,
        topology=settings.topology,
        producer=FakeProducer(),
        status=FakeStatusReporter(),
        dead_letters=FakeDeadLetters(),
        metrics=Metrics(Stage.LOADER),
        clock=FakeClock(),
        control=Control,
        worker="test",
    )


async def test_the_stage_is_built_from_its_context(tmp_path: Path) -> None:
    handler = await build(context(tmp_path))

    assert handler.ready() is None
    await handler.close()
    assert list((tmp_path / "work").iterdir()) == []


async def test_a_work_directory_that_fails_is_waited_for(tmp_path: Path) -> None:
    in_the_way = tmp_path / "work"
    in_the_way.touch()
    with pytest.raises(SharedFailure, match=f"HEADRACE_WORK_DIR {in_the_way}"):
        await build(context(tmp_path))


def test_lists_are_read_as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_FILE_ROOTS", '["/srv/documents"]')
    monkeypatch.setenv("HEADRACE_URL_PORTS", "[8080]")

    settings = load_settings(LoaderSettings)

    assert settings.file_roots == [Path("/srv/documents")]
    assert settings.url_ports == [8080]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HEADRACE_FILE_ROOTS", '["relative"]'),
        ("HEADRACE_URL_PORTS", "[70000]"),
        ("HEADRACE_FETCH_S", "0"),
        ("HEADRACE_PARSERS", "0"),
        ("HEADRACE_PARSER_MEMORY_BYTES", "1000"),
    ],
)
def test_a_bad_setting_is_named(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)

    with pytest.raises(ConfigurationError, match=name):
        load_settings(LoaderSettings)


def test_our_own_broker_and_store_are_no_sources() -> None:
    settings = LoaderSettings(
        kafka_bootstrap_servers="kafka-0.local:9092, kafka-1.local:9092",
        qdrant_url="http://qdrant.local:6334",
    )

    assert own_hosts(settings) == ["kafka-0.local", "kafka-1.local", "qdrant.local"]
