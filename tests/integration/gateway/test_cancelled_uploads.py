"""Uploads that are cut off within the gateway, and sent again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from headrace.database.documents import CONTENTS, DOCUMENTS, IDEMPOTENCY, OUTBOX
from headrace.database.engine import Database
from tests.support.gateway_world import GatewayWorld, gateway_world

ONCE = {"Idempotency-Key": "k1"}


@pytest.fixture
async def world(tmp_path: Path, database_url: str) -> AsyncIterator[GatewayWorld]:
    async with gateway_world(tmp_path, url=database_url) as made:
        yield made


async def cancelled(world: GatewayWorld, reached: asyncio.Event, content: Any) -> None:
    upload = asyncio.create_task(
        world.client.post(
            "/v1/documents",
            content=content,
            headers=ONCE | {"Content-Type": "multipart/form-data; boundary=b"},
        )
    )
    await reached.wait()
    upload.cancel()
    await asyncio.wait({upload})
    assert upload.cancelled()
    assert world.parts.admission.accepting == 0


def form(content: bytes) -> bytes:
    return (
        b'--b\r\nContent-Disposition: form-data; name="collection"\r\n\r\nbooks\r\n'
        b"--b\r\nContent-Disposition: form-data; name=file; filename=a.txt\r\n\r\n"
        + content
    )


async def test_amid_its_bytes_it_leaves_its_place_and_may_come_again(
    world: GatewayWorld,
) -> None:
    stored = asyncio.Event()

    async def half() -> AsyncIterator[bytes]:
        yield form(b"x" * 6_000_000)
        stored.set()
        await asyncio.Event().wait()

    await cancelled(world, stored, half())
    assert await world.rows(IDEMPOTENCY) == await world.rows(DOCUMENTS) == []

    again = await world.upload(headers=ONCE)

    assert again.status_code == 202
    assert "idempotent-replayed" not in again.headers


@pytest.mark.parametrize("after_commit", [False, True])
async def test_amid_its_transaction_it_is_accepted_once_or_not_yet(
    world: GatewayWorld, monkeypatch: pytest.MonkeyPatch, *, after_commit: bool
) -> None:
    reached = asyncio.Event()
    writing = Database.writing

    @asynccontextmanager
    async def held(self: Database) -> AsyncIterator[Any]:
        async with writing(self) as connection:
            yield connection
            if not after_commit:
                reached.set()
                await asyncio.Event().wait()
        reached.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(Database, "writing", held)
    await cancelled(world, reached, form(b"text\r\n--b--\r\n"))
    monkeypatch.undo()
    assert len(await world.rows(DOCUMENTS)) == after_commit

    again = await world.client.post(
        "/v1/documents",
        content=form(b"text\r\n--b--\r\n"),
        headers=ONCE | {"Content-Type": "multipart/form-data; boundary=b"},
    )

    assert again.status_code == 202, again.text
    assert ("idempotent-replayed" in again.headers) == after_commit
    assert len(await world.rows(DOCUMENTS)) == len(await world.rows(OUTBOX)) == 1
    (content,) = await world.rows(CONTENTS)
    # Whatever came of it: the bytes that a record names are there.
    assert content["object_key"] in await world.object_keys()
