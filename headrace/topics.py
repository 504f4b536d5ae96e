"""Makes Headrace's topics, and says in words where they differ from what is wanted."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import (
    KafkaError,
    TopicAlreadyExistsError,
    for_code,
)

from headrace.messages import Lane
from headrace.topology import Noun, TopicSpec, Topology

_LED_WITHIN_S = 30.0
_ALIGNED = (Noun.TEXTS, Noun.CHUNKS, Noun.VECTORS)
"""Partition i of one goes to partition i of the next."""


@dataclass(frozen=True, slots=True)
class TopicState:
    """A topic as it is."""

    partitions: int
    replication_factor: int
    config: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Drift:
    """One difference between a topic and what is wanted."""

    topic: str
    what: str
    """For people: what is, what should be, what to do."""
    missing: bool = False


class TopicsRefused(Exception):
    """A change was refused; the message says what and why."""


def compare(topology: Topology, found: Mapping[str, TopicState]) -> list[Drift]:
    """What differs, worst first. Pure."""
    drifts: list[Drift] = []
    ways = _ways(topology)
    for spec in topology.specs():
        state = found.get(spec.name)
        if state is None:
            advice = "it is missing; `headrace topics apply` makes it"
            drifts.append(Drift(spec.name, advice, missing=True))
        else:
            drifts += _differences(spec, state, ways.get(spec.name))
    return drifts + _misaligned(topology, found)


def _ways(topology: Topology) -> dict[str, str]:
    """How to add partitions, by topic; the others do with any number.

    Letters and statuses must keep theirs: a key's tombstone would go elsewhere.
    """
    return {
        topology.topic(noun, lane): (
            "`headrace topics grow` adds them"
            if noun in _ALIGNED
            else "add them with kafka-topics, in both lanes"
        )
        for noun in Noun
        for lane in Lane
    }


def _differences(spec: TopicSpec, state: TopicState, way: str | None) -> list[Drift]:
    drifts: list[Drift] = []
    if way is not None and state.partitions != spec.partitions:
        if state.partitions > spec.partitions:
            way = "Kafka cannot take partitions away; set the wanted number to this"
        drifts.append(
            Drift(
                spec.name,
                f"has {state.partitions} partitions, {spec.partitions} are wanted; "
                + way,
            )
        )
    for name, wanted in spec.config.items():
        actual = state.config.get(name)
        if actual is not None and _words(actual) != _words(wanted):
            drifts.append(
                Drift(
                    spec.name,
                    f"{name} is {actual}, {wanted} is wanted; change it with "
                    "kafka-configs",
                )
            )
    return drifts


def _misaligned(topology: Topology, found: Mapping[str, TopicState]) -> list[Drift]:
    """Counts that have to be equal whatever their number is."""
    drifts: list[Drift] = []
    groups = [
        [topology.topic(noun, lane) for noun in _ALIGNED for lane in Lane],
        [topology.topic(Noun.DOCUMENTS, lane) for lane in Lane],
    ]
    for group in groups:
        counts = {name: found[name].partitions for name in group if name in found}
        if len(set(counts.values())) > 1:
            most = max(counts.values())
            drifts += [
                Drift(
                    name,
                    f"has {count} partitions where {most} are needed: all of "
                    f"{', '.join(group)} must have the same number",
                )
                for name, count in counts.items()
                if count != most
            ]
    return drifts


def _words(value: str) -> set[str]:
    """Lists like cleanup policies come in any order."""
    return {word.strip() for word in value.split(",")}


async def read(admin: AIOKafkaAdminClient, topology: Topology) -> dict[str, TopicState]:
    """The topics of the topology that exist.

    Raises:
        KafkaError: no broker answers.
    """
    # All topics: to ask for a missing one by its name may have the broker make it.
    names = {spec.name for spec in topology.specs()}
    described = [
        topic
        for topic in await admin.describe_topics()
        if topic["topic"] in names and not topic["error_code"]
    ]
    if not described:
        return {}
    configs = await _configs(admin, [topic["topic"] for topic in described])
    return {
        topic["topic"]: TopicState(
            partitions=len(topic["partitions"]),
            replication_factor=len(topic["partitions"][0]["replicas"]),
            config=configs.get(topic["topic"], {}),
        )
        for topic in described
    }


async def _configs(
    admin: AIOKafkaAdminClient, topics: Sequence[str]
) -> dict[str, dict[str, str]]:
    answers: list[Any] = await admin.describe_configs(
        [ConfigResource(ConfigResourceType.TOPIC, topic) for topic in topics]
    )
    found: dict[str, dict[str, str]] = {}
    for answer in answers:
        for resource in answer.resources:
            error_code, message, _, name, entries = resource[:5]
            if error_code:
                raise for_code(error_code)(f"{name}: {message}")
            found[name] = {entry[0]: entry[1] for entry in entries}
    return found


async def check(admin: AIOKafkaAdminClient, topology: Topology) -> list[Drift]:
    """Compare what is with what is wanted; empty where all is well."""
    return compare(topology, await read(admin, topology))


async def apply(
    admin: AIOKafkaAdminClient, topology: Topology, *, replication_factor: int
) -> list[str]:
    """Make the missing topics; existing ones are left as they are.

    May be called by many at once. Returns the names of the made ones, which can be
    used from then on.

    Raises:
        TopicsRefused: the broker refused one.
        TimeoutError: a new one did not get its leaders.
    """
    found = await read(admin, topology)
    missing = [spec for spec in topology.specs() if spec.name not in found]
    if not missing:
        return []
    response: Any = await admin.create_topics(
        [
            NewTopic(
                name=spec.name,
                num_partitions=spec.partitions,
                replication_factor=replication_factor,
                topic_configs=spec.config,
            )
            for spec in missing
        ]
    )
    made: list[str] = []
    for name, code, *rest in response.topic_errors:
        if not code:
            made.append(name)
        elif for_code(code) is not TopicAlreadyExistsError:
            why = rest[0] if rest and rest[0] else for_code(code).__name__
            raise TopicsRefused(f"{name} was not made: {why}")
    await _led(admin, made)
    return made


async def _led(admin: AIOKafkaAdminClient, names: Sequence[str]) -> None:
    """Wait until new topics are known and have leaders: then they can be used."""
    async with asyncio.timeout(_LED_WITHIN_S):
        while True:
            ready = {
                topic["topic"]
                for topic in await admin.describe_topics()
                if not topic["error_code"]
                and all(not part["error_code"] for part in topic["partitions"])
            }
            if ready.issuperset(names):
                return
            await asyncio.sleep(0.1)


async def align(admin: AIOKafkaAdminClient, topology: Topology) -> list[str]:
    """Raise chunks and vectors to what comes before them; the names of those raised.

    That moves no key, since each record goes on to the partition number that it came
    by: it is safe at any time, and lets go on what waits for a partition that is
    missing ahead.

    Raises:
        TopicsRefused: the broker refused.
    """
    found = await read(admin, topology)
    wanted = 0
    short: dict[str, int] = {}
    for noun in _ALIGNED:
        names = [topology.topic(noun, lane) for lane in Lane]
        wanted = max([wanted, *(found[n].partitions for n in names if n in found)])
        if noun is not Noun.TEXTS:
            short |= {
                name: wanted
                for name in names
                if name in found and found[name].partitions < wanted
            }
    await _add(admin, short)
    return list(short)


async def _add(admin: AIOKafkaAdminClient, counts: Mapping[str, int]) -> None:
    """Raise topics to these numbers of partitions."""
    if not counts:
        return
    try:
        await admin.create_partitions(
            {name: NewPartitions(total_count=count) for name, count in counts.items()}
        )
    except KafkaError as error:
        raise TopicsRefused(str(error)) from error
    await _led(admin, list(counts))


async def grow(
    admin: AIOKafkaAdminClient, topology: Topology, *, partitions: int
) -> list[str]:
    """Raise texts, chunks and vectors, both lanes, to ``partitions``.

    Only while nothing is in flight there: keys move to other partitions, and records
    of one key would be read by two processes at once. The caller pauses the loader and
    drains first (``headrace topics grow``).

    Raises:
        TopicsRefused: there would be fewer than now, a topic is missing, or the broker
            refused.
    """
    found = await read(admin, topology)
    names = [topology.topic(noun, lane) for noun in _ALIGNED for lane in Lane]
    for name in names:
        if name not in found:
            raise TopicsRefused(f"{name} is missing; run `headrace topics apply`")
        if found[name].partitions > partitions:
            raise TopicsRefused(
                f"{name} has {found[name].partitions} partitions already; "
                "Kafka cannot take any away"
            )
    grown = [name for name in names if found[name].partitions < partitions]
    await _add(admin, dict.fromkeys(grown, partitions))
    return grown
