"""The gateway while Kafka or the database is away."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
from headrace_gateway.relay import Relay

from headrace.clock import SystemClock
from headrace.database.documents import DOCUMENTS, OUTBOX
from tests.support.eventually import eventually
from tests.support.fake_producer import FakeProducer
from tests.support.gateway_world import gateway_world
from tests.support.postgres import PostgresMissing, running_postgres


async def test_before_kafka_was_reached_nothing_is_accepted(tmp_path: Path) -> None:
    async with gateway_world(tmp_path) as world:
        relay = Relay(
            world.database,
            producer=FakeProducer(),
            topology=world.parts.settings.topology,
            clock=SystemClock(),
        )
        world.parts.admission._outbox_s = relay.age_s

        refused = await world.upload()
        assert (refused.status_code, refused.json()["code"]) == (503, "busy_outbox")
        assert await world.object_keys() == set()
        relay.connected()
        assert (await world.upload()).status_code == 202


async def test_without_its_database_uploads_get_503_and_go_on_by_themselves(
    tmp_path: Path,
) -> None:
    try:
        with running_postgres() as postgres:
            url = postgres.new_database()
            async with gateway_world(tmp_path, url=url) as world:
                assert (await world.upload("before")).status_code == 202
                relaying = asyncio.create_task(world.parts.relay.run())
                await asyncio.to_thread(postgres.stop)

                during = await world.upload("during")
                assert during.status_code == 503, during.text
                assert int(during.headers["retry-after"]) >= 1
                listed = await world.client.get("/v1/documents")
                assert listed.status_code == 503
                await eventually(lambda: world.parts.admission.problem() == "database")

                await asyncio.to_thread(postgres.start)
                await eventually(lambda: world.parts.admission.problem() is None)
                assert (await world.upload("during")).status_code == 202
                assert len(await world.rows(DOCUMENTS)) == 2

                async def sent() -> bool:
                    return not await world.rows(OUTBOX)

                await eventually(sent)
                relaying.cancel()
                await asyncio.wait({relaying})
    except PostgresMissing as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(str(error))
