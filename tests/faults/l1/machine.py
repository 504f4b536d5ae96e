"""Every order in which things can happen to the pipeline, found by Hypothesis.

Each schedule ends with everything healed, all letters replayed and the oracle asked.
``HEADRACE_L1_SCHEDULES`` says how many there are, ``HEADRACE_L1_SEED`` which.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from headrace.errors import SharedFailure
from headrace.identity import DocumentKey
from headrace.messages import Lane, OnPartial, Stage
from headrace.topology import Noun
from tests.faults.l1.model import text_of
from tests.faults.l1.oracle import check_end
from tests.faults.l1.pipeline import TOPOLOGY, Pipeline, Running
from tests.faults.l1.processes import SimulationLoop

T = TypeVar("T")

PLAIN = DocumentKey("default", "books", "one")
"""Never has source versions."""
VERSIONED = DocumentKey("default", "books", "two")
"""Always has."""
MIXED = DocumentKey("acme", "mail", "one")
"""Has them now and then. A version that was superseded is not remembered, so that only
in the order of arrival all of them count: its events keep to one lane."""
KEYS = [PLAIN, VERSIONED, MIXED]
CONTENTS = st.integers(0, 5)
LANES = st.sampled_from(Lane)
STAGES = st.sampled_from(Stage)
FAILURES = st.lists(st.sampled_from(["before", "between", "after"]), max_size=3)
ANSWERS = st.sampled_from(
    [
        *["throttled", "error", "hang", "refuse", "nan", "zero"],
        *["short", "few", "twice", "shuffled", "html"],
    ]
)


@dataclass(frozen=True)
class Sent:
    """An event; the text of an upsert follows from key and content."""

    key: DocumentKey
    way: str
    lane: Lane
    content: int
    versioned: bool
    on_partial: OnPartial


SENT = st.builds(
    Sent,
    st.sampled_from(KEYS),
    st.sampled_from(
        ["inline", "inline", "inline", "uri", "unkeyed", "delete", "tombstone"]
    ),
    LANES,
    CONTENTS,
    st.booleans(),
    st.sampled_from(OnPartial),
)


def _lane(key: DocumentKey, lane: Lane) -> Lane:
    return Lane.INTERACTIVE if key == MIXED else lane


def _has_version(key: DocumentKey, wanted: bool) -> bool:  # noqa: FBT001
    return key == VERSIONED or (key == MIXED and wanted)


class PipelineMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.loop = SimulationLoop()
        self.highest: dict[DocumentKey, int] = {}
        self.pipeline: Pipeline

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(work)

    @initialize(
        seed=st.integers(0, 2**32 - 1),
        slots=st.sampled_from([8, 2, 1]),
        records=st.sampled_from([8, 2, 1]),
    )
    def begin(self, *, seed: int, slots: int, records: int) -> None:
        async def begin() -> None:
            self.pipeline = Pipeline(
                random.Random(seed), slots=slots, partition_records=records
            )
            await self.pipeline.start_all()

        self._run(begin())

    # What producers do.

    @rule(sent=st.lists(SENT, min_size=1, max_size=6))
    def produce(self, sent: list[Sent]) -> None:
        for each in sent:
            self._produce(each)

    def _produce(self, sent: Sent) -> None:
        key, way = sent.key, sent.way
        lane = _lane(key, sent.lane)
        version = sent.content if _has_version(key, sent.versioned) else None
        if way in {"delete", "tombstone"}:
            self.pipeline.delete(
                key, lane=lane, version=version, tombstone=way == "tombstone"
            )
            return
        if (way == "uri" and key != PLAIN) or key == MIXED:
            # The address is a part of what is hashed: one version has but one.
            way = "inline"
        self.pipeline.upsert(
            key,
            text_of(key, sent.content),
            lane=lane,
            version=version,
            uri=f"https://mill.example/{key}/{sent.content}" if way == "uri" else None,
            on_partial=sent.on_partial,
            keyed=way != "unkeyed",
        )

    @precondition(lambda self: any(e.data is not None for e in self.pipeline.events))
    @rule(lane=LANES, data=st.data())
    def the_same_again(self, lane: Lane, data: st.DataObject) -> None:
        events = [e for e in self.pipeline.events if e.data is not None]
        event = data.draw(st.sampled_from(events))
        assert event.data is not None
        self.pipeline.upsert(
            event.key,
            event.data,
            lane=_lane(event.key, lane),
            version=event.version,
        )

    @rule(noun=st.sampled_from(Noun), lane=LANES, number=st.integers(0, 1))
    def poison(self, *, noun: Noun, lane: Lane, number: int) -> None:
        topic = TOPOLOGY.topic(noun, lane)
        key = KEYS[number].record_key if number else None
        self.pipeline.send_poison(topic, key=key, value=b"\x07poison", number=number)

    @rule(
        noun=st.sampled_from([Noun.TEXTS, Noun.CHUNKS, Noun.VECTORS]),
        lane=LANES,
        which=st.integers(0, 100),
    )
    def deliver_again(self, *, noun: Noun, lane: Lane, which: int) -> None:
        """What an upstream stage that crashed leaves, at any later time."""
        records = [
            record
            for record in self.pipeline.cluster.records(TOPOLOGY.topic(noun, lane))
            if record not in self.pipeline.poison
        ]
        if records:
            self.pipeline.repeat(records[which % len(records)])

    @rule(which=st.integers(0, 100))
    def replay_a_letter(self, which: int) -> None:
        poisoned = {r.value for r in self.pipeline.poison}
        letters = [
            letter
            for letter in self.pipeline.letters_so_far()
            if letter.original_value not in poisoned
        ]
        if letters:
            self.pipeline.replay(letters[which % len(letters)])

    # Time.

    @rule(turns=st.integers(1, 40))
    def some_steps(self, turns: int) -> None:
        async def steps() -> None:
            for _ in range(turns):
                await asyncio.sleep(0)

        self._run(steps())

    @rule(seconds=st.sampled_from([0.01, 0.05, 0.1, 0.2, 0.4, 2.0]))
    def wait(self, seconds: float) -> None:
        self._run(asyncio.sleep(seconds))

    @rule(stage=st.none() | STAGES, hours=st.sampled_from([-1, 1, 0]))
    def jump_a_clock(self, stage: Stage | None, hours: int) -> None:
        """A stage's, or the broker's; that one only forward."""
        if stage is None:
            self.pipeline.broker_skew_ms += abs(hours) * 3_600_000
            return
        for running in self.pipeline.running[stage]:
            running.process.skew_ms = hours * 3_600_000

    # Processes.

    def _one(self, stage: Stage) -> Running | None:
        those = self.pipeline.running[stage]
        return self.pipeline.chance.choice(those) if those else None

    @rule(stage=STAGES, again=st.booleans())
    def crash(self, *, stage: Stage, again: bool) -> None:
        if running := self._one(stage):
            self._run(self.pipeline.crash(running))
        if again or not self.pipeline.running[stage]:
            self._run(self.pipeline.start(stage))

    @rule(stage=STAGES)
    def join(self, stage: Stage) -> None:
        if len(self.pipeline.running[stage]) < 3:
            self._run(self.pipeline.start(stage))

    @rule(stage=STAGES)
    def stop(self, stage: Stage) -> None:
        if running := self._one(stage):
            self._run(self.pipeline.stop(running))

    @rule(stage=STAGES)
    def rebalance(self, stage: Stage) -> None:
        async def rebalance() -> None:
            self.pipeline.cluster.groups[stage].rebalance_soon()

        self._run(rebalance())

    @rule(stage=STAGES)
    def lose_the_partitions_unnoticed(self, stage: Stage) -> None:
        async def lose(running: Running) -> None:
            await self.pipeline.start(stage)
            await self.pipeline.lose(running)

        running = self._one(stage)
        if running is not None and running.member in running.member.group.members:
            self._run(lose(running))

    @precondition(lambda self: self.pipeline.zombies)
    @rule()
    def notice_the_loss(self) -> None:
        async def notice() -> None:
            self.pipeline.notice(self.pipeline.zombies[0])

        self._run(notice())

    # What they depend on.

    @rule(
        what=st.one_of(
            st.tuples(st.just("store"), FAILURES),
            st.tuples(st.just("producer"), FAILURES),
            st.tuples(st.just("provider"), st.lists(ANSWERS, max_size=6)),
        )
    )
    def calls_fail(self, what: tuple[str, list[str]]) -> None:
        name, failures = what
        getattr(self.pipeline.faults, name).extend(failures)

    @rule(content=CONTENTS, number=st.none() | st.integers(0, 4))
    def provider_refuses(self, content: int, number: int | None) -> None:
        """Some chunk, from now on; or none any more."""
        if number is None:
            self.pipeline.faults.refused.clear()
        else:
            self.pipeline.faults.refused.add(f"{number} of mill-{content}")

    @rule(
        what=st.sampled_from(["store", "broker", "provider", "web", "slow", "nothing"])
    )
    def outage(self, what: str) -> None:
        """One at a time; the next begins when this ends."""
        faults = self.pipeline.faults
        faults.store_down = what == "store"
        faults.broker_down = what == "broker"
        down = SharedFailure("provider_quota", "no money", retry_after=1.0)
        faults.provider_down = down if what == "provider" else None
        faults.web = 4 * (what == "web")
        faults.slow = 1.5 if what == "slow" else 0.05

    @rule(stage=STAGES, how=st.sampled_from(["none", "half", "late", "all"]))
    def commits_get_through(self, *, stage: Stage, how: str) -> None:
        group = self.pipeline.cluster.groups[stage]
        group.no_commits = how == "none"
        group.commit_fails = 0.5 if how == "half" else 0.0
        group.slow_commits = 2.0 if how == "late" else 0.0

    # What must hold all the time, and in the end.

    @invariant()
    def nothing_is_half_there(self) -> None:
        if hasattr(self, "pipeline"):
            self._run(self._look())

    async def _look(self) -> None:
        pipeline = self.pipeline
        for key in KEYS:
            await pipeline.shown(key)
            if key.collection in await pipeline.store.collections():
                states = await pipeline.store.read_states(key.collection, [key])
                if key in states:
                    revision = states[key].visible.revision
                    assert revision >= self.highest.get(key, 0), "went back"
                    self.highest[key] = revision
        assert not pipeline.violations, pipeline.violations

    def teardown(self) -> None:
        try:
            if hasattr(self, "pipeline"):
                self._run(self._end())
        finally:
            self.loop.close()

    async def _end(self) -> None:
        try:
            await check_end(self.pipeline)
        finally:
            await self.pipeline.close()


def schedules(count: int, *, shrink: bool = True) -> settings:
    """Settings for so many schedules; a failing one prints what replays it."""
    return settings(
        max_examples=count,
        stateful_step_count=30,
        deadline=None,
        print_blob=True,
        database=None,
        report_multiple_bugs=False,
        phases=[Phase.generate, Phase.shrink] if shrink else [Phase.generate],
        suppress_health_check=list(HealthCheck),
    )


def how_many() -> int:
    return int(os.environ.get("HEADRACE_L1_SCHEDULES", "2000"))


def which_seed() -> int:
    given = os.environ.get("HEADRACE_L1_SEED")
    return int(given) if given else random.SystemRandom().randrange(2**32)


def shrinks() -> bool:
    """Of a mutation it is enough to know that it is seen."""
    return "HEADRACE_MUTATION" not in os.environ
