from __future__ import annotations

import subprocess

import pytest

from tests.charts.chart import CHART, SETS, TOOLS, helm, rendered


def conforms(text: str, *, version: str = "1.36") -> subprocess.CompletedProcess[str]:
    """What kubeconform says of it."""
    kubernetes = f"{version}/{{{{.ResourceKind}}}}{{{{.KindSuffix}}}}.json"
    others = "others/{{.ResourceKind}}_{{.ResourceAPIVersion}}.json"
    places = [
        each
        for place in (kubernetes, others)
        for each in ("-schema-location", f"{TOOLS}/schemas/{place}")
    ]
    return subprocess.run(
        # Strimzi's definitions are in no registry; test_topics looks at each field.
        [
            TOOLS / "bin" / "kubeconform",
            *("-strict", "-summary", "-skip", "KafkaTopic"),
            *places,
        ],
        input=text,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize("name", SETS)
def test_helm_finds_nothing_to_complain_about(name: str):
    done = helm("lint", "--strict", str(CHART), values=SETS[name])
    assert done.returncode == 0, done.stdout + done.stderr
    assert "[WARNING]" not in done.stdout


@pytest.mark.parametrize("version", ["1.28", "1.36"])
@pytest.mark.parametrize("name", SETS)
def test_everything_has_the_form_that_kubernetes_asks_for(name: str, version: str):
    done = conforms(rendered(name), version=version)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Invalid: 0, Errors: 0" in done.stdout


@pytest.mark.parametrize("field", ["pollingInterval", "readinessProbe", "interval"])
def test_the_schemas_would_find_a_misspelt_field(field: str):
    done = conforms(rendered("everything").replace(f"{field}:", f"{field}l:"))
    assert done.returncode != 0
    assert f"{field}l" in done.stdout
