"""Removes texts of the object store that nothing refers to any more.

A text is referred to by the record that the loader sends, and by letters made of that
record. So one that was written longer ago than any such record can be kept, and that no
letter names, is garbage. It goes in two steps, each after that long: first it is set
aside, where it is still found; so nothing breaks where the same text comes again at the
very moment, and puts its fate off by as much.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable

from headrace.messages import DeadLetter
from headrace.objects import TEXTS, Listed, Objects
from headrace.settings import Settings
from headrace.topology import DAY_MS

_SEGMENT_MS = 7 * DAY_MS
"""Kafka keeps a record until all of its segment are old enough; the default's span."""
_TEXT = re.compile(rb"texts/(?:[A-Za-z0-9_-]{1,64}|~[0-9a-f]{32})/[0-9a-f]{64}")


def longest_use_ms(settings: Settings) -> int:
    """For how long after it was written a text may be referred to by a record.

    The loader may hold an event for as long as an outage may last, and then its record
    is kept; a day more for clocks and for Kafka's own slowness.
    """
    return 2 * settings.topology.retention_ms + _SEGMENT_MS + DAY_MS


def named_by(letters: Iterable[DeadLetter]) -> set[str]:
    """Texts that the letters' records refer to, also those nobody can read."""
    return {
        found.decode()
        for letter in letters
        for found in _TEXT.findall(letter.original_value or b"")
    }


def garbage(
    objects: Iterable[Listed], *, named: set[str], written_before_ms: int
) -> list[Listed]:
    """Those that nothing refers to."""
    return [
        each
        for each in objects
        if each.written_ms < written_before_ms and each.key not in named
    ]


async def collect(
    objects: Objects, settings: Settings, letters: Iterable[DeadLetter]
) -> int:
    """Set garbage aside, remove what was; how many are gone for good.

    Raises:
        SharedFailure: the object store's.
    """
    before_ms = int(time.time() * 1000) - longest_use_ms(settings)
    removed = await objects.drop_parts(TEXTS, written_before_ms=before_ms)
    for each in garbage(
        await objects.listed(TEXTS),
        named=named_by(letters),
        written_before_ms=before_ms,
    ):
        if each.retired:
            await objects.delete_retired(each.key)
            removed += 1
        else:
            await objects.retire(each.key)
    return removed
