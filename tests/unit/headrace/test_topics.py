from __future__ import annotations

from dataclasses import replace

from headrace.topics import TopicState, compare
from headrace.topology import Topology

TOPOLOGY = Topology(partitions=3, document_partitions=2)


def as_wanted() -> dict[str, TopicState]:
    return {
        spec.name: TopicState(spec.partitions, 1, {**spec.config, "other": "1"})
        for spec in TOPOLOGY.specs()
    }


def test_nothing_to_say_where_all_is_well() -> None:
    assert compare(TOPOLOGY, as_wanted()) == []


def test_missing_topics() -> None:
    found = as_wanted()
    del found["headrace.status.v1"]
    (drift,) = compare(TOPOLOGY, found)
    assert (drift.topic, drift.missing) == ("headrace.status.v1", True)
    assert "headrace topics apply" in drift.what


def test_lists_of_policies_have_no_order() -> None:
    found = as_wanted()
    parked = found["headrace.parked.v1"]
    policy = ",".join(reversed(parked.config["cleanup.policy"].split(",")))
    config = {**parked.config, "cleanup.policy": policy}
    found["headrace.parked.v1"] = replace(parked, config=config)
    assert compare(TOPOLOGY, found) == []


def test_documents_must_have_append_times() -> None:
    found = as_wanted()
    name = "headrace.documents.v1"
    config = {**found[name].config, "message.timestamp.type": "CreateTime"}
    found[name] = replace(found[name], config=config)
    (drift,) = compare(TOPOLOGY, found)
    assert drift.topic == name
    assert "CreateTime, LogAppendTime is wanted" in drift.what


def test_other_partition_counts_and_lanes_apart() -> None:
    found = as_wanted()
    name = "headrace.chunks.bulk.v1"
    found[name] = replace(found[name], partitions=5)
    drifts = compare(TOPOLOGY, found)
    assert "5 partitions, 3 are wanted; Kafka cannot" in drifts[0].what
    apart = {drift.topic for drift in drifts[1:]}
    assert apart == {
        f"headrace.{noun}{lane}.v1"
        for noun in ("texts", "chunks", "vectors")
        for lane in ("", ".bulk")
    } - {name}


def test_after_growth_nothing_is_asked_of_topics_that_keep_their_partitions() -> None:
    found = as_wanted()
    for noun in ("texts", "chunks", "vectors"):
        for lane in ("", ".bulk"):
            name = f"headrace.{noun}{lane}.v1"
            found[name] = replace(found[name], partitions=5)
    assert compare(replace(TOPOLOGY, partitions=5), found) == []


def test_each_topic_is_told_its_own_way_to_more_partitions() -> None:
    told = {
        drift.topic: drift.what
        for drift in compare(Topology(partitions=5, document_partitions=4), as_wanted())
    }
    assert len(told) == 8
    assert "headrace topics grow" in told["headrace.texts.v1"]
    assert "kafka-topics" in told["headrace.documents.bulk.v1"]
