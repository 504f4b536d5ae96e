"""services/Dockerfile builds what the chart runs, from what is in the repository."""

from __future__ import annotations

import re
from fnmatch import fnmatch

import pytest

from tests.charts.chart import CHART, SETS, pods, rendered

ROOT = CHART.parent.parent
DOCKERFILE = (ROOT / "services" / "Dockerfile").read_text("utf-8")
IGNORED = [
    line
    for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    if line and not line.startswith("#")
]


def test_what_is_copied_is_there_and_not_left_out():
    copied = re.findall(r"^COPY (?!--)(\S+) ", DOCKERFILE, flags=re.MULTILINE)
    assert len(copied) >= 6
    for each in copied:
        assert (ROOT / each).exists()
        assert not any(fnmatch(each, pattern) for pattern in IGNORED)


@pytest.mark.parametrize("name", SETS)
def test_every_image_of_ours_is_one_that_can_be_built(name: str):
    images = {
        container["image"].partition("headrace/")[2].partition(":")[0].partition("@")[0]
        for _, pod in pods(rendered(name))
        for container in pod["spec"]["containers"]
        if "headrace/" in container["image"]
    }
    assert {"loader", "chunker", "embedder", "indexer", "gateway", "registry"} <= images
    for service in images - {"cli"}:
        assert (ROOT / "requirements" / f"{service}.txt").exists()
        assert (ROOT / "services" / service / "pyproject.toml").exists()


def test_the_image_runs_as_the_user_whom_the_chart_names():
    user = re.findall(r"^USER (\S+)$", DOCKERFILE, flags=re.MULTILINE)
    for _, pod in pods(rendered("least")):
        security = pod["spec"]["securityContext"]
        assert user == [f"{security['runAsUser']}:{security['runAsGroup']}"]
