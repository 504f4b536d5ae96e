"""Topics and groups are those of the product."""

from __future__ import annotations

from headrace.messages import Stage
from headrace.topology import DAY_MS, Topology
from tests.charts.chart import (
    LEAST,
    SETS,
    Values,
    environment,
    of_kind,
    over,
    pods,
    rendered,
    template,
)

STRIMZI = {"kafka": {"topics": {"by": "strimzi", "strimzi": {"cluster": "events"}}}}


def test_strimzi_is_asked_for_the_topics_that_the_product_needs():
    values = over(
        LEAST,
        STRIMZI,
        {
            "kafka": {
                "topicPrefix": "team_a.docs",
                "partitions": 24,
                "documentPartitions": 12,
                "retentionHours": 336,
            }
        },
    )
    text, refusal = template(values)
    assert text, refusal
    found = {
        each["spec"]["topicName"]: each for each in of_kind(text, "KafkaTopic").values()
    }
    wanted = Topology(
        prefix="team_a.docs",
        partitions=24,
        document_partitions=12,
        retention_ms=14 * DAY_MS,
    ).specs()
    assert set(found) == {spec.name for spec in wanted}
    for spec in wanted:
        topic = found[spec.name]
        assert topic["apiVersion"] == "kafka.strimzi.io/v1"
        assert topic["metadata"]["labels"]["strimzi.io/cluster"] == "events"
        assert topic["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
        assert set(topic["spec"]) == {"topicName", "partitions", "replicas", "config"}
        assert topic["spec"]["partitions"] == spec.partitions
        assert topic["spec"]["replicas"] == 3
        assert topic["spec"]["config"] == {**spec.config, "min.insync.replicas": "2"}


def test_topics_are_made_by_one_of_both_or_by_nobody():
    jobs = {
        name: any("-topics-" in job for job in of_kind(rendered(name), "Job"))
        for name in SETS
    }
    topics = {name: bool(of_kind(rendered(name), "KafkaTopic")) for name in SETS}
    assert {name for name in SETS if topics[name]} == {"strimzi", "production"}
    assert {name for name in SETS if not (topics[name] or jobs[name])} == {"bare"}
    assert not any(jobs[name] and topics[name] for name in SETS)


def test_the_job_makes_what_the_services_read():
    text = rendered("keda_secure")
    by_pod = dict(pods(text))
    (job,) = [pod for name, pod in by_pod.items() if "-topics-" in name]
    assert job["spec"]["containers"][0]["command"] == ["headrace", "topics", "apply"]
    shared = of_kind(text, "ConfigMap")["r-headrace"]["data"]
    found = environment(text, job)
    assert shared.items() <= found.items()
    assert {"KAFKA_USERNAME", "KAFKA_PASSWORD"} <= set(found)


def test_other_settings_make_another_job_and_the_same_make_none():
    def name(values: Values) -> str:
        (job,) = of_kind(template(values)[0], "Job")
        return job

    assert name(LEAST) == name(over(LEAST, {"registry": {"replicas": 3}}))
    assert name(LEAST) != name(over(LEAST, {"kafka": {"partitions": 12}}))


def test_kafka_is_asked_for_the_lag_of_the_stages_own_groups_and_topics():
    topology = Topology()
    objects = of_kind(rendered("keda"), "ScaledObject")
    for stage in Stage:
        triggers = objects[f"r-headrace-{stage}"]["spec"]["triggers"]
        kafka = [each["metadata"] for each in triggers if each["type"] == "kafka"]
        assert {each["consumerGroup"] for each in kafka} == {topology.group(stage)}
        assert {each["topic"] for each in kafka} == set(topology.inputs(stage).values())
        assert {each["offsetResetPolicy"] for each in kafka} == {"earliest"}
