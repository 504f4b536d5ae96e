"""Row 36: everything is deleted by one command while documents come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from headrace.messages import DocumentEvent, Stage
from headrace.store import StoredPoint
from headrace.wire import encode_event
from tests.faults.commands import replay_all, run
from tests.faults.harness import Harness
from tests.faults.reporting import Row
from tests.faults.scale import scaled
from tests.faults.sources import files
from tests.support.eventually import eventually


@pytest.mark.row("36", level=2, injected="a collection is deleted during its ingest")
async def test_row_36_delete_all(harness: Harness, row: Row) -> None:
    """Documents everywhere: visible, on their way, not yet seen, and given up."""
    names = await harness.load(10, prefix="early", words=120)
    async with files(harness) as folder:
        missing = folder / "missing.txt"
        await harness.upsert("failed", "", uri=missing.as_uri(), fails=True)
        await harness.drained()
        harness.proxy("provider").black_hole()
        names += await harness.load(20, prefix="late", words=120)
        await eventually(lambda: stuck_at_the_embedder(harness))
        loader = harness.stage("loader")
        loader.stop()
        names += await harness.load(10, prefix="unseen", words=120)
        # Under a wrong key it is put on its topic again, behind what is there.
        event = DocumentEvent(harness.key("rekeyed"), inline=b"It came by a detour.")
        await harness.send_raw(encode_event(event), key=b"another")
        everything = ["delete", "--all", "--collection", harness.collection]
        refused = await run(harness, *everything)
        assert refused.code == 2
        assert "--yes" in refused.value["error"]["advice"]
        deleting = asyncio.create_task(run(harness, *everything, "--yes", "--wait"))
        # It waits for the loader, for as long as that stands still.
        await asyncio.sleep(scaled(50))
        assert not deleting.done()
        loader.cont()
        await harness.proxy("provider").heal()
        answer = await deleting
        for name in [*names, "rekeyed", "failed"]:
            harness.deleted(name)
        assert answer.code == 0, answer
        assert answer.value["deletes"] == answer.value["deleted"] == len(names) + 2
        assert not await harness.point_ids()
        # A letter of before has gone with its document, and cannot bring it back.
        assert await harness.letters() == []
        missing.write_text("It came late.")
        assert await replay_all(harness) == {}

        again = await harness.load(10, prefix="early", version=2)
        settled = await harness.settled()
    found = {p.payload["document_id"] async for p in points_of(harness)}
    assert found == set(again)
    row.result(
        lost=settled.lost,
        duplicates=settled.duplicates,
        note="0 points of what was sent before, all that came after",
        details=settled.details,
    )


def points_of(harness: Harness) -> AsyncIterator[StoredPoint]:
    return harness.store.scroll_points(harness.collection)


async def stuck_at_the_embedder(harness: Harness) -> bool:
    waiting = await harness.waiting()
    return waiting[Stage.LOADER] == 0 and waiting[Stage.EMBEDDER] > 0
