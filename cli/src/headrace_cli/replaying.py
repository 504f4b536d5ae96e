"""Does dead letters again, or gives them up for good.

A replay sends the original record, byte for byte, to where it came from, with the
arrival that it first had. The letter stays until the replay has come to an end: the
stage has committed past the new record and, where the document is known, a final state
was reported since. If it failed again, the stage has rewritten the letter itself; if it
failed in a later stage, that stage has written another, which takes this one's place.
"""

from __future__ import annotations

import asyncio
import contextlib
import getpass
import json
import socket
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from aiokafka import TopicPartition

from headrace.headers import ARRIVAL
from headrace.identity import Arrival, DocumentKey
from headrace.messages import DeadLetter, State, StatusEvent
from headrace.objects import Objects
from headrace.qdrant import QdrantStore
from headrace.settings import Settings
from headrace.work import REPLAYS
from headrace_cli.deletions import Deleted, deleted_by, deleted_in
from headrace_cli.following import status_of
from headrace_cli.group_offsets import committed_offsets
from headrace_cli.kafka_client import Sender, TopicReader, reader, sender
from headrace_cli.letters import OpenLetter, open_letters

_ORIGINAL_BYTES = 64 * 1024 * 1024
_POLL_S = 0.5


@dataclass(slots=True)
class Replay:
    """One letter on its way again."""

    letter: OpenLetter
    partition: int = 0
    offset: int = 0
    final: StatusEvent | None = None
    outcome: str = "waiting"
    """``resolved``, ``failed_again`` or ``waiting``."""


@dataclass(slots=True)
class Replays:
    """All replays of one command."""

    settings: Settings
    replays: list[Replay] = field(default_factory=list)

    def heard(self, event: StatusEvent) -> None:
        """Note a status that ends a replay."""
        if not event.state.final:
            return
        for replay in self.replays:
            letter = replay.letter.letter
            if _same_work(letter, event.key, event.revision, event.arrival):
                replay.final = event


async def original_value(letter: DeadLetter, settings: Settings) -> bytes | None:
    """The record's value as it was read."""
    if letter.original_object is None:
        return letter.original_value
    objects = Objects.from_settings(settings)
    return await objects.get(letter.original_object, _ORIGINAL_BYTES)


async def replay(
    letters: Sequence[OpenLetter], settings: Settings, *, timeout_s: float
) -> list[Replay]:
    """Send the letters again in order and see what becomes of them."""
    replays = Replays(settings)
    topology = settings.topology
    async with sender(settings) as out, reader(settings, topology.status) as status:
        await status.seek_to_end()
        for letter in letters:
            replays.replays.append(await _send(letter, out, settings))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await _settled(replays, status)
        await _judge(replays, out)
    return replays.replays


async def _send(letter: OpenLetter, out: Sender, settings: Settings) -> Replay:
    dead = letter.letter
    headers = [
        (name, value)
        for name, value in dead.original_headers
        if name not in (ARRIVAL, REPLAYS)
    ]
    if dead.arrival is not None:
        headers.append((ARRIVAL, str(dead.arrival).encode()))
    headers.append((REPLAYS, b"%d" % (_replays_before(dead) + 1)))
    position = await out.send(
        dead.origin_topic,
        key=dead.original_key,
        value=await original_value(dead, settings),
        partition=dead.origin_partition,
        headers=headers,
    )
    return Replay(letter, position.partition, position.last_offset)


def _replays_before(letter: DeadLetter) -> int:
    values = [value for name, value in letter.original_headers if name == REPLAYS]
    return int(values[-1]) if values and values[-1].isdigit() else 0


async def _settled(replays: Replays, status: TopicReader) -> None:
    """Return once every replay was handled and, where it can, has a final state."""
    looked = 0.0
    passed: set[int] = set()
    async for records in status.from_now_on():
        for event in map(status_of, records):
            if event is not None:
                replays.heard(event)
        if time.monotonic() - looked >= _POLL_S:
            looked = time.monotonic()
            passed = await _passed(replays)
        if all(
            number in passed and (each.final or each.letter.letter.key is None)
            for number, each in enumerate(replays.replays)
        ):
            return


async def _passed(replays: Replays) -> set[int]:
    """Which replays their stage has committed past."""
    places = {
        number: TopicPartition(each.letter.letter.origin_topic, each.partition)
        for number, each in enumerate(replays.replays)
    }
    passed: set[int] = set()
    for stage in {each.letter.letter.stage for each in replays.replays}:
        own = {
            number: place
            for number, place in places.items()
            if replays.replays[number].letter.letter.stage is stage
        }
        committed = await committed_offsets(
            replays.settings, stage, list(set(own.values()))
        )
        passed |= {
            number
            for number, place in own.items()
            if committed.get(place, 0) > replays.replays[number].offset
        }
    return passed


async def _judge(replays: Replays, out: Sender) -> None:
    """Resolve the letters of replays that ended well, and of deleted documents."""
    passed = await _passed(replays)
    keys = {each.letter.letter.key for each in replays.replays}
    deleted = await _deleted(replays.settings, [key for key in keys if key])
    now = {each.record_key: each for each in await open_letters(replays.settings)}
    ended = await _resolve_ended(now.values(), deleted, out, replays.settings)
    again = {
        (
            each.letter.origin_topic,
            each.letter.origin_partition,
            each.letter.origin_offset,
        )
        for each in now.values()
    }
    for number, each in enumerate(replays.replays):
        letter = each.letter.letter
        present = now.get(each.letter.record_key)
        rewritten = present is not None and present.offset != each.letter.offset
        elsewhere = (letter.origin_topic, each.partition, each.offset) in again
        if each.letter.record_key in ended:
            each.outcome = "resolved"
        elif rewritten or elsewhere:
            each.outcome = "failed_again"
            if elsewhere and not rewritten:
                # What cannot be read is known by its place alone, so its second
                # failure is a letter of its own.
                await resolve(each.letter, out, replays.settings, action="replay")
        elif number in passed and (each.final is not None or letter.key is None):
            failed = each.final is not None and each.final.state is State.FAILED
            each.outcome = "failed_again" if failed else "resolved"
            if not failed or _another_letter(letter, now.values()):
                await resolve(each.letter, out, replays.settings, action="replay")


def _another_letter(letter: DeadLetter, present: Iterable[OpenLetter]) -> bool:
    """Whether what stopped the document further on has a letter of its own."""
    return any(
        (other.stage, other.first_chunk, other.end_chunk)
        != (letter.stage, letter.first_chunk, letter.end_chunk)
        and _same_work(letter, other.key, other.revision, other.arrival)
        for other in (each.letter for each in present)
    )


def _same_work(
    letter: DeadLetter,
    key: DocumentKey | None,
    revision: int,
    arrival: Arrival | None,
) -> bool:
    """Whether this is about the same event of the same document."""
    return key == letter.key and bool(
        (letter.revision and revision == letter.revision)
        or (arrival is not None and arrival == letter.arrival)
    )


async def _deleted(
    settings: Settings, keys: Iterable[DocumentKey]
) -> Mapping[DocumentKey, Deleted]:
    store = QdrantStore.from_settings(settings)
    try:
        return await deleted_in(store, keys)
    finally:
        await store.close()


async def resolve_deleted(events: Iterable[StatusEvent], settings: Settings) -> None:
    """Resolve the letters of documents that these final states say we deleted."""
    deleted = deleted_by(events)
    if not deleted:
        return
    letters = await open_letters(settings)
    async with sender(settings) as out:
        await _resolve_ended(letters, deleted, out, settings)


async def _resolve_ended(
    letters: Iterable[OpenLetter],
    deleted: Mapping[DocumentKey, Deleted],
    out: Sender,
    settings: Settings,
) -> set[bytes]:
    """Resolve letters that a deletion has ended; their keys."""
    ended = set()
    for each in letters:
        key = each.letter.key
        if key and key in deleted and deleted[key].ends(each.letter):
            await resolve(each, out, settings, action="delete")
            ended.add(each.record_key)
    return ended


async def resolve(
    letter: OpenLetter,
    out: Sender,
    settings: Settings,
    *,
    action: str,
    reason: str = "",
) -> None:
    """Write down who did it, then take the letter off the topic.

    In this order: dying in between leaves a letter too many, never one too few.
    """
    audit = {
        "action": action,
        "reason": reason,
        "at_ms": round(time.time() * 1000),
        "by": f"{getpass.getuser()}@{socket.gethostname()}",
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
