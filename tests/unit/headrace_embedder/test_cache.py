"""The cache on disk: what it keeps, what it survives."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest
from headrace_embedder.cache import CacheKeys, SqliteCache
from hypothesis import given
from hypothesis import strategies as st

from headrace.fingerprint import ModelSettings

MODEL = ModelSettings("openai", "m", "1", 8, document_prefix="passage: ")
MIB = 1024**2


def key(number: int) -> bytes:
    return number.to_bytes(32, "little")


def stat_mode(file: str) -> int:
    return Path(file).stat().st_mode


def set_aside(folder: Path) -> list[Path]:
    return list(folder.glob("cache.db.broken-*"))


async def test_vectors_outlive_the_process(tmp_path: Path) -> None:
    file = str(tmp_path / "below" / "cache.db")
    first = SqliteCache(file, max_bytes=MIB)
    await first.put([(key(1), b"one!"), (key(2), b"two!")])
    await first.close()
    second = SqliteCache(file, max_bytes=MIB)

    assert await second.get([key(1), key(2), key(3)]) == {
        key(1): b"one!",
        key(2): b"two!",
    }
    await second.close()
    # Vectors tell of their texts.
    assert stat_mode(file) & 0o077 == 0


async def test_without_a_file_it_is_in_memory() -> None:
    cache = SqliteCache("", max_bytes=MIB)
    await cache.put([(key(1), b"one!")])

    assert await cache.get([key(1)]) == {key(1): b"one!"}
    await cache.close()


async def test_more_keys_than_one_query_takes() -> None:
    cache = SqliteCache("", max_bytes=64 * MIB)
    vectors = {key(number): number.to_bytes(4, "little") for number in range(2000)}
    await cache.put(list(vectors.items()))

    assert await cache.get(list(vectors)) == vectors
    await cache.close()


async def test_it_stays_near_its_size_and_drops_the_oldest(tmp_path: Path) -> None:
    file = tmp_path / "cache.db"
    cache = SqliteCache(str(file), max_bytes=2 * MIB)
    for start in range(0, 2000, 20):
        await cache.put([(key(start + one), bytes(6000)) for one in range(20)])

    assert await cache.get([key(0)]) == {}
    assert len(await cache.get([key(1999)])) == 1
    await cache.close()
    assert file.stat().st_size < 3 * MIB


@pytest.mark.parametrize("damage", ["start", "all"])
async def test_a_broken_file_is_moved_aside_and_a_new_one_begun(
    tmp_path: Path, damage: str
) -> None:
    file = tmp_path / "cache.db"
    cache = SqliteCache(str(file), max_bytes=8 * MIB)
    await cache.put([(key(one), bytes(6000)) for one in range(100)])
    await cache.close()
    size = file.stat().st_size
    with file.open("r+b") as opened:
        opened.write(os.urandom(size if damage == "all" else 100))
    cache = SqliteCache(str(file), max_bytes=8 * MIB)

    assert await cache.get([key(1)]) == {}
    await cache.put([(key(1), b"anew")])
    assert await cache.get([key(1)]) == {key(1): b"anew"}
    await cache.close()
    assert len(set_aside(tmp_path)) == 1


async def test_a_vector_that_rotted_is_a_miss(tmp_path: Path) -> None:
    file = tmp_path / "cache.db"
    cache = SqliteCache(str(file), max_bytes=MIB)
    await cache.put([(key(1), bytes(32)), (key(2), bytes(32))])
    await cache.close()
    with sqlite3.connect(file) as connection:
        [[value]] = connection.execute("SELECT value FROM vectors WHERE id = 1")
        rotten = value[:-1] + b"\x01"
        connection.execute("UPDATE vectors SET value = ? WHERE id = 1", (rotten,))
    cache = SqliteCache(str(file), max_bytes=MIB)

    assert await cache.get([key(1), key(2)]) == {key(2): bytes(32)}
    await cache.close()


async def test_a_place_that_cannot_be_written_only_costs_hits(tmp_path: Path) -> None:
    blocked = tmp_path / "a-file"
    blocked.write_text("in the way")
    cache = SqliteCache(str(blocked / "cache.db"), max_bytes=MIB)
    await cache.put([(key(1), b"one!")])

    assert await cache.get([key(1)]) == {}
    await cache.close()


async def test_overlapping_use_is_in_order() -> None:
    cache = SqliteCache("", max_bytes=MIB)
    await asyncio.gather(
        *[cache.put([(key(one), key(one))]) for one in range(50)],
        *[cache.get([key(one)]) for one in range(50)],
    )

    assert len(await cache.get([key(one) for one in range(50)])) == 50
    await cache.close()


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
