"""Row 40: documents that kill the parser, or the whole process, that works on them."""

from __future__ import annotations

import asyncio
import random
import time

import pytest

from headrace.messages import DocumentEvent, Lane, Metadata, Stage
from headrace.wire import encode_event
from tests.faults.commands import replay_all
from tests.faults.harness import Harness, text_of
from tests.faults.injected.deadly import DEADLY
from tests.faults.injected.deadly_child import ENDLESS, SEGFAULT
from tests.faults.reporting import Row

ATTEMPTS = 3
MOST_DEATHS = 5
"""Two that narrow it down, three that prove it: decision 0003."""


@pytest.mark.row("40", level=2, injected="a parser that crashes, and one without end")
async def test_row_40_parser_dies(harness: Harness, row: Row) -> None:
    loader = harness.stage("loader")
    await loader.restart(
        env={"HEADRACE_DEADLY": "parser", "HEADRACE_PARSER_CPU_S": "1"}
    )
    pid = loader.pid
    for word in (SEGFAULT, ENDLESS):
        page = b"<html><body><p>%s</p></body></html>" % word
        event = DocumentEvent(
            harness.key(word.decode()),
            inline=page,
            metadata=Metadata(name="page.html"),
        )
        await harness.send_raw(encode_event(event), key=event.key.record_key)
    await harness.load(10)
    await harness.conclude(row, letters=2, note="the worker lives")
    letters = {each.document: each.letter for each in await harness.letters()}
    crashed, endless = letters[SEGFAULT.decode()], letters[ENDLESS.decode()]
    assert (crashed.error.code, crashed.attempts) == ("parser_crashed", ATTEMPTS)
    assert endless.error.code == "resource_limit"
    assert loader.pid == pid


@pytest.mark.parametrize("stage", [Stage.LOADER, Stage.INDEXER])
@pytest.mark.row("40", level=2, injected="a document that kills each process")
async def test_row_40_process_dies(harness: Harness, row: Row, stage: Stage) -> None:
    machine = harness.stage(stage)
    env = {"HEADRACE_DEADLY": "process"}
    await machine.restart(env=env)
    text = f"{text_of('poison')} {DEADLY.decode()}"
    await harness.load(10, prefix="before")
    await harness.upsert("poison", text, fails=True)
    await harness.load(20, prefix="behind")
    deaths = 0
    while not await harness.dead_letters(stage):
        try:
            await machine.ended(patience_s=1.0)
        except TimeoutError:
            continue
        deaths += 1
        assert deaths <= MOST_DEATHS
        # As the broker does once the session is over.
        await harness.evict(stage)
        # It may die before it says that it is ready.
        await machine.start(env=env, wait=False)
    found = time.monotonic()
    await harness.conclude(
        row, since=found, letters=1, note=f"the {stage} died {deaths} times"
    )
    (letter,) = await harness.letters()
    assert letter.document == "poison"
    assert letter.letter.error.code == "crashed_process"
    assert DEADLY in (letter.letter.original_value or b"")
    assert machine.alive
    assert deaths >= ATTEMPTS
    # Once what made it deadly is mended, its letter is all that has to be sent again.
    await machine.restart()
    harness.ledger.expect("poison", text)
    assert await replay_all(harness) == {"resolved": 1}
    await harness.conclude(row)


@pytest.mark.row("40", level=2, injected="innocent documents, kills at random")
async def test_row_40_kills_at_random_blame_nobody(harness: Harness, row: Row) -> None:
    chance = random.Random(40)
    for number in range(6):
        lane = chance.choice(list(Lane))
        names = [f"round {number}/{each}" for each in range(40)]
        await asyncio.gather(
            *(harness.upsert(each, text_of(each), lane=lane) for each in names)
        )
        machine = harness.stage(chance.choice(list(Stage)))
        await asyncio.sleep(chance.random())
        await machine.kill9()
        await harness.evict(machine.name)
        await machine.start()
    killed = time.monotonic()
    await harness.conclude(row, since=killed, letters=0)
