"""What is printed after an install can be pasted."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.charts import chart
from tests.charts.chart import SETS, Manifest
from tests.charts.test_restricted import faults

AS_OBJECT = """\
apiVersion: v1
kind: ConfigMap
metadata: {name: notes}
data:
  text: |
    {{- include "notes" . | nindent 4 }}
"""


@pytest.fixture
def notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> str:
    """The notes of a set of values; helm shows them to a cluster's users alone."""
    copy = tmp_path / "headrace"
    shutil.copytree(chart.CHART, copy)
    text = (copy / "templates" / "NOTES.txt").read_text("utf-8")
    defined = '{{- define "notes" -}}\n' + text + "{{- end -}}\n"
    (copy / "templates" / "notes.yaml").write_text(defined + AS_OBJECT, "utf-8")
    monkeypatch.setattr(chart, "CHART", copy)
    rendered, refusal = chart.template(SETS[name])
    assert rendered, refusal
    found: str = chart.of_kind(rendered, "ConfigMap")["notes"]["data"]["text"]
    return found


@pytest.mark.parametrize("name", SETS)
def test_the_first_command_leads_to_the_gateway(notes: str, name: str):
    services = chart.of_kind(chart.rendered(name), "Service")
    first = next(line for line in notes.splitlines() if "port-forward" in line)
    service, port = first.split("svc/")[1].split(" 8080:")
    assert services[service]["spec"]["ports"][0]["port"] == int(port.split()[0])


@pytest.mark.parametrize("name", ["least", "production"])
def test_the_pod_that_makes_a_key_may_run(notes: str):
    line = next(line for line in notes.splitlines() if "--overrides=" in line)
    pod: Manifest = json.loads(line.split("--overrides=")[1].strip().strip("'"))
    assert not list(faults(pod))
    (container,) = pod["spec"]["containers"]
    assert container["command"][:3] == ["headrace", "keys", "create"]
    assert container["env"][0]["name"] == "DATABASE_URL"


@pytest.mark.parametrize(
    ("name", "warnings"),
    [("production", 0), ("dev", 3), ("least", 1), ("everything", 0)],
)
def test_what_is_unsafe_is_said(notes: str, warnings: int):
    assert notes.count("WARNING: ") == warnings
