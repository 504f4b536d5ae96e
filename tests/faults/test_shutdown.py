"""SIGTERM: what is in work is finished or handed back, and the group is left."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable

import pytest

from headrace.messages import Stage
from tests.faults.harness import Harness
from tests.faults.machines import StageMachine
from tests.faults.reporting import Row
from tests.faults.scale import scaled
from tests.faults.stack import STAGE_ENVIRONMENT
from tests.support.eventually import eventually

GRACE_S = float(STAGE_ENVIRONMENT["HEADRACE_DRAIN_S"]) + 5
ANSWER_S = 0.05
"""Of store and provider, so that there is something in work."""
DRAIN_IN_VAIN_S = scaled(10)
"""Where nothing can be finished, all of it is waited for."""


async def members(harness: Harness, stage: str) -> int:
    """How many processes the broker counts to a stage's group."""
    group = harness.settings.topology.group(Stage(stage))
    [answer] = await harness.admin.describe_consumer_groups([group])
    return len(answer.groups[0][5])


async def slowed(harness: Harness) -> None:
    harness.proxy("store").latency(ANSWER_S)
    harness.proxy("provider").latency(ANSWER_S)


async def working(machine: StageMachine) -> bool:
    return (await machine.metrics()).value("in_flight_records") > 0


async def received(machine: StageMachine) -> float:
    """Of this process; what is in flight is told only once a second."""
    return (await machine.metrics()).value("received_records_total")


async def more(machine: StageMachine, before: float) -> bool:
    return await received(machine) > before


@pytest.mark.row("7", level=2, injected="SIGTERM to each stage in the midst of work")
async def test_row_07_sigterm_mid_batch(harness: Harness, row: Row) -> None:
    await slowed(harness)
    spares = await asyncio.gather(*(harness.replica(stage) for stage in Stage))
    for stage in Stage:
        await eventually(lambda stage=stage: both(harness, stage))
        # Held while it has something in its hands, until the signal is there.
        harness.failpoint(stage, "after_decode", at=3, action="sigstop")

    async def ended(machine: StageMachine) -> str:
        await machine.wait_stopped()
        began = time.monotonic()
        code = await machine.terminate(grace_s=GRACE_S)
        took = time.monotonic() - began
        assert code == 0, machine.last_words()
        # Nobody waits for a session to end: the broker has counted it out already.
        assert await members(harness, machine.name) == 1
        return f"{machine.name} ended in {took:.1f} s"

    _, *told = await asyncio.gather(
        harness.load(150, words=60), *(ended(harness.stage(stage)) for stage in Stage)
    )
    for spare in spares:
        await eventually(lambda spare=spare: owns_all(spare, harness))
    await harness.proxy("store").heal()
    await harness.conclude(row, note=", ".join(told))
    # What it had begun was finished: nothing was paid for again.
    assert max(harness.provider.paid.values()) == 1


async def both(harness: Harness, stage: str) -> bool:
    return await members(harness, stage) == 2


async def owns_all(machine: StageMachine, harness: Harness) -> bool:
    owned = (await machine.metrics()).value("assigned_partitions")
    return owned == 2 * harness.settings.partitions


@pytest.mark.row("7", level=2, injected="SIGTERM, and SIGKILL before the work is done")
async def test_row_07_sigterm_then_sigkill(harness: Harness, row: Row) -> None:
    for number, stage in enumerate((Stage.EMBEDDER, Stage.INDEXER)):
        target = "store" if stage is Stage.INDEXER else "provider"
        harness.proxy(target, stage).black_hole()
        machine = harness.stage(stage)
        before = await received(machine)
        await harness.load(20, version=number)
        # What is read is at once in work, and cannot be finished.
        await eventually(lambda machine=machine, before=before: more(machine, before))

        code = await machine.terminate(grace_s=scaled(10))

        assert code == -9
        await harness.proxy(target).heal()
        ended = time.monotonic()
        await machine.start()
        await harness.conclude(row, since=ended)


def broker_away(harness: Harness, stage: str) -> None:
    harness.proxy("broker", stage).black_hole()


def broker_refuses(harness: Harness, stage: str) -> None:
    harness.proxy("broker", stage).reset()
    harness.proxy("broker", stage).refuse()


def store_hangs(harness: Harness, stage: str) -> None:
    harness.proxy("store", stage).black_hole()


def provider_hangs(harness: Harness, stage: str) -> None:
    harness.proxy("provider", stage).black_hole()


@pytest.mark.parametrize(
    ("stage", "fault", "times"),
    [
        (Stage.CHUNKER, broker_away, 1),
        (Stage.CHUNKER, broker_refuses, 2),
        (Stage.LOADER, store_hangs, 1),
        (Stage.INDEXER, store_hangs, 2),
        (Stage.EMBEDDER, provider_hangs, 1),
    ],
    ids=lambda each: each.__name__ if callable(each) else str(each),
)
@pytest.mark.row("7", level=2, injected="SIGTERM while nothing can be finished")
async def test_row_07_sigterm_while_something_is_away(
    harness: Harness,
    row: Row,
    stage: Stage,
    fault: Callable[[Harness, str], None],
    times: int,
) -> None:
    machine = harness.stage(stage)
    await machine.restart(env={"HEADRACE_DRAIN_S": str(DRAIN_IN_VAIN_S)})
    if fault in (store_hangs, provider_hangs):
        fault(harness, stage)
        await harness.load(20, prefix=stage)
        await eventually(lambda: working(machine))
    else:
        harness.failpoint(stage, "before_produce", action="sigstop")
        await harness.load(20, prefix=stage)
        await machine.wait_stopped()
        fault(harness, stage)
        machine.cont()

    began = time.monotonic()
    if times == 2:
        os.kill(machine.pid, signal.SIGTERM)
    code = await machine.terminate(grace_s=GRACE_S)

    took = time.monotonic() - began
    assert code == 0, machine.last_words()
    await harness.stack.heal()
    healed = time.monotonic()
    await machine.start()
    await harness.conclude(
        row,
        since=healed,
        note=f"{stage}, {fault.__name__.replace('_', ' ')}: ended in {took:.1f} s",
    )


@pytest.mark.row("7", level=2, injected="SIGTERM while starting, broker away")
async def test_row_07_sigterm_while_starting(harness: Harness, row: Row) -> None:
    harness.proxy("broker").black_hole()
    harness.proxy("broker").reset()

    async def ended(machine: StageMachine) -> int:
        await machine.kill9()
        await machine.start(wait=False)
        await eventually(lambda: told(machine))
        return await machine.terminate(grace_s=GRACE_S)

    machines = [harness.stage(stage) for stage in Stage]
    assert await asyncio.gather(*map(ended, machines)) == [0, 0, 0, 0]
    await harness.stack.heal()
    await asyncio.gather(*(machine.start(wait=False) for machine in machines))
    await harness.load(5)
    await harness.conclude(row)


async def told(machine: StageMachine) -> bool:
    """Whether it is there and says that it is not ready."""
    reason = await machine.not_ready()
    return reason is not None and "do not answer" not in reason
