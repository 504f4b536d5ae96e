"""The gateway dies between each pair of steps of an upload."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from headrace.database.documents import CONTENTS, DOCUMENTS, OUTBOX
from headrace.handler import Record
from headrace.wire import decode_event
from tests.support.fake_clock import FakeClock
from tests.support.gateway_world import gateway_world
from tests.support.killed_uploads import STEPS, FileProducer


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("killed") / "uploads"
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.killed_uploads", str(folder)],
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.mark.parametrize("step", STEPS)
async def test_no_orphan_and_no_lost_promise(killed: Path, step: str) -> None:
    folder = killed / step
    told = folder / "told"
    later = FakeClock(now_ms=time.time_ns() // 10**6 + 2 * 3600 * 1000)
    async with gateway_world(folder, clock=later) as world:
        relay = world.parts.relay
        relay._producer = FileProducer(folder / "sent", "never")
        while await relay.send_some():
            pass
        await world.sweeper.sweep()

        documents = await world.rows(DOCUMENTS)
        named = {row["object_key"] for row in await world.rows(CONTENTS)}
        assert await world.object_keys() == named
        assert await world.rows(OUTBOX) == []
        sent = {}
        if (folder / "sent").exists():
            for line in (folder / "sent").read_text().splitlines():
                topic, key, value = json.loads(line)
                record = Record(
                    topic, 0, 0, 0, base64.b64decode(key), base64.b64decode(value)
                )
                sent[decode_event(record).key.document_id] = decode_event(record)
        assert {row["id"] for row in documents} == set(sent)
        assert all(row["failure"] is None for row in documents)
        for event in sent.values():
            assert event.object is not None
            assert len(await world.objects.get(event.object, 10**7)) == 3_000_000
        if told.exists():
            status, accepted = json.loads(told.read_text())
            assert (status, [accepted["id"]]) == (202, list(sent))
        # Whoever was told nothing asks again, and there is one document then.
        again = await world.upload(content=b"x" * 3_000_000)
        assert again.status_code == (409 if documents else 202)
        assert len(await world.rows(DOCUMENTS)) == 1
