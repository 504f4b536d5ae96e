"""Row 5: the gateway dies while it accepts; and whoever else has a document dies."""

from __future__ import annotations

import asyncio
import time

import httpx
import pytest

from headrace.database.documents import CONTENTS, DOCUMENTS
from tests.faults.front import Front
from tests.faults.harness import Harness, text_of
from tests.faults.reporting import Row
from tests.support.eventually import eventually

STEPS = (
    "amid_bytes",
    "after_bytes",
    "before_record_commit",
    "after_record_commit",
    "before_produce",
    "after_produce_before_commit",
    "before_outbox_settled",
    "after_outbox_settled",
)
"""Of an upload, in their order; see ``injected/failpoints.py``."""
TOLD = STEPS[STEPS.index("before_produce") :]
"""At these the caller may have its 202 already."""
LARGE = 6 * 1024 * 1024
"""More than goes to the object store at once."""


async def gone(front: Front) -> float:
    """Wait for the end of the gateway, and start it again; when it was back."""
    assert await front.gateway.ended() < 0
    await front.gateway.start()
    return time.monotonic()


async def one_document(front: Front, harness: Harness, name: str) -> None:
    """SQL has one document of that name, of one version, and its one content."""
    documents = [
        each
        for each in await front.rows(DOCUMENTS)
        if (each["collection"], each["name"]) == (harness.collection, name)
    ]
    assert [each["version"] for each in documents] == [1]
    contents = [
        each["version"]
        for each in await front.rows(CONTENTS)
        if each["document_id"] == documents[0]["id"]
    ]
    assert contents == [1]


@pytest.mark.row("5", level=2, injected="kill -9 of the gateway after the produce")
async def test_row_05_killed_between_produce_and_reply(
    harness: Harness, front: Front, row: Row
) -> None:
    text = text_of("wheel")
    front.gateway.arm("before_answer")
    asking = asyncio.create_task(
        front.upload(harness.collection, "wheel", text, once=harness.collection)
    )
    # Kafka has acknowledged the event, and that is settled: only the reply is missing.
    await eventually(lambda: front.gateway.hit)
    await front.relayed()
    assert not asking.done()
    await front.gateway.kill9()
    with pytest.raises(httpx.TransportError):
        await asking
    await front.gateway.start()
    back = time.monotonic()

    again = await front.upload(
        harness.collection, "wheel", text, once=harness.collection
    )

    assert again.status_code == 202, again.text
    assert again.headers["idempotent-replayed"] == "true"
    assert again.json()["version"] == 1
    await one_document(front, harness, "wheel")
    harness.promised(again.json()["id"], text)
    await front.conclude(harness, row, since=back, note="the retry was a no-op")


@pytest.mark.parametrize(
    "steps", [STEPS[:4], STEPS[4:]], ids=["until_the_record", "until_the_topic"]
)
@pytest.mark.row("5", level=2, injected="kill -9 of the gateway at each step")
async def test_row_05_killed_at_each_step(
    harness: Harness, front: Front, row: Row, steps: tuple[str, ...]
) -> None:
    for step in steps:
        text = text_of(step)
        content = text.encode().ljust(LARGE) if step == "amid_bytes" else text
        # Else what the one before had claimed would keep this one out.
        await front.relayed()
        front.gateway.arm(step)
        said: list[str] = []
        try:
            first = await front.ask(harness.collection, step, content)
            assert first.status_code == 202, first.text
            said.append(first.json()["id"])
        except httpx.TransportError:
            pass
        back = await gone(front)
        assert not said or step in TOLD

        answer = await front.insist(harness.collection, step, content)

        assert answer.status_code == 202, answer.text
        said.append(answer.json()["id"])
        assert len(set(said)) == 1
        await one_document(front, harness, step)
        harness.promised(said[0], text)
    await front.conclude(harness, row, since=back, note=", ".join(steps))
    await front.no_orphans()
