"""F3: who works on a document dies, or loses it; and two registries look after that."""

from __future__ import annotations

import time

import pytest
from aiokafka import AIOKafkaConsumer
from headrace_registry.records import read_status

from headrace.database.merging import Row as SqlRow
from headrace.headers import ARRIVAL
from headrace.kafka_clients import reader
from headrace.messages import Lane, Stage
from headrace.topology import INPUT, Noun
from tests.faults.front import RECONCILE_S, STALE_S, Front
from tests.faults.harness import Harness, text_of
from tests.faults.machines import StageMachine
from tests.faults.reporting import Row
from tests.support.database_worlds import expected, stored
from tests.support.eventually import eventually

SLACK = 5
"""Machines do other things."""
BOUND_S = STALE_S + RECONCILE_S
LOST = "lost_in_stage"


async def lose(harness: Harness, front: Front, name: str, *, stage: Stage) -> str:
    """Upload a document that a stage takes and forgets; its id.

    The stage is gone while it comes, and somebody else commits it in its place.
    """
    machine = harness.stage(stage)
    await front.relayed()
    await harness.drained()
    await machine.kill9()
    await harness.evict(stage)
    answer = await front.ask(harness.collection, name, text_of(name))
    assert answer.status_code == 202, answer.text
    await front.relayed()
    before = list(Stage)[: list(Stage).index(stage)]

    async def given() -> bool:
        waiting = await harness.waiting()
        return waiting[stage] == 1 and not any(waiting[each] for each in before)

    await eventually(given)
    topology = harness.settings.topology
    consumer = AIOKafkaConsumer(
        bootstrap_servers=harness.settings.kafka_bootstrap_servers,
        group_id=topology.group(stage),
        enable_auto_commit=False,
    )
    async with consumer:
        ends = await harness.ends(topology.topic(INPUT[stage], Lane.INTERACTIVE))
        consumer.assign(list(ends))
        await consumer.commit(ends)
    await machine.start()
    return str(answer.json()["id"])


async def ends_as(front: Front, id_: str, state: str) -> float:
    """Wait for a state; the monotonic time of that."""

    async def reached() -> bool:
        return bool((await front.document(id_))["state"] == state)

    await eventually(reached, patience_s=SLACK * (BOUND_S + 60))
    return time.monotonic()


async def queued_again(harness: Harness, id_: str) -> int:
    """How often its event came again with the arrival of the first."""
    topology = harness.settings.topology
    count = 0
    documents = topology.topic(Noun.DOCUMENTS, Lane.INTERACTIVE)
    async with reader(harness.settings, documents) as records:
        async for record in records.all_so_far():
            if record.key == harness.key(id_).record_key:
                count += record.header(ARRIVAL) is not None
    return count


@pytest.mark.row("F3", level=2, injected="a worker is killed midway, another goes on")
async def test_row_f3_a_worker_killed_midway(
    harness: Harness, front: Front, row: Row
) -> None:
    spare = await harness.replica("embedder")
    promised = {}
    for number in range(12):
        answer = await front.ask(harness.collection, f"{number}", text_of(f"{number}"))
        promised[answer.json()["id"]] = text_of(f"{number}")
    embedder = harness.failpoint("embedder", "mid_batch")
    for number in range(12, 24):
        answer = await front.ask(harness.collection, f"{number}", text_of(f"{number}"))
        promised[answer.json()["id"]] = text_of(f"{number}")
    killed = embedder if embedder.hit else await either(embedder, spare)
    await killed.ended()
    died = time.monotonic()
    for id_, text in promised.items():
        harness.promised(id_, text)

    settled = await front.conclude(harness, row, since=died)

    took = settled.at - died
    assert took < SLACK * BOUND_S
    row.note = f"all indexed {took:.1f} s after its death; the bound is {BOUND_S:.1f} s"


async def either(embedder: StageMachine, spare: StageMachine) -> StageMachine:
    """Whichever of two gets something to do first is killed."""
    spare.arm("mid_batch")
    await eventually(lambda: embedder.hit or spare.hit)
    return embedder if embedder.hit else spare


@pytest.mark.parametrize("stage", [Stage.LOADER, Stage.CHUNKER, Stage.INDEXER])
@pytest.mark.row("F3", level=2, injected="a stage loses a document")
async def test_row_f3_lost_and_queued_again(
    harness: Harness, front: Front, row: Row, stage: Stage
) -> None:
    id_ = await lose(harness, front, "wheel", stage=stage)
    began = time.monotonic()
    took = await ends_as(front, id_, "indexed") - began
    assert took < SLACK * BOUND_S
    assert await queued_again(harness, id_) == 1
    harness.promised(id_, text_of("wheel"))
    await front.conclude(
        harness,
        row,
        note=f"by the {stage}: indexed after {took:.1f} s, bound {BOUND_S:.1f} s",
    )


@pytest.mark.row("F3", level=2, injected="a stage loses a document for good")
async def test_row_f3_lost_and_failed_with_a_reason(
    harness: Harness, front: Front, row: Row
) -> None:
    await front.registry.restart(env={"HEADRACE_REQUEUES": "0"})
    id_ = await lose(harness, front, "wheel", stage=Stage.CHUNKER)
    began = time.monotonic()
    took = await ends_as(front, id_, "failed") - began
    error = (await front.document(id_))["error"]
    assert error["code"] == LOST
    assert "chunker" in error["message"]
    assert error["advice"]
    retried = await front.call("POST", f"/v1/documents/{id_}/retry")
    assert retried.status_code == 202, retried.text
    await ends_as(front, id_, "indexed")
    harness.promised(id_, text_of("wheel"), version=2)
    await front.conclude(
        harness,
        row,
        note=f"failed with {LOST} after {took:.1f} s, indexed by a retry",
    )


async def acting(*registries: StageMachine) -> StageMachine | None:
    """Who holds the lease, if it is one."""
    holders = []
    for each in registries:
        if not each.alive:
            continue
        samples = await each.metrics()
        if samples.value("lease_held", lease="reconciliation"):
            holders.append(each)
    assert len(holders) <= 1
    return holders[0] if holders else None


async def remembered(harness: Harness, front: Front) -> bool:
    """Whether SQL is what the status topic says."""
    topic = harness.settings.topology.status
    rows: list[SqlRow] = []
    async with reader(harness.settings, topic) as records:
        async for record in records.all_so_far():
            found = read_status(record).row
            if found is not None:
                rows.append(found)
    async with front.database.reading() as connection:
        return await stored(connection) == expected(rows)


@pytest.mark.row("F3", level=2, injected="kill -9 of the registry that acts, of two")
async def test_row_f3_the_registry_that_acts_dies(
    harness: Harness, front: Front, row: Row
) -> None:
    other = await front.another_registry()
    second = await front.another_gateway()
    both = (front.registry, other)
    for number in range(40):
        door = second if number % 2 else front.gateway
        name = f"steady-{number}"
        answer = await front.ask(harness.collection, name, text_of(name), gateway=door)
        harness.promised(answer.json()["id"], text_of(name))
    leader = None

    async def one_acts() -> bool:
        nonlocal leader
        leader = await acting(*both)
        return leader is not None

    await eventually(one_acts, patience_s=SLACK * (BOUND_S + 60))
    assert leader is not None
    # It has written down that it queues the document again, and dies before it does.
    leader.arm("before_produce")
    id_ = await lose(harness, front, "wheel", stage=Stage.CHUNKER)
    harness.promised(id_, text_of("wheel"))
    assert await leader.ended(patience_s=SLACK * (BOUND_S + 60)) < 0
    died = time.monotonic()

    took = await ends_as(front, id_, "indexed") - died
    assert await acting(*both) is not leader
    assert await queued_again(harness, id_) == 1
    await front.conclude(
        harness, row, note=f"the other one queued it again {took:.1f} s later"
    )
    await eventually(lambda: remembered(harness, front))
