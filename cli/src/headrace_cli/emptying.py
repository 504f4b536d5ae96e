"""``headrace delete --all``: finds every document of a collection.

A document is known by its state record, which the loader writes when it accepts its
first event, or by a dead letter. So that nothing that was sent before escapes, the
loader is waited for until it has taken in all that was there: a document that then
has neither was sent later, and lives. Whatever of the others is still on its way
arrived before its delete, and is dropped wherever it is met.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from aiokafka import TopicPartition
from aiokafka.errors import GroupLoadInProgressError

from headrace.identity import DocumentKey
from headrace.lag import GroupOffsets
from headrace.messages import Stage
from headrace.open_letters import OpenLetter, open_letters
from headrace.qdrant import QdrantStore
from headrace.settings import Settings
from headrace.store import Store
from headrace_cli.failures import CommandFailed

_POLL_S = 0.2
_ROUNDS = 2
"""An event under a wrong key is put on its topic again, behind all the others, once."""


class Offsets(Protocol):
    """What is needed of ``headrace.lag.GroupOffsets``."""

    async def read(
        self, group: str, topics: list[str]
    ) -> Mapping[TopicPartition, tuple[int, int]]:
        """Committed and end offset of each partition."""


async def documents_of(
    settings: Settings, *, collection: str, tenant: str | None
) -> list[DocumentKey]:
    """The collection's documents that are not deleted yet, by what is known now."""
    store = QdrantStore.from_settings(settings)
    try:
        letters = await open_letters(settings)
        return await undeleted(store, letters, collection=collection, tenant=tenant)
    finally:
        await store.close()


async def undeleted(
    store: Store,
    letters: Iterable[OpenLetter],
    *,
    collection: str,
    tenant: str | None,
) -> list[DocumentKey]:
    """Documents with a state record that does not end in a delete, or with a letter.

    A letter counts where there is no record: replayed after the delete it would make
    its document anew.
    """
    found: set[DocumentKey] = set()
    deleted: set[DocumentKey] = set()
    if collection in await store.collections():
        async for record in store.scroll_states(collection):
            over = record.deleted_revision >= record.accepted.revision
            (deleted if over else found).add(record.key)
    found |= {
        key
        for each in letters
        if (key := each.letter.key) and key.collection == collection
    } - deleted
    return sorted(key for key in found if tenant in (None, key.tenant))


async def taken_in(
    settings: Settings, *, timeout_s: float | None, note: Callable[[str], None]
) -> None:
    """Return once the loader is through with every event sent before this call.

    Raises:
        CommandFailed: it is not before the timeout.
    """
    offsets = GroupOffsets(settings)
    try:
        async with asyncio.timeout(timeout_s):
            await passed(offsets, settings, note=note)
    except TimeoutError as error:
        raise CommandFailed(
            "not_taken_in",
            "the loader has not taken in what was sent before; nothing was deleted",
            advice="`headrace status` shows where it is; try again once it is through",
        ) from error
    finally:
        await offsets.stop()


async def passed(
    offsets: Offsets, settings: Settings, *, note: Callable[[str], None]
) -> None:
    """Wait for the loader's group to commit past what is the end now."""
    group = settings.topology.group(Stage.LOADER)
    topics = list(settings.topology.inputs(Stage.LOADER).values())
    for _ in range(_ROUNDS):
        ends: dict[TopicPartition, int] | None = None
        told = False
        while True:
            try:
                now = await offsets.read(group, topics)
            except GroupLoadInProgressError:  # the broker has just been started
                await asyncio.sleep(_POLL_S)
                continue
            if ends is None:
                ends = {place: end for place, (_, end) in now.items()}
            left = sum(max(0, end - now[place][0]) for place, end in ends.items())
            if not left:
                break
            if not told:
                note(f"waiting until the loader has taken in {left} events")
                told = True
            await asyncio.sleep(_POLL_S)
