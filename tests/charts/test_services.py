"""Parts fit each other: selectors, ports, probes, time to end, networks."""

from __future__ import annotations

import importlib.util

import pytest

from tests.charts.chart import (
    LEAST,
    SERVICES,
    SETS,
    Manifest,
    component,
    deployments,
    environment,
    manifests,
    of_kind,
    over,
    pods,
    rendered,
    template,
)


def labels(text: str) -> dict[str, Manifest]:
    """Labels of each pod."""
    return {name: pod["metadata"]["labels"] for name, pod in pods(text)}


def selected(text: str, selector: Manifest) -> set[str]:
    """Components of the pods that a selector takes."""
    return {
        each["app.kubernetes.io/component"]
        for each in labels(text).values()
        if selector.items() <= each.items()
    }


@pytest.mark.parametrize("name", SETS)
def test_every_service_is_there_and_its_module_too(name: str):
    found = deployments(rendered(name))
    assert set(found) == set(SERVICES)
    for deployment in found.values():
        command = deployment["spec"]["template"]["spec"]["containers"][0]["command"]
        assert command[:2] == ["python", "-m"]
        assert importlib.util.find_spec(command[2]), command


@pytest.mark.parametrize("name", SETS)
def test_selectors_take_their_own_pods_and_no_others(name: str):
    text = rendered(name)
    for each in manifests(text):
        spec = each.get("spec", {})
        selector = {
            "Deployment": lambda spec: spec["selector"]["matchLabels"],
            "StatefulSet": lambda spec: spec["selector"]["matchLabels"],
            "PodDisruptionBudget": lambda spec: spec["selector"]["matchLabels"],
            "NetworkPolicy": lambda spec: spec["podSelector"]["matchLabels"],
            "Service": lambda spec: spec["selector"],
        }.get(each["kind"])
        if selector is not None:
            assert selected(text, selector(spec)) == {component(each)}


@pytest.mark.parametrize("name", SETS)
def test_names_are_short_enough_and_nothing_is_there_twice(name: str):
    text = rendered(name)
    found = [(each["kind"], each["metadata"]["name"]) for each in manifests(text)]
    assert len(found) == len(set(found))
    assert all(len(each) <= 63 for _, each in found)


@pytest.mark.parametrize("name", SETS)
def test_probes_ask_what_the_services_answer_where_they_listen(name: str):
    text = rendered(name)
    for deployment in deployments(text).values():
        pod = deployment["spec"]["template"]
        container = pod["spec"]["containers"][0]
        ports = {each["name"]: each["containerPort"] for each in container["ports"]}
        found = environment(text, pod)
        assert str(ports["metrics"]) == found["HEADRACE_PROBE_PORT"]
        for probe, path in (
            ("startupProbe", "/livez"),
            ("livenessProbe", "/livez"),
            ("readinessProbe", "/readyz"),
        ):
            get = container[probe]["httpGet"]
            assert (get["path"], get["port"]) == (path, "metrics")
        if component(deployment) == "gateway":
            assert str(ports["http"]) == found["HEADRACE_HTTP_PORT"]
            assert str(ports["admin"]) == found["HEADRACE_ADMIN_PORT"]


@pytest.mark.parametrize("name", SETS)
def test_services_lead_to_ports_that_are_there(name: str):
    text = rendered(name)
    for service in of_kind(text, "Service").values():
        (pod,) = [
            pod
            for kind, pod in pods(text)
            if service["spec"]["selector"].items() <= pod["metadata"]["labels"].items()
            and not kind.startswith("Job/")
        ]
        names = {
            port["name"]
            for container in pod["spec"]["containers"]
            for port in container["ports"]
        }
        assert {each["targetPort"] for each in service["spec"]["ports"]} <= names


@pytest.mark.parametrize("name", SETS)
def test_there_is_time_to_drain(name: str):
    text = rendered(name)
    for deployment in deployments(text).values():
        pod = deployment["spec"]["template"]
        drain = float(environment(text, pod)["HEADRACE_DRAIN_S"])
        assert pod["spec"]["terminationGracePeriodSeconds"] == drain + 5


@pytest.mark.parametrize("name", SETS)
def test_an_update_never_counts_a_pod_that_has_not_come_up(name: str):
    # helm --wait takes replicas less maxUnavailable for enough.
    for deployment in deployments(rendered(name)).values():
        assert deployment["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0


@pytest.mark.parametrize("name", ["production", "everything"])
def test_prometheus_finds_every_service(name: str):
    text = rendered(name)
    (monitor,) = of_kind(text, "ServiceMonitor").values()
    wanted = monitor["spec"]["selector"]["matchLabels"]
    found = {
        component(each): {port["name"] for port in each["spec"]["ports"]}
        for each in of_kind(text, "Service").values()
        if wanted.items() <= each["metadata"]["labels"].items()
    }
    assert set(found) == set(SERVICES)
    (endpoint,) = monitor["spec"]["endpoints"]
    assert endpoint["path"] == "/metrics"
    assert all(endpoint["port"] in ports for ports in found.values())


def egress(text: str, service: str) -> set[int]:
    """Ports that a service may connect to."""
    (policy,) = [
        each
        for each in of_kind(text, "NetworkPolicy").values()
        if component(each) == service
    ]
    return {
        port["port"] for rule in policy["spec"]["egress"] for port in rule["ports"]
    } - {53}


@pytest.mark.parametrize("name", sorted(set(SETS) - {"bare"}))
def test_every_pod_has_a_network_policy_for_both_ways(name: str):
    text = rendered(name)
    policies = of_kind(text, "NetworkPolicy").values()
    of = {component(each) for each in policies}
    assert {each["app.kubernetes.io/component"] for each in labels(text).values()} - {
        "test"
    } == of
    for each in policies:
        assert each["spec"]["policyTypes"] == ["Ingress", "Egress"]


def test_nothing_is_open_that_a_service_does_not_need():
    text = rendered("production")
    # Kafka 9093, Qdrant 6334, PostgreSQL 5432, bucket and provider 443.
    assert {service: egress(text, service) for service in SERVICES} == {
        "loader": {9093, 6334, 80, 443},
        "chunker": {9093, 443},
        "embedder": {9093, 443},
        "indexer": {9093, 6334, 443},
        "gateway": {9093, 6334, 5432, 443},
        "registry": {9093, 5432},
        "lag-exporter": {9093},
    }
    assert egress(text, "migrations") == {5432}


def test_ports_follow_the_addresses():
    values = over(
        LEAST,
        {
            "kafka": {"bootstrapServers": "a:9092, b:19092"},
            "qdrant": {"url": "https://qdrant.example.com"},
            "embedding": {"provider": "openai", "baseUrl": "http://vllm:8000/v1"},
        },
    )
    text, refusal = template(values)
    assert text, refusal
    assert egress(text, "lag-exporter") == {9092, 19092}
    assert egress(text, "embedder") == {9092, 19092, 443, 8000}
    assert egress(text, "indexer") == {9092, 19092, 443}


def test_loaders_fetch_nothing_from_the_inside():
    (web,) = [
        rule
        for rule in of_kind(rendered("least"), "NetworkPolicy")["r-headrace-loader"][
            "spec"
        ]["egress"]
        if "to" in rule
    ]
    (block,) = web["to"]
    assert "169.254.0.0/16" in block["ipBlock"]["except"]


@pytest.mark.parametrize("name", SETS)
def test_objects_in_a_folder_are_the_same_for_all(name: str):
    text = rendered(name)
    for service, deployment in deployments(text).items():
        pod = deployment["spec"]["template"]
        url = environment(text, pod)["HEADRACE_OBJECT_STORE_URL"]
        mounts = {
            each["mountPath"] for each in pod["spec"]["containers"][0]["volumeMounts"]
        }
        uses = service not in {"registry", "lag-exporter"}
        folder = url.startswith("file://") and uses
        assert ("/var/lib/headrace/objects" in mounts) is folder


def test_what_is_set_for_a_service_replaces_the_default():
    values = over(
        LEAST,
        {
            "defaults": {"tolerations": [{"operator": "Exists"}]},
            "stages": {"loader": {"tolerations": []}},
            "registry": {
                "podDisruptionBudget": {"enabled": False, "maxUnavailable": 1}
            },
        },
    )
    text, refusal = template(values)
    assert text, refusal
    found = deployments(text)
    assert "tolerations" not in found["loader"]["spec"]["template"]["spec"]
    assert "tolerations" in found["chunker"]["spec"]["template"]["spec"]
    assert "r-headrace-registry" not in of_kind(text, "PodDisruptionBudget")


def test_the_admin_api_is_not_where_the_ingress_leads():
    text = rendered("production")
    (ingress,) = of_kind(text, "Ingress").values()
    ((path,),) = [rule["http"]["paths"] for rule in ingress["spec"]["rules"]]
    backend = path["backend"]["service"]
    service = of_kind(text, "Service")[backend["name"]]
    assert [each["targetPort"] for each in service["spec"]["ports"]] == ["http"]


def test_helm_test_has_a_key_where_one_is_needed():
    assert "r-headrace-test" in of_kind(rendered("dev"), "Pod")
    assert not of_kind(rendered("least"), "Pod")
    pod = of_kind(rendered("keda_secure"), "Pod")["r-headrace-test"]
    found = environment(rendered("keda_secure"), pod)
    assert found["HEADRACE_API_KEY"] == {
        "secretKeyRef": {"name": "key", "key": "api-key"}
    }
    assert found["HEADRACE_GATEWAY_URL"] == "http://r-headrace-gateway:80"
