"""The chart sets what the product reads, and what it reads of it is valid."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from headrace_chunker.settings import ChunkerSettings
from headrace_embedder.settings import EmbedderSettings
from headrace_gateway.settings import GatewaySettings
from headrace_indexer.settings import IndexerSettings
from headrace_loader.settings import LoaderSettings
from headrace_registry.settings import RegistrySettings

from headrace.lag_exporter import LagExporterSettings
from headrace.process import load_settings
from headrace.settings import Settings
from tests.charts.chart import (
    CHART,
    LEAST,
    SERVICES,
    SETS,
    STAGES,
    deployments,
    environment,
    of_kind,
    over,
    pods,
    rendered,
    template,
)

CLASSES: dict[str, type[Settings]] = {
    "loader": LoaderSettings,
    "chunker": ChunkerSettings,
    "embedder": EmbedderSettings,
    "indexer": IndexerSettings,
    "gateway": GatewaySettings,
    "registry": RegistrySettings,
    "lag-exporter": LagExporterSettings,
}
OF_THE_COMMAND = {"HEADRACE_DATA_DIR", "HEADRACE_GATEWAY_URL", "HEADRACE_API_KEY"}
THEIRS = {"HTTPS_PROXY"}
"""What the values of a test add by themselves."""


def read_by(*classes: type[Settings]) -> set[str]:
    return {
        field.validation_alias or f"HEADRACE_{name}".upper()
        for settings in classes
        for name, field in settings.model_fields.items()
    }


@pytest.mark.parametrize("name", SETS)
def test_every_variable_is_one_that_the_product_reads(name: str):
    text = rendered(name)
    known = read_by(*CLASSES.values()) | OF_THE_COMMAND | THEIRS
    for pod, spec in pods(text):
        if "headrace/" in spec["spec"]["containers"][0]["image"]:
            assert not set(environment(text, spec)) - known, pod


@pytest.mark.parametrize("name", SETS)
def test_what_a_service_alone_is_given_that_service_reads(name: str):
    for service, deployment in deployments(rendered(name)).items():
        container = deployment["spec"]["template"]["spec"]["containers"][0]
        given = {each["name"] for each in container["env"]}
        assert not given - read_by(CLASSES[service]) - THEIRS, service


@pytest.mark.parametrize("name", SETS)
def test_each_service_would_start_with_its_settings(
    name: str, monkeypatch: pytest.MonkeyPatch
):
    text = rendered(name)
    secrets = {
        "DATABASE_URL": "postgresql://u:p@sql/headrace",
        "OPENAI_API_KEY": "k",
        "QDRANT_API_KEY": "k",
        "KAFKA_USERNAME": "u",
        "KAFKA_PASSWORD": "p",
    }
    for service, deployment in deployments(text).items():
        found = environment(text, deployment["spec"]["template"])
        with monkeypatch.context() as patch:
            for variable, value in found.items():
                text_value = value if isinstance(value, str) else secrets[variable]
                patch.setenv(variable, text_value)
            settings = load_settings(CLASSES[service])
        assert settings.probe_host == "0.0.0.0"
        assert settings.probe_port == 9400


@pytest.mark.parametrize("name", SETS)
def test_secrets_come_from_secrets_and_only_to_those_who_need_them(name: str):
    needed = {
        "DATABASE_URL": {"gateway", "registry"},
        "OPENAI_API_KEY": {"gateway", "embedder"},
        "QDRANT_API_KEY": {"loader", "indexer", "gateway"},
        "KAFKA_PASSWORD": set(SERVICES),
    }
    text = rendered(name)
    for service, deployment in deployments(text).items():
        found = environment(text, deployment["spec"]["template"])
        for variable, services in needed.items():
            if variable in found:
                assert service in services, variable
                assert set(found[variable]) == {"secretKeyRef"}
    if name in {"keda_secure", "production", "everything"}:
        for variable, services in needed.items():
            assert services == {
                service
                for service, deployment in deployments(text).items()
                if variable in environment(text, deployment["spec"]["template"])
            }


def test_all_agree_on_what_they_must_agree_on():
    text = rendered("production")
    shared = read_by(Settings) - {"KAFKA_USERNAME", "KAFKA_PASSWORD", "QDRANT_API_KEY"}
    found = [
        {
            variable: value
            for variable, value in environment(text, each["spec"]["template"]).items()
            if variable in shared
        }
        for each in deployments(text).values()
    ]
    assert len(found[0]) > 20
    assert all(each == found[0] for each in found)


def test_another_setting_replaces_the_pods():
    def checksums(text: str) -> set[str]:
        return {
            each["spec"]["template"]["metadata"]["annotations"]["checksum/settings"]
            for each in deployments(text).values()
        }

    other, _ = template(over(LEAST, {"kafka": {"retentionHours": 24}}))
    before, after = checksums(rendered("least")), checksums(other)
    assert len(before) == len(after) == 1
    assert before != after


def test_the_client_certificate_is_where_kafka_settings_say():
    text = rendered("keda_secure")
    data = of_kind(text, "ConfigMap")["r-headrace"]["data"]
    for deployment in deployments(text).values():
        spec = deployment["spec"]["template"]["spec"]
        (volume,) = [each for each in spec["volumes"] if each["name"] == "kafka-tls"]
        (mount,) = [
            each
            for each in spec["containers"][0]["volumeMounts"]
            if each["name"] == "kafka-tls"
        ]
        there = {
            f"{mount['mountPath']}/{item['path']}" for item in volume["secret"]["items"]
        }
        named = {data[f"KAFKA_{each}_FILE"] for each in ("CA", "CERT", "KEY")}
        assert named == there


def test_the_lag_exporter_may_want_as_many_as_any_stage_may_have():
    values = {
        "stages": {"loader": {"autoscaling": {"minReplicas": 1, "maxReplicas": 2}}}
    }
    data = of_kind(template(over(LEAST, values))[0], "ConfigMap")["r-headrace"]["data"]
    assert data["HEADRACE_MAX_REPLICAS"] == "6"


def test_names_in_the_schema_and_the_readme_are_those_of_today():
    done = subprocess.run(
        [sys.executable, "scripts/make_chart_docs.py", "--check"],
        cwd=CHART.parent.parent,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr


def test_every_value_is_in_the_schema():
    schema = json.loads((CHART / "values.schema.json").read_text("utf-8"))

    def opened(part: Any) -> Iterator[Any]:
        """Objects that take anything, but those that hold Kubernetes' own forms."""
        if isinstance(part, dict):
            if (
                part.get("properties")
                and part.get("additionalProperties", 1) is not False
            ):
                yield part["properties"].keys()
            for each in part.values():
                yield from opened(each)

    assert [set(keys) for keys in opened(schema)] == [
        set(schema["$defs"]["podSecurityContext"]["properties"]),
        {"type"},
    ]
    assert set(STAGES) == set(schema["properties"]["stages"]["properties"])
