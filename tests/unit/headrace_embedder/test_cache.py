"""The cache on disk: what it keeps, what it survives."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from headrace_embedder.cache import CacheKeys, FileCache, MemoryCache, VectorCache
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.fingerprint import ModelSettings

MODEL = ModelSettings("openai", "m", "1", 8, document_prefix="passage: ")
MIB = 1024**2
VECTOR_BYTES = 32
CHECKSUM_BYTES = 4
SLOT_BYTES = 44 + CHECKSUM_BYTES + VECTOR_BYTES
"""With its entry in the table."""


def key(number: int) -> bytes:
    return number.to_bytes(32, "little")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def vector(number: int) -> bytes:
    return number.to_bytes(VECTOR_BYTES, "little")


def made(file: Path, *, slots: int = 1000) -> FileCache:
    return FileCache(
        str(file), max_bytes=4096 + slots * SLOT_BYTES, vector_bytes=VECTOR_BYTES
    )


def pairs(numbers: Iterable[int]) -> list[tuple[bytes, bytes]]:
    return [(key(number), vector(number)) for number in numbers]


@pytest.fixture(params=["memory", "file"])
async def cache(
    request: pytest.FixtureRequest, tmp_path: Path
) -> AsyncIterator[VectorCache]:
    in_file = request.param == "file"
    cache = made(tmp_path / "cache") if in_file else MemoryCache(max_bytes=MIB)
    yield cache
    await cache.close()


async def test_what_was_kept_is_found_and_nothing_else(cache: VectorCache) -> None:
    assert await cache.get([key(1)]) == {}
    await cache.put(pairs([1, 2]))

    assert await cache.get([key(1), key(2), key(3)]) == dict(pairs([1, 2]))
    await cache.put([(key(1), vector(7))])
    assert await cache.get([key(1), key(2)]) == {key(1): vector(7), key(2): vector(2)}


async def test_overlapping_use_is_in_order(cache: VectorCache) -> None:
    await asyncio.gather(
        *[cache.put(pairs([one])) for one in range(50)],
        *[cache.get([key(one)]) for one in range(50)],
    )

    assert await cache.get([key(one) for one in range(50)]) == dict(pairs(range(50)))


async def test_memory_is_bounded_and_the_oldest_go_first() -> None:
    cache = MemoryCache(max_bytes=10 * VECTOR_BYTES)
    await cache.put(pairs(range(8)))
    await cache.put(pairs([0, 8, 9, 10]))

    assert await cache.get([key(one) for one in range(11)]) == dict(
        pairs([0, *range(2, 11)])
    )


async def test_vectors_outlive_the_process(tmp_path: Path) -> None:
    file = tmp_path / "below" / "cache"
    first = made(file)
    await first.put(pairs([1, 2]))
    await first.close()
    second = made(file)

    assert await second.get([key(1), key(2), key(3)]) == dict(pairs([1, 2]))
    await second.put(pairs([3]))
    assert len(await second.get([key(1), key(2), key(3)])) == 3
    await second.close()
    # Vectors tell of their texts.
    assert file.stat().st_mode & 0o077 == 0


async def test_more_vectors_than_one_write_takes(tmp_path: Path) -> None:
    file = tmp_path / "cache"
    cache = made(file, slots=3000)
    await cache.put(pairs(range(2500)))
    await cache.close()
    cache = made(file, slots=3000)

    assert await cache.get([key(one) for one in range(2500)]) == dict(
        pairs(range(2500))
    )
    await cache.close()


@settings(deadline=None, max_examples=50)
@given(
    batches=st.lists(
        st.lists(st.integers(0, 9), unique=True, max_size=9), min_size=1, max_size=12
    ),
    restarts=st.sets(st.integers(0, 11)),
)
async def test_a_full_file_holds_what_was_kept_last(
    batches: list[list[int]], restarts: set[int]
) -> None:
    """Whatever comes again, in whichever order; a restart changes nothing."""
    kept: list[int] = []
    with TemporaryDirectory() as folder:
        file = Path(folder) / "cache"
        cache = made(file, slots=5)
        for number, batch in enumerate(batches):
            await cache.put(pairs(batch))
            kept += batch
            if number in restarts:
                await cache.close()
                cache = made(file, slots=5)
            found = await cache.get([key(one) for one in range(10)])
            assert found == dict(pairs(set(kept[-5:])))
        await cache.close()
        assert file.stat().st_size <= 4096 + 5 * SLOT_BYTES


async def test_a_cache_too_small_for_one_vector_keeps_none(tmp_path: Path) -> None:
    cache = made(tmp_path / "cache", slots=0)
    await cache.put(pairs([1]))

    assert await cache.get([key(1)]) == {}
    await cache.close()


@pytest.mark.parametrize("damage", ["start", "all"])
async def test_a_file_that_is_none_of_ours_is_moved_aside(
    tmp_path: Path, damage: str
) -> None:
    file = tmp_path / "cache"
    cache = made(file)
    await cache.put(pairs(range(100)))
    await cache.close()
    size = file.stat().st_size
    with file.open("r+b") as opened:
        opened.write(os.urandom(size if damage == "all" else 100))
    cache = made(file)

    assert await cache.get([key(1)]) == {}
    await cache.put(pairs([1]))
    assert await cache.get([key(1)]) == dict(pairs([1]))
    await cache.close()
    assert [name.split("-")[0] for name in names(tmp_path)] == ["cache", "cache.broken"]


async def test_a_file_of_another_size_or_model_is_begun_anew(tmp_path: Path) -> None:
    file = tmp_path / "cache"
    cache = made(file, slots=10)
    await cache.put(pairs(range(10)))
    await cache.close()
    cache = made(file, slots=20)

    assert await cache.get([key(1)]) == {}
    await cache.put(pairs([1]))
    await cache.close()
    cache = made(file, slots=20)
    assert await cache.get([key(1), key(2)]) == dict(pairs([1]))
    await cache.close()
    assert names(tmp_path) == ["cache"]


@settings(deadline=None, max_examples=50)
@given(st.data())
async def test_whatever_rots_is_a_miss_and_never_wrong(data: st.DataObject) -> None:
    with TemporaryDirectory() as folder:
        file = Path(folder) / "cache"
        cache = made(file, slots=4)
        await cache.put(pairs(range(6)))
        await cache.close()
        size = file.stat().st_size
        with file.open("r+b") as opened:
            for _ in range(data.draw(st.integers(1, 3))):
                # Behind the magic: a file without that is none of ours.
                opened.seek(data.draw(st.integers(8, size - 1)))
                opened.write(data.draw(st.binary(min_size=1, max_size=60)))
            opened.truncate(data.draw(st.integers(size // 2, size)))
        cache = made(file, slots=4)
        known = dict(pairs(range(6)))

        found = await cache.get([key(one) for one in range(6)])
        assert found.items() <= known.items()
        await cache.put(pairs([8, 9]))
        assert await cache.get([key(8), key(9)]) == dict(pairs([8, 9]))
        await cache.close()


async def test_a_slot_that_changed_behind_our_back_is_a_miss(tmp_path: Path) -> None:
    """As after a crash between a vector's write and that of its entry."""
    file = tmp_path / "cache"
    cache = made(file, slots=2)
    await cache.put(pairs([1, 2]))
    content = file.read_bytes()
    slot = CHECKSUM_BYTES + VECTOR_BYTES
    start = len(content) - 2 * slot
    with file.open("r+b") as opened:
        opened.seek(start)
        opened.write(content[start + slot :] + content[start : start + slot])

    assert await cache.get([key(1), key(2)]) == {}
    await cache.close()


async def test_a_place_that_cannot_be_written_only_costs_hits(tmp_path: Path) -> None:
    blocked = tmp_path / "a-file"
    blocked.write_text("in the way")
    cache = made(blocked / "cache")
    await cache.put(pairs([1]))

    assert await cache.get([key(1)]) == {}
    await cache.close()


async def test_a_full_disk_only_costs_hits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = made(tmp_path / "cache")
    await cache.put(pairs([1]))
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwritev", lambda *_: 3)
        await cache.put(pairs([2]))
    await cache.put(pairs([3]))

    assert await cache.get([key(1), key(2), key(3)]) == dict(pairs([1, 3]))
    await cache.close()


async def test_a_file_has_one_owner_at_a_time(tmp_path: Path) -> None:
    first, second = made(tmp_path / "cache"), made(tmp_path / "cache")
    await first.put(pairs([1]))

    assert await second.get([key(1)]) == {}
    await first.close()
    assert await second.get([key(1)]) == dict(pairs([1]))
    await second.close()


async def test_a_cancelled_opening_leaves_nothing_open(tmp_path: Path) -> None:
    first, second = made(tmp_path / "cache"), made(tmp_path / "cache")
    opening = asyncio.create_task(first.get([key(1)]))
    await asyncio.sleep(0)
    opening.cancel()
    await asyncio.wait({opening})
    await first.close()

    await second.put(pairs([1]))
    assert await second.get([key(1)]) == dict(pairs([1]))
    await second.close()


@pytest.mark.parametrize(
    "other",
    [
        replace(MODEL, provider="local"),
        replace(MODEL, model="n"),
        replace(MODEL, model_revision="2"),
        replace(MODEL, dimensions=9),
        replace(MODEL, document_prefix=""),
    ],
)
def test_whatever_decides_a_vector_decides_its_key(other: ModelSettings) -> None:
    mine, theirs = CacheKeys(MODEL, shared=False), CacheKeys(other, shared=False)

    assert mine.key("text", tenant="a") != theirs.key("text", tenant="a")


@given(st.text(), st.text(), st.text(), st.text())
def test_tenants_share_a_vector_only_where_that_is_allowed(
    text: str, other_text: str, tenant: str, other_tenant: str
) -> None:
    apart, shared = CacheKeys(MODEL, shared=False), CacheKeys(MODEL, shared=True)
    same = (text, tenant) == (other_text, other_tenant)

    assert same == (
        apart.key(text, tenant=tenant) == apart.key(other_text, tenant=other_tenant)
    )
    assert (text == other_text) == (
        shared.key(text, tenant=tenant) == shared.key(other_text, tenant=other_tenant)
    )
