"""What gateway and registry are told on one machine."""

from __future__ import annotations

from pathlib import Path

import pytest
from headrace_gateway.settings import GatewaySettings
from headrace_local.data_dir import DataDir
from headrace_local.services import Service, gateway_url, service_environment
from headrace_registry.settings import RegistrySettings

from headrace.errors import ConfigurationError
from headrace.process import load_settings

URL = "http://127.0.0.1:18080"


def told(service: Service, folder: Path, **stage: str) -> dict[str, str]:
    return service_environment(service, stage, DataDir(folder), gateway=URL)


def test_the_gateway_takes_its_settings_and_listens_here_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = told(Service.GATEWAY, tmp_path, HEADRACE_HTTP_HOST="0.0.0.0")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    settings = load_settings(GatewaySettings)

    assert (settings.http_host, settings.http_port) == ("127.0.0.1", 18080)
    assert settings.auth_mode == "none"
    assert str(tmp_path) in settings.database_url.get_secret_value()


def test_both_use_the_same_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = [told(service, tmp_path) for service in Service]
    for name, value in told(Service.REGISTRY, tmp_path).items():
        monkeypatch.setenv(name, value)

    assert len({each["DATABASE_URL"] for each in both}) == 1
    assert (
        load_settings(RegistrySettings).database_url.get_secret_value()
        == (both[0]["DATABASE_URL"])
    )


def test_what_is_set_is_kept(tmp_path: Path) -> None:
    own = {"DATABASE_URL": "postgresql://db/h", "HEADRACE_AUTH_MODE": "keys"}
    environment = told(Service.GATEWAY, tmp_path, **own)

    assert own.items() <= environment.items()
    assert gateway_url({"HEADRACE_HTTP_PORT": "18081"}) == "http://127.0.0.1:18081"


@pytest.mark.parametrize("port", ["http", "-1", "65536", ""])
def test_a_port_that_is_none_is_refused(port: str) -> None:
    with pytest.raises(ConfigurationError, match="HEADRACE_HTTP_PORT"):
        gateway_url({"HEADRACE_HTTP_PORT": port})


def test_only_who_embeds_gets_the_key(tmp_path: Path) -> None:
    holders = [
        service
        for service in Service
        if "OPENAI_API_KEY" in told(service, tmp_path, OPENAI_API_KEY="secret")
    ]

    assert holders == [Service.GATEWAY]
