"""skaffold.yaml builds every image, and names each where the chart looks for it."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from tests.charts.chart import CHART, SETS, Values, of_kind, over, pods, template

CONFIG: dict[str, Any] = yaml.safe_load(
    (CHART.parent.parent / "skaffold.yaml").read_text("utf-8")
)
IMAGES = {
    each["docker"]["buildArgs"]["SERVICE"]: each["image"]
    for each in CONFIG["build"]["artifacts"]
}
RELEASES = [
    CONFIG["deploy"]["helm"]["releases"][0],
    CONFIG["profiles"][-1]["deploy"]["helm"]["releases"][0],
]


def values_of(release: dict[str, Any]) -> Values:
    """What skaffold would set, with images of a registry that only it knows."""
    found: dict[str, Any] = {}
    for path, value in release["setValueTemplates"].items():
        for image in IMAGES.values():
            name = image.replace("/", "_")
            value = value.replace(f"{{{{.IMAGE_REPO_{name}}}}}", f"local:5000/{image}")  # noqa: PLW2901
            value = value.replace(f"{{{{.IMAGE_TAG_{name}}}}}", "built")  # noqa: PLW2901
        assert "{{" not in value
        nested: Any = value
        for key in reversed(path.split(".")):
            nested = {key: nested}
        found = over(found, nested)
    return found


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("name", ["dev", "everything"])
def test_every_pod_runs_what_was_built(release: dict[str, Any], name: str):
    values = over(SETS[name], {"image": {"registry": ""}})
    values["stages"]["loader"].pop("image", None)
    text, refusal = template(over(values, values_of(release)))
    assert text, refusal
    images = {
        container["image"]
        for _, pod in pods(text)
        for container in pod["spec"]["containers"]
        if "headrace/" in container["image"]
    }
    assert images == {f"local:5000/{image}:built" for image in IMAGES.values()}


def test_every_service_has_an_image_of_its_own():
    assert {service: f"headrace/{service}" for service in IMAGES} == IMAGES
    assert len(IMAGES) == 7


def test_the_port_is_one_of_the_chart():
    (forward,) = CONFIG["portForward"]
    text, refusal = template(over(SETS["dev"], {"fullnameOverride": "headrace"}))
    assert text, refusal
    # A release called headrace needs no other name.
    assert {each["name"] for each in RELEASES} == {"headrace"}
    service = of_kind(text, "Service")[forward["resourceName"]]
    assert [each["port"] for each in service["spec"]["ports"]] == [forward["port"]]
