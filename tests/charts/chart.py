"""Renders the chart, and finds things in what comes of it."""

from __future__ import annotations

import functools
import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import yaml

TOOLS = Path(os.environ.get("HEADRACE_CHART_TOOLS", "/nowhere"))
CHART = Path(__file__).parent.parent.parent / "charts" / "headrace"
STAGES = ("loader", "chunker", "embedder", "indexer")
SERVICES = (*STAGES, "gateway", "registry", "lag-exporter")
APIS = ("keda.sh/v1alpha1", "monitoring.coreos.com/v1", "kafka.strimzi.io/v1")

Values = Mapping[str, Any]
Manifest = dict[str, Any]

LEAST: Values = {
    "kafka": {"bootstrapServers": "kafka:9092"},
    "qdrant": {"url": "http://qdrant:6334"},
    "database": {"existingSecret": "sql"},
    "objectStore": {"url": "s3://bucket/objects"},
}
"""What has to be set."""

KEDA: Values = {
    "autoscaling": {
        "engine": "keda",
        "keda": {"prometheus": {"serverAddress": "http://prometheus:9090"}},
    }
}
SECURE: Values = {
    "kafka": {
        "securityProtocol": "SASL_SSL",
        "sasl": {"existingSecret": "kafka-user"},
        "tls": {
            "existingSecret": "kafka-tls",
            "certKey": "tls.crt",
            "keyKey": "tls.key",
        },
    },
    "qdrant": {"existingSecret": "qdrant", "url": "https://qdrant:6334"},
    "embedding": {"provider": "openai", "existingSecret": "openai"},
    "objectStore": {"existingSecret": "s3"},
    "tests": {"existingSecret": "key"},
}


def _file(name: str) -> Values:
    values: Values = yaml.safe_load((CHART / name).read_text("utf-8"))
    return values


def over(*layers: Values) -> dict[str, Any]:
    """Values, each layer over those before it."""
    found: dict[str, Any] = {}
    for layer in layers:
        for key, value in layer.items():
            below = found.get(key)
            nested = isinstance(value, Mapping) and isinstance(below, Mapping)
            found[key] = over(below, value) if nested else deepcopy(value)
    return found


SETS: dict[str, Values] = {
    "least": LEAST,
    "dev": _file("values-dev.yaml"),
    "production": _file("values-production.yaml"),
    "keda": over(LEAST, KEDA),
    "keda_secure": over(LEAST, KEDA, SECURE),
    "hpa": over(LEAST, {"autoscaling": {"engine": "hpa"}}),
    "strimzi": over(
        LEAST,
        {"kafka": {"topics": {"by": "strimzi", "strimzi": {"cluster": "events"}}}},
    ),
    "bare": over(
        LEAST,
        {
            "networkPolicy": {"enabled": False},
            "kafka": {"topics": {"by": "none"}},
            "defaults": {
                "podDisruptionBudget": {"enabled": False, "maxUnavailable": 1},
                "serviceAccount": {"create": False, "name": "theirs"},
            },
        },
    ),
    "everything": over(
        LEAST,
        KEDA,
        SECURE,
        {
            "commonLabels": {"team": "search"},
            "commonAnnotations": {"owner": "search"},
            "fullnameOverride": "ingest",
            "image": {
                "registry": "registry.example.com",
                "pullSecrets": [{"name": "p"}],
            },
            "database": {"migrations": {"hook": True}},
            "embedding": {"requestsPerMinute": 120},
            "gateway": {
                "auth": {
                    "mode": "oidc",
                    "oidc": {"issuer": "https://i", "audience": "a"},
                },
                "ingress": {"enabled": True, "hosts": ["h"], "annotations": {"a": "b"}},
            },
            "monitoring": {"serviceMonitor": {"enabled": True, "labels": {"r": "m"}}},
            "settings": {"HEADRACE_LOG_LEVEL": "debug"},
            "stages": {
                "loader": {
                    "settings": {"HEADRACE_FETCH_S": "30"},
                    "drainSeconds": 55,
                    "nodeSelector": {"disk": "fast"},
                    "tolerations": [{"operator": "Exists"}],
                    "affinity": {"nodeAffinity": {}},
                    "priorityClassName": "high",
                    "podLabels": {"l": "1"},
                    "podAnnotations": {"a": "1"},
                    "extraEnv": [{"name": "HTTPS_PROXY", "value": "http://proxy:3128"}],
                    "extraVolumes": [{"name": "x", "emptyDir": {}}],
                    "extraVolumeMounts": [{"name": "x", "mountPath": "/x"}],
                    "image": {"digest": "sha256:" + "0" * 64},
                }
            },
            "extraObjects": [
                {
                    "apiVersion": "v1",
                    "kind": "ConfigMap",
                    "metadata": {"name": "{{ .Release.Name }}-extra"},
                }
            ],
        },
    ),
}
"""What is looked at in every way that there is."""


def helm(*arguments: str, values: Values) -> subprocess.CompletedProcess[str]:
    """Run helm with values from its standard input."""
    return subprocess.run(
        [TOOLS / "bin" / "helm", *arguments, "--values", "-"],
        input=json.dumps(values),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def template(values: Values, *, apis: tuple[str, ...] = APIS) -> tuple[str, str]:
    """What helm renders, and what it says where it refuses."""
    known = [each for api in apis for each in ("--api-versions", api)]
    done = helm("template", "r", str(CHART), "--namespace", "ns", *known, values=values)
    return done.stdout if done.returncode == 0 else "", done.stderr


@functools.cache
def rendered(name: str) -> str:
    """What comes of one of the sets of values."""
    text, refusal = template(SETS[name])
    assert text, refusal
    return text


@functools.cache
def manifests(text: str) -> list[Manifest]:
    """The objects of a rendered text; nobody changes them."""
    return [each for each in yaml.load_all(text, Loader=yaml.CSafeLoader) if each]


def of_kind(text: str, kind: str) -> dict[str, Manifest]:
    """Objects of a kind by name."""
    return {
        each["metadata"]["name"]: each
        for each in manifests(text)
        if each["kind"] == kind
    }


def pods(text: str) -> Iterator[tuple[str, Manifest]]:
    """Every pod that comes of it, as ``kind/name`` and its spec with metadata."""
    for each in manifests(text):
        name = f"{each['kind']}/{each['metadata']['name']}"
        if each["kind"] == "Pod":
            yield name, each
        elif each["kind"] in {"Deployment", "StatefulSet", "Job"}:
            yield name, each["spec"]["template"]


def component(manifest: Manifest) -> str:
    """Which service an object is of."""
    found: str = manifest["metadata"]["labels"]["app.kubernetes.io/component"]
    return found


def deployments(text: str) -> dict[str, Manifest]:
    """Deployments by service."""
    return {component(each): each for each in of_kind(text, "Deployment").values()}


def environment(text: str, pod: Manifest) -> dict[str, Any]:
    """Variables that the first container gets, those of the ConfigMap included."""
    found: dict[str, Any] = {}
    container = pod["spec"]["containers"][0]
    maps = of_kind(text, "ConfigMap")
    for source in container.get("envFrom", []):
        if "configMapRef" in source:
            found |= maps[source["configMapRef"]["name"]]["data"]
    for each in container.get("env", []):
        found[each["name"]] = each.get("value", each.get("valueFrom"))
    return found
