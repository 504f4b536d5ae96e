"""Everything at once, at random: ``python -m tests.faults.soak --minutes 10``.

Documents are made, updated and deleted in both lanes at a steady rate while processes
are killed and stopped, connections broken, the provider fails and people pause. At the
end the oracle looks at all of it. The seed is printed first; it fixes what is done, not
when the machine comes to it.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import random
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import psutil

from headrace.control import EVERYTHING, Target
from headrace.control_topic import pause, resume
from headrace.kafka_clients import sender
from headrace.messages import Lane, Pause, Stage
from headrace.parked_topic import parked_records
from tests.faults.harness import Harness, Settled, text_of
from tests.faults.machines import Machine, StageMachine
from tests.faults.provider import rate_limited
from tests.faults.proxy import Direction
from tests.faults.reporting import write_section
from tests.faults.stack import IN_FLIGHT_TEXTS, SPARES, TARGETS, FaultStack
from tests.support.eventually import eventually
from tests.support.fake_openai import hang, html, reset, status

WRITERS = 4
PAUSE_S = 0.2
"""Between two events of a writer."""
QUIET_S = (1.0, 6.0)
"""Between two faults."""
FAULT_S = (0.5, 8.0)
"""How long one lasts; longer than a session now and then."""
SETTLED_WITHIN_S = 300.0
YOUNG_S = 20.0
"""A process that has just started still grows."""
MIB = 1024 * 1024


@dataclass(slots=True)
class Memory:
    """Samples of one process: seconds of its life and resident bytes."""

    samples: list[tuple[float, int]] = field(default_factory=list)

    @property
    def slope(self) -> float | None:
        """MiB a minute in the second half of its life; ``None``: that was too short."""
        age = self.samples[-1][0]
        grown = [(at, size) for at, size in self.samples if at >= max(YOUNG_S, age / 2)]
        if len(grown) < 10:
            return None
        count = len(grown)
        mean_at = sum(at for at, _ in grown) / count
        mean_size = sum(size for _, size in grown) / count
        spread = sum((at - mean_at) ** 2 for at, _ in grown)
        return (
            sum((at - mean_at) * (size - mean_size) for at, size in grown)
            / spread
            * 60
            / MIB
        )


class Soak:
    """One run."""

    def __init__(self, harness: Harness, *, seed: int, calm: bool) -> None:
        self._harness = harness
        self._calm = calm
        self._stack = harness.stack
        self._random = random.Random(seed)
        self._over = asyncio.Event()
        self.healed = 0.0
        self.events: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()
        self.deaths: Counter[str] = Counter()
        """Processes that ended without being killed."""
        self.memory: dict[tuple[str, int], Memory] = {}

    async def run(self, seconds: float) -> Settled:
        """Load, faults and samples for so long; then heal, wait and look."""
        writers = [
            asyncio.create_task(
                self._write(number, random.Random(self._random.random()))
            )
            for number in range(WRITERS)
        ]
        sampling = asyncio.create_task(self._sample())
        until = time.monotonic() + seconds
        try:
            while time.monotonic() < until:
                await asyncio.sleep(self._random.uniform(*QUIET_S))
                _failed(writers)
                await self._replace_dead()
                if not self._calm:
                    await self._break()
            self._over.set()
            await self._heal()
            self.healed = time.monotonic()
            await asyncio.gather(*writers)
            return await self._harness.settled(
                SETTLED_WITHIN_S, letters=None, patience_s=30
            )
        finally:
            for task in (*writers, sampling):
                task.cancel()
            await asyncio.gather(*writers, sampling, return_exceptions=True)

    # -- load -------------------------------------------------------------------

    async def _write(self, writer: int, chance: random.Random) -> None:
        """One writer's documents, each event after the one before it."""
        alive: list[str] = []
        made = 0
        version = 1
        while not self._over.is_set():
            lane = chance.choice(list(Lane))
            version += 1
            drawn = chance.random()
            if len(alive) < 10 or drawn < 0.35:
                name = f"writer-{writer}/{made}"
                made += 1
                alive.append(name)
                kind = "new"
            else:
                name = chance.choice(alive)
                kind = "updated" if drawn < 0.85 else "deleted"
            if kind == "deleted":
                await self._harness.delete(name, lane=lane)
                alive.remove(name)
            else:
                words = chance.choice([6, 30, 30, 90, 600])
                await self._harness.upsert(
                    name, text_of(name, version, words), lane=lane
                )
            self.events[kind] += 1
            await asyncio.sleep(PAUSE_S)

    async def _sample(self) -> None:
        """Look at the memory of every process now and then."""
        while True:
            for machine in self._machines():
                with suppress(psutil.Error, ProcessLookupError):
                    process = psutil.Process(machine.pid)
                    age = time.time() - process.create_time()
                    memory = self.memory.setdefault(
                        (machine.name, machine.pid), Memory()
                    )
                    # Of a process that is just going there is nothing left.
                    if resident := process.memory_info().rss:
                        memory.samples.append((age, resident))
            await asyncio.sleep(0.5)

    def _machines(self) -> list[Machine]:
        everyone = (self._stack.broker, self._stack.store, *self._stack.stages.values())
        return [machine for machine in everyone if machine.starts and machine.alive]

    # -- faults -----------------------------------------------------------------

    async def _break(self) -> None:
        """One fault from its beginning to its end."""
        faults: Sequence[tuple[int, str, Callable[[], Awaitable[None]]]] = [
            (6, "kill -9 of a stage", self._kill_stage),
            (1, "kill -9 of the broker", lambda: self._kill(self._stack.broker)),
            (1, "kill -9 of the store", lambda: self._kill(self._stack.store)),
            (3, "SIGSTOP", self._stop),
            (5, "broken connections", self._break_connections),
            (3, "provider fault", self._break_provider),
            (2, "a replica comes and goes", self._replica),
            (3, "paused by people, and a kill -9", self._pause),
        ]
        weights = [weight for weight, _, _ in faults]
        _, name, fault = self._random.choices(faults, weights)[0]
        self.faults[name] += 1
        await fault()

    async def _replace_dead(self) -> None:
        """As whatever supervises them would; nobody but us should end them."""
        for machine in self._stack.stages.values():
            if not machine.alive:
                self.deaths[machine.name] += 1
                _say(f"--- {machine.name} ended by itself\n{machine.last_words()}")
                await machine.start(wait=False)

    async def _for_a_while(self) -> None:
        await asyncio.sleep(self._random.uniform(*FAULT_S))

    def _any_stage(self) -> StageMachine:
        return self._stack.stages[self._random.choice(list(Stage))]

    async def _kill_stage(self) -> None:
        machine = self._any_stage()
        await machine.kill9()
        # As whatever supervises it would, without waiting for it.
        await machine.start(wait=False)

    async def _kill(self, machine: Machine) -> None:
        await machine.kill9()
        await asyncio.sleep(self._random.uniform(0, 3))
        await machine.start()

    async def _stop(self) -> None:
        machine = self._random.choice(
            [*self._stack.stages.values(), self._stack.broker, self._stack.store]
        )
        machine.stop()
        await self._for_a_while()
        machine.cont()

    async def _break_connections(self) -> None:
        target = self._random.choice(TARGETS)
        faults = self._stack.faults(target, [self._random.choice(list(Stage))])
        direction = self._random.choice(list(Direction))
        self._random.choice(
            [
                lambda: faults.latency(self._random.uniform(0.05, 0.5)),
                lambda: faults.bandwidth(20_000),
                lambda: faults.black_hole(direction=direction),
                faults.black_hole,
                lambda: faults.half_close(direction=direction),
                faults.reset,
                faults.refuse,
            ]
        )()
        await self._for_a_while()
        await faults.heal()

    async def _break_provider(self) -> None:
        provider = self._stack.provider
        provider.always(
            self._random.choice(
                [status(500), status(503), rate_limited(1), hang(), html(), reset()]
            )
        )
        await self._for_a_while()
        provider.heal()

    async def _replica(self) -> None:
        machine = await self._stack.replica(
            self._random.choice(list(Stage)), wait=False
        )
        await self._for_a_while()
        await self._stack.remove(machine.name)

    async def _pause(self) -> None:
        """All, a stage or the collection; one process dies while it is so."""
        key = self._harness.key("any")
        stages = [Target(stage=stage) for stage in Stage]
        collection = Target(tenant=key.tenant, collection=key.collection)
        target = self._random.choice([EVERYTHING, *stages, *[collection] * 5])
        topology = self._harness.settings.topology
        async with sender(self._harness.settings) as out:
            await pause(out, topology, target, why=Pause("soak", "", 1))
            await self._for_a_while()
            await self._kill_stage()
            await self._for_a_while()
            await resume(out, topology, target)

    async def _nothing_parked(self) -> bool:
        async for _ in parked_records(self._harness.settings):
            return False
        return True

    async def _heal(self) -> None:
        await self._stack.heal()
        for name in SPARES:
            if name in self._stack.stages:
                await self._stack.remove(name)
        for part in (self._stack.broker, self._stack.store):
            if not part.alive:
                await part.start()
        await self._replace_dead()
        # What waits there is in nobody's lag.
        await eventually(self._nothing_parked)


def _failed(tasks: Sequence[asyncio.Task[None]]) -> None:
    """Raise what ended one of these."""
    for task in tasks:
        if task.done():
            task.result()


def report(soak: Soak, settled: Settled, *, healed: float, paid_twice: str) -> str:
    """What it showed, as Markdown."""
    faults = ", ".join(f"{count} x {name}" for name, count in soak.faults.most_common())
    events = ", ".join(f"{count} {name}" for name, count in soak.events.most_common())
    waited = settled.at - healed
    lines = [
        f"Documents: {events}. Faults: {faults or 'none'}.",
        "",
        f"**Lost {settled.lost}, visible twice {settled.duplicates}.**",
        f"Nothing waited any more {waited:.0f} s after the last fault ended.",
        paid_twice,
        f"Processes that ended by themselves: {soak.deaths.total()}.",
        "",
        "| process | lives | longest, s | memory then, MiB | slope, MiB a minute |",
        "| --- | --- | --- | --- | --- |",
    ]
    names = sorted({name for name, _ in soak.memory})
    for name in names:
        lives = [
            each
            for (who, _), each in soak.memory.items()
            if who == name and each.samples
        ]
        longest = max(lives, key=lambda each: each.samples[-1][0])
        slope = longest.slope
        lines.append(
            f"| {name} | {len(lives)} | {longest.samples[-1][0]:.0f} | "
            f"{longest.samples[-1][1] / MIB:.0f} | "
            f"{'too short' if slope is None else f'{slope:+.2f}'} |"
        )
    return "\n".join(lines)


async def soak(*, minutes: float, seed: int, calm: bool, write: bool) -> int:
    """Run it and print what it showed; the exit code."""
    stack = FaultStack()
    await stack.start()
    try:
        harness = Harness(stack, collection=f"soak-{seed}")
        await harness.start()
        try:
            run = Soak(harness, seed=seed, calm=calm)
            settled = await run.run(minutes * 60)
            letters = await harness.letters()
        except BaseException:
            for machine in stack.stages.values():
                _say(f"--- {machine.name}\n{machine.last_words()}")
            raise
        finally:
            await harness.close()
        paid = stack.provider.paid
        again = sum(times - 1 for times in paid.values())
        allowed = run.faults.total() * IN_FLIGHT_TEXTS
        text = report(
            run,
            settled,
            healed=run.healed,
            paid_twice=f"{again} of {paid.total()} texts were paid for twice, without "
            f"a cache; {allowed} may have been in flight at the faults. "
            f"{len(letters)} dead letters.",
        )
    finally:
        await stack.close()
    _say(text)
    if settled.lost or settled.duplicates or run.deaths or again > allowed:
        _say(settled.details)
        return 1
    if write:
        command = f"make soak MINUTES={minutes:g} SEED={seed}"
        if calm:
            command += " ARGS=--calm"
        write_section("calm" if calm else "soak", f"`{command}`\n\n{text}")
    return 0


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main() -> None:
    """Read the arguments and run."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.soak")
    parser.add_argument("--minutes", type=float, default=2.0)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument(
        "--calm", action="store_true", help="no faults: memory over whole lives"
    )
    parser.add_argument(
        "--report", action="store_true", help="write docs/reliability.md"
    )
    arguments = parser.parse_args()
    # The suite's own clients would tell of every outage that it makes.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    _say(f"soak of {arguments.minutes:g} minutes, SEED={arguments.seed}")
    sys.exit(
        asyncio.run(
            soak(
                minutes=arguments.minutes,
                seed=arguments.seed,
                calm=arguments.calm,
                write=arguments.report,
            )
        )
    )


if __name__ == "__main__":
    main()
