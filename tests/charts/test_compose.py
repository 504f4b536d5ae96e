"""compose.yaml starts what the chart starts, with settings that the services take."""

from __future__ import annotations

import json
import re
from typing import Any

import jsonschema_rs
import pytest
import yaml

from headrace.process import load_settings
from tests.charts.chart import CHART, SERVICES, TOOLS
from tests.charts.test_settings import CLASSES

COMPOSE: dict[str, Any] = yaml.safe_load(
    (CHART.parent.parent / "compose.yaml").read_text("utf-8")
)
PARTS: dict[str, Any] = COMPOSE["services"]


def resolved(value: str) -> str:
    """The value where nothing of it is set in the environment."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", value)


def test_it_has_the_form_of_a_compose_file():
    schema = json.loads((TOOLS / "schemas" / "compose.json").read_text("utf-8"))
    validator = jsonschema_rs.validator_for(schema)
    # The schema is older than the project's name.
    known = {key: value for key, value in COMPOSE.items() if key != "name"}
    assert not [str(error) for error in validator.iter_errors(known)]
    assert not validator.is_valid(known | {"services": {"x": {"imag": "y"}}})


def test_every_service_is_there():
    assert set(PARTS) == {*SERVICES, "topics", "kafka", "qdrant", "postgresql"}


@pytest.mark.parametrize("service", SERVICES)
def test_each_service_would_start_and_be_found_ready(
    service: str, monkeypatch: pytest.MonkeyPatch
):
    part = PARTS[service]
    for variable, value in part["environment"].items():
        monkeypatch.setenv(variable, resolved(value))
    settings: Any = load_settings(CLASSES[service])
    assert f":{settings.probe_port}/readyz" in part["healthcheck"]["test"][-1]
    assert part["stop_grace_period"] == f"{settings.drain_s + 5:.0f}s"
    module = (
        "headrace.lag_exporter" if service == "lag-exporter" else f"headrace_{service}"
    )
    assert part["command"] == [module]


@pytest.mark.parametrize("name", sorted(set(PARTS) - {"topics"}))
def test_everything_that_stays_says_whether_it_is_well(name: str):
    assert PARTS[name]["healthcheck"]["test"][0] == "CMD"
    assert PARTS[name]["restart"] == "unless-stopped"


def test_nothing_listens_beyond_this_machine():
    ports = [port for part in PARTS.values() for port in part.get("ports", [])]
    assert len(ports) == 3
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_what_is_waited_for_is_there_and_ends_as_it_is_waited_for():
    for part in PARTS.values():
        for other, how in part.get("depends_on", {}).items():
            if how["condition"] == "service_healthy":
                assert "healthcheck" in PARTS[other]
            elif how["condition"] == "service_completed_successfully":
                assert other == "topics"


def test_volumes_are_declared():
    used = {
        volume.partition(":")[0]
        for part in PARTS.values()
        for volume in part.get("volumes", [])
    }
    assert used == set(COMPOSE["volumes"])
