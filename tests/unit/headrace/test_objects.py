"""The object store adapter, on a local directory."""

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from headrace.errors import ConfigurationError, DocumentFailure, SharedFailure
from headrace.messages import ObjectReference
from headrace.objects import Objects, tenant_segment, text_key
from tests.support.eventually import eventually


@pytest.fixture
def objects(tmp_path: Path) -> Objects:
    return Objects(f"file://{tmp_path}/made/by/us", roots=["s3://bucket/public"])


async def read(objects: Objects, reference: ObjectReference) -> bytes:
    return b"".join([chunk async for chunk in objects.open(reference)])


async def test_a_put_object_is_read_back_with_its_size_and_hash(
    objects: Objects,
) -> None:
    reference = await objects.put("texts/t/a", b"hello")

    assert (
        ObjectReference("texts/t/a", 5, hashlib.sha256(b"hello").digest()) == reference
    )
    assert await read(objects, reference) == b"hello"
    assert await objects.get(reference, 5) == b"hello"


async def test_a_stream_of_many_parts_is_one_object(objects: Objects) -> None:
    pieces = [bytes([n]) * 1_500_000 for n in range(8)]

    async def stream() -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece

    reference = await objects.put("texts/t/large", stream())

    assert reference.size == 12_000_000
    assert reference.sha256 == hashlib.sha256(b"".join(pieces)).digest()
    assert await read(objects, reference) == b"".join(pieces)


async def test_a_stream_of_single_bytes_costs_by_its_length(objects: Objects) -> None:
    count = 60_000

    async def stream() -> AsyncIterator[bytes]:
        for _ in range(count):
            yield b"x"

    before_s = time.thread_time()
    reference = await objects.put("texts/t/bytes", stream())

    assert reference.size == count
    assert await read(objects, reference) == b"x" * count
    # Measured by the square of their number it is half a minute, else a tenth of 1 s.
    assert time.thread_time() - before_s < 5


async def test_what_a_killed_writer_left_goes_once_it_is_old(
    objects: Objects, tmp_path: Path
) -> None:
    more, seen = asyncio.Event(), asyncio.Event()

    async def stream() -> AsyncIterator[bytes]:
        yield b"x" * 6_000_000
        seen.set()
        await more.wait()

    await objects.put("texts/t/whole", b"whole")
    writing = asyncio.create_task(objects.put("texts/t/part", stream()))
    await seen.wait()
    folder = tmp_path / "made" / "by" / "us" / "texts" / "t"
    await eventually(lambda: len(list(folder.iterdir())) == 2)
    (part,) = (each for each in folder.iterdir() if each.name != "whole")
    # As it would stay behind a process that is gone.
    content = await asyncio.to_thread(part.read_bytes)
    more.set()
    await writing
    await objects.delete("texts/t/part")
    await asyncio.to_thread(part.write_bytes, content)
    written_ms = int(part.stat().st_mtime * 1000)

    assert await objects.drop_parts("texts", written_before_ms=written_ms - 1000) == 0
    assert await objects.drop_parts("texts", written_before_ms=written_ms + 1000) == 1

    assert [each.name for each in folder.iterdir()] == ["whole"]


@pytest.mark.parametrize("size", [0, 1, 2**20 - 1, 2**20, 2**20 + 1, 6 * 2**20])
async def test_a_stream_is_whole_whether_it_is_written_at_once_or_in_parts(
    objects: Objects, size: int
) -> None:
    data = bytes(range(256)) * (size // 256 + 1)

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, size, 100_000):
            yield data[start : min(start + 100_000, size)]

    reference = await objects.put("files/t/a", pieces())

    assert reference.size == size
    assert await read(objects, reference) == data[:size]


async def test_a_failing_stream_leaves_no_object(objects: Objects) -> None:
    async def stream() -> AsyncIterator[bytes]:
        yield b"x" * 6_000_000
        raise ValueError("broken off")

    with pytest.raises(ValueError, match="broken off"):
        await objects.put("texts/t/broken", stream())

    with pytest.raises(DocumentFailure) as failure:
        await read(objects, ObjectReference("texts/t/broken"))
    assert failure.value.code == "object_not_found"


async def test_an_object_that_changed_is_refused(objects: Objects) -> None:
    reference = await objects.put("uploads/t/a", b"one")
    await objects.put("uploads/t/a", b"two")

    with pytest.raises(DocumentFailure) as failure:
        await read(objects, reference)
    assert failure.value.code == "object_changed"


async def test_get_stops_at_its_limit(objects: Objects) -> None:
    reference = await objects.put("uploads/t/a", b"x" * 100)

    with pytest.raises(DocumentFailure) as failure:
        await objects.get(reference, 99)
    assert failure.value.code == "object_too_large"


async def test_deleting_twice_is_no_error(objects: Objects) -> None:
    await objects.put("uploads/t/a", b"x")

    await objects.delete("uploads/t/a")
    await objects.delete("uploads/t/a")

    with pytest.raises(DocumentFailure):
        await objects.get(ObjectReference("uploads/t/a"), 10)


@pytest.mark.parametrize(
    "key",
    ["", "/abs", "a//b", "a/../b", "..", "./a", "a\\b", "a\0b", "a\nb", "x" * 1025],
)
async def test_keys_that_could_mean_another_place_are_refused(
    objects: Objects, key: str
) -> None:
    for use in (objects.put(key, b"x"), objects.get(ObjectReference(key), 10)):
        with pytest.raises(DocumentFailure) as failure:
            await use
        assert failure.value.code == "invalid_reference"


@pytest.mark.parametrize(
    ("uri", "code"),
    [
        ("uploads/mine/x", None),
        ("s3://bucket/public/x", None),
        ("uploads/other/x", "object_forbidden"),
        ("mine/x", "object_forbidden"),
        ("s3://bucket/publicity/x", "object_forbidden"),
        ("s3://bucket/private/x", "object_forbidden"),
        ("gs://bucket/public/x", "object_forbidden"),
        ("s3://other/public/x", "object_forbidden"),
        ("s3://bucket/public/../private/x", "invalid_reference"),
        ("s3://key:secret@bucket/public/x", "invalid_reference"),
        ("s3:///public/x", "invalid_reference"),
        ("file:///etc/passwd", "invalid_reference"),
    ],
)
def test_an_event_may_name_its_tenants_and_allow_listed_objects_only(
    objects: Objects, uri: str, code: str | None
) -> None:
    found = None
    try:
        objects.authorise(ObjectReference(uri), tenant="mine")
    except DocumentFailure as failure:
        found = failure.code

    assert code == found


def test_tenants_never_share_a_segment_or_leave_it() -> None:
    assert tenant_segment("acme-1") == "acme-1"
    assert tenant_segment("..").startswith("~")
    assert tenant_segment("a/b") != tenant_segment("a%2Fb")
    assert text_key("acme", b"\1").startswith("texts/acme/01")


async def test_a_store_that_refuses_is_a_shared_failure(tmp_path: Path) -> None:
    objects = Objects(f"file://{tmp_path}/store")
    (tmp_path / "store" / "texts").write_text("a file where a directory belongs")

    with pytest.raises(SharedFailure) as failure:
        await objects.put("texts/t/a", b"x")
    assert failure.value.reason == "object_store_unavailable"


async def read_from_s3(
    monkeypatch: pytest.MonkeyPatch, *, status: int, url: str, uri: str
) -> Exception:
    """Read from an S3 that gives this answer only; what came of it."""

    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=status)

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    async with TestServer(app) as server:
        for name, value in {
            "AWS_ENDPOINT": str(server.make_url("")).rstrip("/"),
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "id",
            "AWS_SECRET_ACCESS_KEY": "key",
        }.items():
            monkeypatch.setenv(name, value)
        objects = Objects(url, roots=["s3://bucket/public"], allow_http=True)
        with pytest.raises((DocumentFailure, SharedFailure)) as raised:
            await read(objects, ObjectReference(uri))
    return raised.value


@pytest.mark.parametrize("status", [400, 401, 403, 405])
async def test_an_external_object_that_is_refused_is_its_documents_failure(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, status: int
) -> None:
    failure = await read_from_s3(
        monkeypatch,
        status=status,
        url=f"file://{tmp_path}",
        uri="s3://bucket/public/x",
    )

    assert isinstance(failure, DocumentFailure)
    assert (failure.code, failure.retryable) == ("object_forbidden", True)
    assert "s3://bucket/public/x" in failure.message
    assert failure.advice


@pytest.mark.parametrize("status", [408, 429, 501])
async def test_an_external_store_that_cannot_answer_now_is_a_shared_failure(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, status: int
) -> None:
    failure = await read_from_s3(
        monkeypatch,
        status=status,
        url=f"file://{tmp_path}",
        uri="s3://bucket/public/x",
    )

    assert isinstance(failure, SharedFailure)
    assert failure.reason == "object_store_unavailable"


@pytest.mark.parametrize("status", [400, 401, 403])
async def test_our_own_store_that_refuses_a_read_is_a_shared_failure(
    monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    failure = await read_from_s3(
        monkeypatch, status=status, url="s3://own", uri="texts/t/a"
    )

    assert isinstance(failure, SharedFailure)


@pytest.mark.parametrize("url", ["", "/var/lib", "ftp://host/x", "http://host/x"])
def test_a_url_of_another_kind_is_a_configuration_error(url: str) -> None:
    with pytest.raises(ConfigurationError, match="HEADRACE_OBJECT_STORE_URL"):
        Objects(url)


def test_a_root_of_another_kind_is_a_configuration_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="HEADRACE_OBJECT_ROOTS"):
        Objects(f"file://{tmp_path}", roots=["/etc"])


@pytest.mark.parametrize("key", ["letters/loader/x", "retired-letters/loader/x"])
def test_letters_belong_to_no_tenant_whatever_it_is_called(
    objects: Objects, key: str
) -> None:
    with pytest.raises(DocumentFailure) as failure:
        objects.authorise(ObjectReference(key), tenant="loader")
    assert failure.value.code == "object_forbidden"


async def test_a_retired_object_is_found_until_it_is_deleted(objects: Objects) -> None:
    reference = await objects.put("texts/t/a", b"hello")
    await objects.retire("texts/t/a")
    assert await read(objects, reference) == b"hello"
    assert [each.retired for each in await objects.listed("texts")] == [True]

    await objects.put("texts/t/a", b"hello")
    await objects.delete_retired("texts/t/a")
    assert await read(objects, reference) == b"hello"
    await objects.delete("texts/t/a")
    with pytest.raises(DocumentFailure):
        await read(objects, reference)
