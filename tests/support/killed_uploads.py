"""Uploads whose gateway dies at a given step: ``python -m`` this module, a folder.

Each step has a process of its own, forked before any thread is there, and a folder of
its own, in which ``told`` says what the caller was told, and ``sent`` what Kafka has.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from headrace.database.engine import Database
from headrace.handler import Headers
from headrace.messages import OutputPosition
from headrace.objects import Objects
from tests.support.gateway_world import gateway_world

STEPS = (
    "before_bytes",
    "amid_bytes",
    "after_bytes",
    "before_commit",
    "after_commit",
    "before_send",
    "after_send",
    "after_settle",
    "never",
)


def die() -> None:
    os._exit(9)


def after(method: Any) -> Any:
    async def dies(*args: Any, **kwargs: Any) -> Any:
        await method(*args, **kwargs)
        die()

    return dies


def before(_method: Any) -> Any:
    async def dies(*args: Any, **kwargs: Any) -> Any:
        die()

    return dies


def amid(method: Any) -> Any:
    async def dies(self: Objects, key: str, data: Any) -> Any:
        async def some() -> AsyncIterator[bytes]:
            async for piece in data:
                yield piece
                break
            die()

        await method(self, key, some())

    return dies


def committing(*, dies_before: bool) -> Callable[[Any], Any]:
    """Around the end of the first transaction that writes."""

    def wrap(method: Any) -> Any:
        @asynccontextmanager
        async def writing(self: Database) -> AsyncIterator[Any]:
            async with method(self) as connection:
                yield connection
                if dies_before:
                    die()
            die()

        return writing

    return wrap


class FileProducer:
    """Kafka, as far as a file can be it."""

    def __init__(self, path: Path, step: str) -> None:
        self._path = path
        self._step = step

    async def send(
        self,
        topic: str,
        *,
        key: bytes | None,
        value: bytes | None,
        partition: int | None = None,
        headers: Headers = (),
    ) -> OutputPosition:
        if self._step == "before_send":
            die()
        line = [
            topic,
            *(base64.b64encode(part or b"").decode() for part in (key, value)),
        ]
        with self._path.open("a") as file:
            file.write(json.dumps(line) + "\n")
        if self._step == "after_send":
            die()
        return OutputPosition(topic, 0, 0)


async def upload(folder: Path, step: str) -> None:
    async with gateway_world(folder) as world:
        patches: dict[str, tuple[Any, str, Any]] = {
            "before_bytes": (Objects, "put", before),
            "amid_bytes": (Objects, "put", amid),
            "after_bytes": (Objects, "put", after),
            "before_commit": (Database, "writing", committing(dies_before=True)),
            "after_commit": (Database, "writing", committing(dies_before=False)),
        }
        if step in patches:
            owner, name, wrap = patches[step]
            setattr(owner, name, wrap(getattr(owner, name)))
        relay = world.parts.relay
        relay._producer = FileProducer(folder / "sent", step)
        answer = await world.upload(content=b"x" * 3_000_000)
        (folder / "told").write_text(json.dumps([answer.status_code, answer.json()]))
        await relay.send_some()
        if step == "after_settle":
            die()


def main(folder: Path) -> None:
    for step in STEPS:
        (folder / step).mkdir(parents=True)
        child = os.fork()
        if child == 0:
            asyncio.run(upload(folder / step, step))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        code = os.waitstatus_to_exitcode(status)
        assert code == (0 if step == "never" else 9), (step, code)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
