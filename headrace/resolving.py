"""Takes letters off their topics: who did it and why is written down first."""

from __future__ import annotations

import getpass
import json
import socket
import time
from collections.abc import Iterable, Mapping
from typing import Protocol

from headrace.deletions import Deleted, deleted_by, states_in
from headrace.handler import Headers
from headrace.identity import DocumentKey
from headrace.kafka_clients import sender
from headrace.messages import OutputPosition, StatusEvent
from headrace.open_letters import OpenLetter, open_letters
from headrace.qdrant import QdrantStore
from headrace.settings import Settings


class Sends(Protocol):
    """What is needed of ``kafka_client.Sender``."""

    async def send(
        self,
        topic: str,
        *,
        key: bytes | None,
        value: bytes | None,
        partition: int | None = None,
        headers: Headers = (),
    ) -> OutputPosition:
        """Send one record; returns when Kafka has it."""


async def resolve(
    letter: OpenLetter,
    out: Sends,
    settings: Settings,
    *,
    action: str,
    reason: str = "",
    by: str = "",
) -> None:
    """Write down who did it, then take the letter off the topic.

    In this order: dying in between leaves a letter too many, never one too few.

    Args:
        letter: which one.
        out: sends both records.
        settings: name the audit topic.
        action: ``replay``, ``drop`` or ``delete``.
        reason: what was given for a drop; of a replay, the state it ended in.
        by: who; empty: the user of this process.
    """
    audit = {
        "action": action,
        "reason": reason,
        "at_ms": round(time.time() * 1000),
        "by": by or f"{getpass.getuser()}@{socket.gethostname()}",
        "letter": letter.summary(),
    }
    await out.send(
        settings.topology.audit,
        key=letter.id.encode(),
        value=json.dumps(audit, ensure_ascii=False).encode(),
    )
    await out.send(
        letter.topic, key=letter.record_key, value=None, partition=letter.partition
    )


async def resolve_deleted(events: Iterable[StatusEvent], settings: Settings) -> None:
    """Resolve the letters of documents that these final states say we deleted."""
    deleted = deleted_by(events)
    if not deleted:
        return
    await _resolve_ended(await open_letters(settings), deleted, settings)


async def still_open(
    letters: Iterable[OpenLetter], settings: Settings
) -> list[OpenLetter]:
    """Those whose document was not deleted since; the others are resolved.

    The stages do not look for letters when they delete, so this is where a delete by
    another program is noticed.

    Raises:
        SharedFailure: the store cannot be asked.
    """
    letters = list(letters)
    store = QdrantStore.from_settings(settings)
    try:
        states = await states_in(store, {each.letter.key for each in letters})
    finally:
        await store.close()
    deleted = {key: Deleted.of_record(record) for key, record in states.items()}
    return await _resolve_ended(letters, deleted, settings)


async def _resolve_ended(
    letters: Iterable[OpenLetter],
    deleted: Mapping[DocumentKey, Deleted],
    settings: Settings,
) -> list[OpenLetter]:
    """Resolve letters that a deletion has ended; the others."""
    left: list[OpenLetter] = []
    ended: list[OpenLetter] = []
    for each in letters:
        key = each.letter.key
        over = key is not None and key in deleted and deleted[key].ends(each.letter)
        (ended if over else left).append(each)
    if ended:
        async with sender(settings) as out:
            for each in ended:
                await resolve(each, out, settings, action="delete")
    return left
