from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from headrace_cli.collecting import collect, garbage, longest_use_ms, named_by
from hypothesis import given
from hypothesis import strategies as st

from headrace.errors import DocumentFailure
from headrace.identity import Arrival, DocumentKey
from headrace.messages import (
    DeadLetter,
    DocumentRevision,
    LoadedText,
    ObjectReference,
    Stage,
    StatusError,
)
from headrace.objects import Listed, Objects, text_key
from headrace.settings import Settings
from headrace.topology import DAY_MS
from headrace.wire import encode_loaded_text

KEY = DocumentKey("default", "letters", "one")
OLD_S = 23 * DAY_MS / 1000
"""Two weeks of retention, a week of a segment, and a day are 22."""


def letter(value: bytes | None) -> DeadLetter:
    return DeadLetter(
        Stage.CHUNKER, StatusError("x"), 1, "t", 0, 0, 0, original_value=value
    )


def record(reference: ObjectReference) -> bytes:
    document = DocumentRevision(KEY, 1, "f", b"h" * 32, Arrival(1, "t", 0, 0))
    return encode_loaded_text(LoadedText(document, object=reference))


@given(st.text(min_size=1, max_size=80), st.binary(min_size=32, max_size=32))
def test_a_letter_names_the_text_of_its_record(tenant: str, digest: bytes) -> None:
    key = text_key(tenant, digest)
    assert named_by([letter(record(ObjectReference(key, 1)))]) == {key}
    assert named_by([letter(None), letter(b"texts/short"), letter(b"\xff")]) == set()


def test_only_what_is_old_and_not_named_is_garbage() -> None:
    objects = [
        Listed("texts/t/old", 10, retired=False),
        Listed("texts/t/old-named", 10, retired=False),
        Listed("texts/t/young", 30, retired=False),
        Listed("texts/t/old", 10, retired=True),
        Listed("texts/t/old-named", 10, retired=True),
    ]
    found = garbage(objects, named={"texts/t/old-named"}, written_before_ms=20)
    assert [(each.key, each.retired) for each in found] == [
        ("texts/t/old", False),
        ("texts/t/old", True),
    ]


def test_a_text_may_be_referred_to_for_as_long_as_two_topics_keep_records() -> None:
    assert longest_use_ms(Settings(retention_hours=168)) == 22 * DAY_MS
    assert longest_use_ms(Settings(retention_hours=1)) > 8 * DAY_MS


class Store:
    """An object store in a directory, whose files can be made old."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.settings = Settings(object_store_url=directory.as_uri())
        self.objects = Objects.from_settings(self.settings)

    async def text(self, name: str) -> str:
        key = text_key("default", name.encode().ljust(32))
        await self.objects.put(key, name.encode())
        return key

    def age(self, seconds: float = OLD_S) -> None:
        then = time.time() - seconds
        for path in self.directory.rglob("*"):
            os.utime(path, (then, then))

    async def read(self, key: str) -> bytes:
        return await self.objects.get(ObjectReference(key), 100)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


async def test_garbage_goes_in_two_steps(store: Store) -> None:
    key = await store.text("a")
    assert await collect(store.objects, store.settings, []) == 0
    assert await store.read(key) == b"a"
    store.age()

    assert await collect(store.objects, store.settings, []) == 0
    assert await store.read(key) == b"a", "set aside, it is still found"
    assert await collect(store.objects, store.settings, []) == 0
    assert await store.read(key) == b"a", "and stays as long again"

    store.age()
    assert await collect(store.objects, store.settings, []) == 1
    with pytest.raises(DocumentFailure, match="no object"):
        await store.read(key)
    assert await collect(store.objects, store.settings, []) == 0


async def test_what_a_letter_names_stays_in_both_steps(store: Store) -> None:
    key = await store.text("a")
    letters = [letter(record(ObjectReference(key, 1)))]
    store.age()
    for _ in range(3):
        assert await collect(store.objects, store.settings, letters) == 0
        store.age()
    assert [each.retired for each in await store.objects.listed("texts")] == [False]

    assert await collect(store.objects, store.settings, []) == 0
    store.age()
    assert await collect(store.objects, store.settings, letters) == 0
    assert await store.read(key) == b"a"


async def test_a_text_that_comes_again_stays(store: Store) -> None:
    key = await store.text("a")
    store.age()
    await collect(store.objects, store.settings, [])
    await store.text("a")
    assert await collect(store.objects, store.settings, []) == 0
    retired = [each for each in await store.objects.listed("texts") if each.retired]
    assert len(retired) == 1
    os.utime(store.directory / f"retired-{key}", (0, 0))
    assert await collect(store.objects, store.settings, []) == 1
    assert await store.read(key) == b"a"


async def test_what_others_put_there_is_left_alone(store: Store) -> None:
    for key in ("uploads/default/x", "letters/loader/y", "textsaurus/default/z"):
        await store.objects.put(key, b"1")
    store.age()
    assert await collect(store.objects, store.settings, []) == 0
    assert await store.objects.listed("uploads")
    assert await store.objects.listed("letters")
    assert [each.key for each in await store.objects.listed("textsaurus")]
