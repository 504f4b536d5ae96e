"""The dead letters that are open: read from the four DLQ topics, filtered, shown.

The topics are compacted: the last record of a key counts, and a tombstone means that
the letter was resolved.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID

from headrace.errors import Unreadable
from headrace.handler import Record
from headrace.kafka_clients import reader
from headrace.messages import DeadLetter, Stage
from headrace.refusals import Refused
from headrace.settings import Settings
from headrace.wire import decode_dead_letter


@dataclass(frozen=True, slots=True)
class OpenLetter:
    """A dead letter and how to find it again."""

    id: str
    record_key: bytes
    topic: str
    partition: int
    offset: int
    """Rises when the stage writes the letter again."""
    letter: DeadLetter

    @property
    def document(self) -> str:
        """The document's id; empty where nothing could be read."""
        return self.letter.key.document_id if self.letter.key else ""

    def summary(self) -> dict[str, object]:
        """As a list prints it for programs."""
        letter = self.letter
        return {
            "id": self.id,
            "stage": str(letter.stage),
            "code": letter.error.code,
            "message": letter.error.message,
            "advice": letter.error.advice,
            "retryable": letter.error.retryable,
            "attempts": letter.attempts,
            "tenant": letter.key.tenant if letter.key else "",
            "collection": letter.key.collection if letter.key else "",
            "document": self.document,
            "revision": letter.revision,
            "chunks": [letter.first_chunk, letter.end_chunk],
            "failed_at": when(letter.failed_at_ms),
            "origin": {
                "topic": letter.origin_topic,
                "partition": letter.origin_partition,
                "offset": letter.origin_offset,
                "timestamp": when(letter.origin_timestamp_ms),
            },
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class LetterFilter:
    """Which letters a command means; empty fields mean all."""

    ids: tuple[str, ...] = ()
    stage: str = ""
    code: str = ""
    document: str = ""
    collection: str = ""
    tenant: str = ""
    since: str = ""
    until: str = ""

    def __post_init__(self) -> None:
        """Refuse a time that cannot be read."""
        _milliseconds(self.since)
        _milliseconds(self.until)

    def matches(self, letter: OpenLetter) -> bool:
        """Whether the letter is meant."""
        key = letter.letter.key
        return (
            (not self.ids or any(letter.id.startswith(id_) for id_ in self.ids))
            and self.stage in ("", str(letter.letter.stage))
            and self.code in ("", letter.letter.error.code)
            and self.document in ("", letter.document)
            and self.collection in ("", key.collection if key else "")
            and self.tenant in ("", key.tenant if key else "")
            and letter.letter.failed_at_ms >= (_milliseconds(self.since) or 0)
            and letter.letter.failed_at_ms < (_milliseconds(self.until) or math.inf)
        )


def _milliseconds(text: str) -> int | None:
    if not text:
        return None
    try:
        at = dt.datetime.fromisoformat(text).astimezone()
    except (ValueError, OverflowError) as error:
        raise Refused(
            "usage",
            f"{text!r} is no point in time",
            advice="give it as 2026-01-31 or 2026-01-31T12:00:00",
            usage=True,
        ) from error
    return int(at.timestamp() * 1000)


def when(milliseconds: int) -> str:
    """A time for people and programs; empty for none."""
    if not milliseconds:
        return ""
    at = dt.datetime.fromtimestamp(milliseconds / 1000, tz=dt.UTC)
    return at.isoformat(timespec="seconds").replace("+00:00", "Z")


async def open_letters(settings: Settings) -> list[OpenLetter]:
    """All letters that are not resolved, those that failed first before others."""
    last: dict[tuple[str, bytes], OpenLetter] = {}
    topics = [settings.topology.dlq(stage) for stage in Stage]
    async with reader(settings, *topics) as letters:
        async for record in letters.all_so_far():
            if record.key is None:
                continue
            last.pop((record.topic, record.key), None)
            if (letter := letter_of_record(record)) is not None:
                last[record.topic, record.key] = letter
    return sorted(last.values(), key=lambda each: (each.letter.failed_at_ms, each.id))


def letter_of_record(record: Record) -> OpenLetter | None:
    """The letter of a record; ``None`` for a tombstone or what we cannot read."""
    if record.key is None or record.value is None:
        return None
    try:
        letter = decode_dead_letter(record.value)
    except Unreadable:
        return None
    return OpenLetter(
        id=shown_key(record.key),
        record_key=record.key,
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        letter=letter,
    )


def shown_key(key: bytes) -> str:
    """A letter's key as people type it."""
    if len(key) == 16:
        return str(UUID(bytes=key))
    return key.decode(errors="backslashreplace")


def chosen(letters: Iterable[OpenLetter], wanted: LetterFilter) -> list[OpenLetter]:
    """The letters that are meant.

    Raises:
        Refused: an id that was named is not there, or stands for several.
    """
    letters = list(letters)
    for id_ in wanted.ids:
        found = [each for each in letters if each.id.startswith(id_)]
        if not found:
            raise Refused(
                "letter_missing",
                f"there is no open dead letter {id_}",
                advice="`headrace dlq list` shows those there are; it may be resolved",
            )
        if len(found) > 1:
            raise Refused(
                "usage",
                f"{id_} stands for {len(found)} letters",
                advice="give more of the id",
                usage=True,
            )
    return [each for each in letters if wanted.matches(each)]
