"""Bad values are refused before anything is installed, in words that help."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.charts.chart import (
    APIS,
    KEDA,
    LEAST,
    Values,
    over,
    template,
)

STRIMZI = {"kafka": {"topics": {"by": "strimzi", "strimzi": {"cluster": "events"}}}}
REFUSED = yaml.safe_load((Path(__file__).parent / "refused.yaml").read_text("utf-8"))
CROSS_CHECKS, SCHEMA = REFUSED["cross_checks"], REFUSED["schema"]


@pytest.mark.parametrize("case", CROSS_CHECKS)
def test_what_does_not_go_together_is_refused_with_advice(case: str):
    text, refusal = template(over(LEAST, CROSS_CHECKS[case]["values"]))
    assert not text
    assert "headrace cannot be installed like this" in refusal
    assert CROSS_CHECKS[case]["says"] in refusal
    # It is that alone: with one fault mended nothing else comes up.
    assert refusal.count("\n- ") == 1, refusal


@pytest.mark.parametrize("case", SCHEMA)
def test_what_the_schema_does_not_know_is_refused_by_name(case: str):
    text, refusal = template(over(LEAST, SCHEMA[case]["values"]))
    assert not text
    assert "values don't meet the specifications of the schema" in refusal
    assert SCHEMA[case]["says"] in refusal


@pytest.mark.parametrize(
    ("api", "values"),
    [
        (APIS[0], KEDA),
        (APIS[1], {"monitoring": {"serviceMonitor": {"enabled": True}}}),
        (APIS[2], STRIMZI),
    ],
)
def test_what_the_cluster_does_not_know_is_refused(api: str, values: Values):
    without = tuple(each for each in APIS if each != api)
    text, refusal = template(over(LEAST, values), apis=without)
    assert not text
    assert f"the cluster has no {api}: install" in refusal
    assert template(over(LEAST, values))[0]


def test_all_faults_are_told_at_once():
    _, refusal = template({})
    assert refusal.count("\n- ") >= 4


def test_a_laptop_may_have_one_copy():
    one = {
        "kafka": {
            "topics": {"strimzi": {"replicationFactor": 1, "minInSyncReplicas": 1}}
        }
    }
    text, refusal = template(over(LEAST, STRIMZI, one, {"dev": {"enabled": True}}))
    assert text, refusal
