from __future__ import annotations

import pytest

from headrace.messages import Stage
from headrace.metrics import LagMetrics
from tests.charts.chart import (
    KEDA,
    LEAST,
    SETS,
    STAGES,
    deployments,
    of_kind,
    over,
    rendered,
    template,
)


@pytest.mark.parametrize("name", SETS)
def test_whoever_scales_a_stage_is_alone_with_it(name: str):
    text = rendered(name)
    scaled = {
        each["spec"]["scaleTargetRef"]["name"]
        for kind in ("ScaledObject", "HorizontalPodAutoscaler")
        for each in of_kind(text, kind).values()
    }
    for service, deployment in deployments(text).items():
        own = "replicas" in deployment["spec"]
        assert own is not (deployment["metadata"]["name"] in scaled), service
    assert scaled in (set(), {f"{prefix(text)}-{stage}" for stage in STAGES})


def prefix(text: str) -> str:
    return deployments(text)["loader"]["metadata"]["name"].removesuffix("-loader")


@pytest.mark.parametrize("name", ["keda", "keda_secure", "production", "everything"])
def test_keda_asks_prometheus_for_what_the_exporter_says(name: str):
    text = rendered(name)
    services = of_kind(text, "Service")
    for scaled in of_kind(text, "ScaledObject").values():
        stage = scaled["metadata"]["labels"]["app.kubernetes.io/component"]
        (found,) = [
            each for each in scaled["spec"]["triggers"] if each["type"] == "prometheus"
        ]
        query = found["metadata"]["query"]
        assert f'headrace_stage_wanted_replicas{{stage="{stage}",' in query
        service = query.partition('service="')[2].partition('"')[0]
        assert services[service]["spec"]["selector"]["app.kubernetes.io/component"] == (
            "lag-exporter"
        )
        assert found["metadata"]["threshold"] == "1"
        assert found["metadata"]["ignoreNullValues"] == "false"
        # One more than fits would have no partition.
        assert (
            scaled["spec"]["fallback"]["replicas"] <= scaled["spec"]["maxReplicaCount"]
        )


def test_the_metric_is_one_that_the_exporter_has():
    metrics = LagMetrics()
    metrics.wanted_replicas(Stage.LOADER).set(3)
    value = metrics.registry.get_sample_value(
        "headrace_stage_wanted_replicas", {"stage": "loader"}
    )
    assert value == 3


def test_no_lag_of_an_outage_starts_replicas_by_way_of_kafka():
    for scaled in of_kind(rendered("keda"), "ScaledObject").values():
        for trigger in scaled["spec"]["triggers"]:
            if trigger["type"] == "kafka":
                assert int(trigger["metadata"]["lagThreshold"]) >= 10**8
                assert trigger["metadata"]["activationLagThreshold"] == "0"
                assert trigger["metadata"]["excludePersistentLag"] == "false"


@pytest.mark.parametrize(
    ("requests", "most"), [(0, 6), (30, 1), (60, 1), (61, 2), (300, 5), (100_000, 6)]
)
def test_no_more_embedders_than_the_provider_feeds(requests: int, most: int):
    text, refusal = template(
        over(LEAST, KEDA, {"embedding": {"requestsPerMinute": requests}})
    )
    assert text, refusal
    found = of_kind(text, "ScaledObject")
    assert found["r-headrace-embedder"]["spec"]["maxReplicaCount"] == most
    assert found["r-headrace-indexer"]["spec"]["maxReplicaCount"] == 6


def test_stages_may_go_to_zero():
    stages = {
        stage: {"autoscaling": {"minReplicas": 0, "maxReplicas": 4}} for stage in STAGES
    }
    text, refusal = template(over(LEAST, KEDA, {"stages": stages}))
    assert text, refusal
    found = of_kind(text, "ScaledObject").values()
    assert [each["spec"]["minReplicaCount"] for each in found] == [0, 0, 0, 0]
    assert deployments(text)["lag-exporter"]["spec"]["replicas"] == 1


@pytest.mark.parametrize("kind", ["ScaledObject", "HorizontalPodAutoscaler"])
def test_replicas_go_one_by_one_and_not_at_once(kind: str):
    text = rendered("keda" if kind == "ScaledObject" else "hpa")
    for each in of_kind(text, kind).values():
        spec = each["spec"]
        if kind == "ScaledObject":
            spec = spec["advanced"]["horizontalPodAutoscalerConfig"]
        down = spec["behavior"]["scaleDown"]
        assert down["stabilizationWindowSeconds"] >= 300
        assert down["policies"] == [{"type": "Pods", "value": 1, "periodSeconds": 60}]


def test_credentials_of_keda_are_the_services_own():
    (found,) = of_kind(rendered("keda_secure"), "TriggerAuthentication").values()
    keys = {
        each["parameter"]: (each["name"], each["key"])
        for each in found["spec"]["secretTargetRef"]
    }
    assert keys == {
        "username": ("kafka-user", "username"),
        "password": ("kafka-user", "password"),
        "ca": ("kafka-tls", "ca.crt"),
        "cert": ("kafka-tls", "tls.crt"),
        "key": ("kafka-tls", "tls.key"),
    }
    triggers = [
        trigger
        for each in of_kind(rendered("keda_secure"), "ScaledObject").values()
        for trigger in each["spec"]["triggers"]
        if trigger["type"] == "kafka"
    ]
    assert len(triggers) == 8
    for trigger in triggers:
        assert trigger["authenticationRef"] == {"name": found["metadata"]["name"]}
        assert trigger["metadata"]["sasl"] == "scram_sha512"
        assert trigger["metadata"]["tls"] == "enable"
