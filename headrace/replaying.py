"""Does dead letters again.

A replay sends the original record, byte for byte, to where it came from, with the
arrival that it first had. The letter stays until the replay has come to an end: see
``replays``. Whoever is interrupted replays again: the stages know what they have done.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Mapping, Sequence

from aiokafka import TopicPartition

from headrace.dead_letters import LETTER
from headrace.deletions import Deleted, states_in
from headrace.errors import DocumentFailure
from headrace.group_offsets import committed_offsets
from headrace.headers import ARRIVAL, count_of
from headrace.identity import DocumentKey
from headrace.kafka_clients import Sender, TopicReader, reader, sender
from headrace.messages import DeadLetter, OutputPosition, Stage, State
from headrace.objects import Objects
from headrace.open_letters import OpenLetter, letter_of_record
from headrace.qdrant import QdrantStore
from headrace.qdrant_payload import HOLE
from headrace.replays import (
    Outcome,
    Replay,
    Replays,
    Wanted,
    obsolete,
    wants_vectors,
)
from headrace.resolving import resolve
from headrace.settings import Settings
from headrace.state import StateRecord
from headrace.status import status_of
from headrace.store import Store
from headrace.wire import decode_chunk_slice, decode_embedded_slice
from headrace.work import REPLAYS

_ORIGINAL_BYTES = 64 * 1024 * 1024
_POLL_S = 0.5


async def original_value(letter: DeadLetter, settings: Settings) -> bytes | None:
    """The record's value as it was read."""
    if letter.original_object is None:
        return letter.original_value
    objects = Objects.from_settings(settings)
    return await objects.get(letter.original_object, _ORIGINAL_BYTES)


async def replay(
    letters: Sequence[OpenLetter],
    settings: Settings,
    *,
    timeout_s: float,
    rate: float | None = None,
    by: str = "",
) -> list[Replay]:
    """Send the letters again in order and see what becomes of them.

    Args:
        letters: which ones.
        settings: of the pipeline.
        timeout_s: for all to come to an end, from when the last is sent.
        rate: records to send a second; ``None``: as fast as it goes.
        by: who asked for it, for the audit topic; empty: the user of this process.
    """
    store = QdrantStore.from_settings(settings)
    topology = settings.topology
    topics = [topology.status, *map(topology.dlq, Stage)]
    replays = Replays()
    try:
        async with sender(settings) as out, reader(settings, *topics) as news:
            await news.seek_to_end()
            keys = {each.letter.key for each in letters}
            states = await states_in(store, keys)
            sending = _Sending(out)
            for letter in letters:
                before = sending.count
                replays.add(await _replay(letter, states, sending, settings))
                if rate is not None and sending.count > before:
                    await asyncio.sleep(1 / rate)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    while replays.waiting:
                        await _look(replays, news, store, settings)
                        await asyncio.sleep(_POLL_S)
            for each in replays.all:
                await _resolve(each, out, settings, by=by)
    finally:
        await store.close()
    return replays.all


def in_order(letters: Iterable[OpenLetter]) -> list[OpenLetter]:
    """As their events first came, and a document's chunks by number."""

    def place(each: OpenLetter) -> tuple[int, str, int, int, int]:
        letter = each.letter
        at = letter.arrival
        return (
            at.append_time_ms if at else letter.origin_timestamp_ms,
            letter.origin_topic,
            letter.origin_partition,
            at.offset if at else letter.origin_offset,
            letter.first_chunk,
        )

    return sorted(letters, key=place)


async def _replay(
    letter: OpenLetter,
    states: Mapping[DocumentKey, StateRecord],
    sending: _Sending,
    settings: Settings,
) -> Replay:
    """Send it, unless nothing could come of it any more."""
    dead = letter.letter
    record = states.get(dead.key) if dead.key else None
    if record is not None and Deleted.of_record(record).ends(dead):
        return Replay(letter, outcome=Outcome.RESOLVED, state=State.DELETED)
    if record is not None and obsolete(dead, record):
        return Replay(letter, outcome=Outcome.RESOLVED, state=State.SUPERSEDED)
    try:
        value = await original_value(dead, settings)
    except DocumentFailure as failure:
        # It is gone from the object store: no reason to hold up the others.
        return Replay(letter, outcome=Outcome.FAILED_AGAIN, problem=failure.message)
    position = await sending.send(letter, value)
    return Replay(
        letter,
        topic=position.topic,
        partition=position.partition,
        offset=position.last_offset,
        wanted=_wanted(dead, value),
    )


class _Sending:
    """Sends original records, each once: the holes of a slice have the same.

    Attributes:
        count: how many it has sent.
    """

    def __init__(self, out: Sender) -> None:
        self.count = 0
        self._out = out
        self._sent: dict[tuple[str, int, int, int], OutputPosition] = {}

    async def send(self, letter: OpenLetter, value: bytes | None) -> OutputPosition:
        """Send the record that a letter is about, if that was not done."""
        dead = letter.letter
        origin = (
            dead.origin_topic,
            dead.origin_partition,
            dead.origin_offset,
            dead.origin_timestamp_ms,
        )
        if origin not in self._sent:
            self._sent[origin] = await self._out.send(
                dead.origin_topic,
                # By the key's hash, not to the partition of then: they may have grown.
                key=dead.original_key,
                value=value,
                headers=_headers(letter),
            )
            self.count += 1
        return self._sent[origin]


def _headers(letter: OpenLetter) -> list[tuple[str, bytes]]:
    dead = letter.letter
    # Behind the loader the arrival is in the message, where it can be read.
    ours = {REPLAYS, LETTER} | ({ARRIVAL} if dead.stage is Stage.LOADER else set())
    headers = [(name, at) for name, at in dead.original_headers if name not in ours]
    if dead.stage is Stage.LOADER and dead.arrival is not None:
        headers.append((ARRIVAL, str(dead.arrival).encode()))
    headers.append((LETTER, letter.record_key))
    before = [at for name, at in dead.original_headers if name == REPLAYS]
    headers.append((REPLAYS, b"%d" % (count_of(before[-1] if before else None) + 1)))
    return headers


def _wanted(letter: DeadLetter, value: bytes | None) -> Wanted | None:
    """The chunks of a letter that is about some."""
    if not letter.end_chunk:
        return None
    if letter.stage is Stage.EMBEDDER:
        chunks = decode_chunk_slice(value)
        document, numbers = chunks.document, [each.number for each in chunks.chunks]
    else:
        vectors = decode_embedded_slice(value)
        document = vectors.document
        numbers = [each.chunk.number for each in vectors.chunks]
    within = range(letter.first_chunk, letter.end_chunk)
    return Wanted(
        document,
        tuple(number for number in numbers if number in within),
        vectors=wants_vectors(letter),
    )


async def _look(
    replays: Replays, news: TopicReader, store: Store, settings: Settings
) -> None:
    """Learn what happened since the last look, and decide what can be."""
    # In this order: what was written before a commit is read after it, and a state
    # record knows of every final state that was reported.
    passed = await _passed(replays.waiting, settings)
    async for record in news.up_to_now():
        if record.topic == settings.topology.status:
            if (event := status_of(record)) is not None:
                replays.heard(event)
        elif (letter := letter_of_record(record)) is not None:
            replays.written(letter)
    chunks = [each for each in passed if each.wanted is not None]
    states = await states_in(store, {each.letter.letter.key for each in chunks})
    for each in replays.waiting:
        key = each.letter.letter.key
        each.judge(
            passed=each in passed,
            record=states.get(key) if key else None,
            stored=each in chunks and await _stored(each.wanted, states, store),
        )


async def _passed(replays: Sequence[Replay], settings: Settings) -> set[Replay]:
    """Which replays their stage has committed past."""
    passed: set[Replay] = set()
    for stage in {each.letter.letter.stage for each in replays}:
        own = {
            each: TopicPartition(each.topic, each.partition)
            for each in replays
            if each.letter.letter.stage is stage
        }
        committed = await committed_offsets(settings, stage, list(set(own.values())))
        passed |= {
            each for each, place in own.items() if committed.get(place, 0) > each.offset
        }
    return passed


async def _stored(
    wanted: Wanted | None, states: Mapping[DocumentKey, StateRecord], store: Store
) -> bool:
    if wanted is None or wanted.document.key not in states:
        return False
    key = wanted.document.key
    missing = set(wanted.ids)
    async for point in store.scroll_points(key.collection, key=key):
        if not (wanted.vectors and point.payload["state"] == HOLE):
            missing.discard(point.id)
        if not missing:
            return True
    return False


async def _resolve(replay: Replay, out: Sender, settings: Settings, *, by: str) -> None:
    if replay.outcome is Outcome.RESOLVED or (
        replay.outcome is Outcome.FAILED_AGAIN and replay.replaced
    ):
        reason = str(replay.state or "")
        deleted = replay.state is State.DELETED and not replay.topic
        action = "delete" if deleted else "replay"
        await resolve(replay.letter, out, settings, action=action, reason=reason, by=by)
