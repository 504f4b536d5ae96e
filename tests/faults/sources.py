"""Documents that the loader fetches, and what has become of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.faults.harness import Harness


@asynccontextmanager
async def files(harness: Harness) -> AsyncIterator[Path]:
    """A folder whose files the loader may read."""
    folder = harness.stack.directory / "files" / harness.collection
    await asyncio.to_thread(folder.mkdir, parents=True)
    await harness.stage("loader").restart(env={"HEADRACE_FILE_ROOTS": f'["{folder}"]'})
    yield folder


async def visible(harness: Harness, document: str) -> bool:
    """Whether searches show anything of it."""
    if harness.collection not in await harness.store.collections():
        return False
    state = await harness.state(document)
    return state is not None and state.live_set is not None


async def has_letters(harness: Harness, count: int) -> bool:
    """Whether so many letters of the row's documents are open."""
    return len(await harness.letters()) == count
