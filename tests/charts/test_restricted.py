"""What a namespace that enforces the standard ``restricted`` takes, and more."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.charts.chart import SETS, Manifest, pods, rendered

VOLUMES = {
    "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral",
    "persistentVolumeClaim", "projected", "secret",
}  # fmt: skip
OURS = "headrace/"


def faults(pod: Manifest) -> Iterator[str]:
    """Why a restricted namespace would refuse the pod."""
    spec = pod["spec"]
    security = spec.get("securityContext", {})
    if any(spec.get(each) for each in ("hostNetwork", "hostPID", "hostIPC")):
        yield "it shares the node's namespaces"
    if security.get("sysctls"):
        yield "sysctls"
    for volume in spec.get("volumes", []):
        if not set(volume) - {"name"} <= VOLUMES:
            yield f"volume {volume}"
    for container in [*spec.get("initContainers", []), *spec["containers"]]:
        yield from faults_of(container, security)


def faults_of(container: Manifest, security: Manifest) -> Iterator[str]:
    """Why it would be refused because of one of its containers."""
    own = container.get("securityContext", {})
    both = security | own
    if both.get("runAsNonRoot") is not True or both.get("runAsUser", 0) == 0:
        yield "root"
    if both.get("seccompProfile", {}).get("type") != "RuntimeDefault":
        yield "no seccomp profile"
    if own.get("allowPrivilegeEscalation") is not False or own.get("privileged"):
        yield "privileges"
    if own.get("capabilities", {}) != {"drop": ["ALL"]}:
        yield "capabilities"
    if any("hostPort" in port for port in container.get("ports", [])):
        yield "port of the node"


@pytest.mark.parametrize("name", SETS)
def test_no_pod_is_refused(name: str):
    found = {pod: list(faults(spec)) for pod, spec in pods(rendered(name))}
    assert len(found) >= 7
    assert not {pod: why for pod, why in found.items() if why}


@pytest.mark.parametrize("name", SETS)
def test_our_containers_write_to_volumes_alone(name: str):
    for pod, spec in pods(rendered(name)):
        for container in spec["spec"]["containers"]:
            if OURS in container["image"]:
                security = container["securityContext"]
                assert security["readOnlyRootFilesystem"] is True, pod
                mounted = {each["mountPath"] for each in container["volumeMounts"]}
                assert "/tmp" in mounted, pod


@pytest.mark.parametrize("name", SETS)
def test_no_pod_can_speak_to_kubernetes_or_is_told_of_services(name: str):
    # A Service called headrace-admin would make HEADRACE_ADMIN_PORT, a setting.
    for pod, spec in pods(rendered(name)):
        assert spec["spec"]["automountServiceAccountToken"] is False, pod
        assert spec["spec"]["enableServiceLinks"] is False, pod


@pytest.mark.parametrize("name", SETS)
def test_every_container_has_a_bound_of_memory(name: str):
    for pod, spec in pods(rendered(name)):
        for container in spec["spec"]["containers"]:
            assert container["resources"]["limits"]["memory"], pod
            assert container["resources"]["requests"]["cpu"], pod


def test_the_check_finds_what_is_wrong():
    pod = {"spec": {"hostNetwork": True, "containers": [{"name": "x"}]}}
    assert len(list(faults(pod))) == 5
