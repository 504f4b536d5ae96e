"""Rows 31 and 39: a work directory that fails, and files made to do harm."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from headrace.messages import DocumentEvent, Stage
from headrace.wire import encode_event
from tests.faults.harness import Harness, text_of
from tests.faults.machines import StageMachine
from tests.faults.reporting import Row
from tests.faults.small_disks import (
    fill,
    make_read_only,
    mounted,
    remount,
    use_up_inodes,
)
from tests.faults.sources import visible
from tests.support.eventually import eventually
from tests.unit.headrace_loader import documents
from tests.unit.headrace_loader.test_hostile import HOSTILE

MIB = 1024 * 1024
FLAT_BYTES = 96 * MIB
"""By how much the loader's own process may grow: its parsers are others."""


# -- row 31 -----------------------------------------------------------------------


@pytest.mark.parametrize("harm", [fill, use_up_inodes, make_read_only])
@pytest.mark.row("31", level=2, injected="the work directory cannot be written")
async def test_row_31_work_directory(
    harness: Harness, row: Row, harm: Callable[[Path], Callable[[], None]]
) -> None:
    work = harness.stack.directory / "small" / harm.__name__
    loader = harness.stage("loader")
    async with mounted(work, "size=16m,nr_inodes=60"):
        env = {"HEADRACE_WORK_DIR": str(work), "HEADRACE_STUCK_AFTER_S": "2"}
        await loader.restart(env=env)
        heal = harm(work)
        # A large text is spooled to a file, a Word document is parsed from one.
        large = "\n\n".join(text_of(f"large {n}", 1, 90) for n in range(300))
        await harness.upsert("large", large)
        event = DocumentEvent(harness.key("word"), inline=documents.docx_file())
        await harness.send_raw(encode_event(event), key=event.key.record_key)
        await eventually(lambda: waits(loader))
        reason = await loader.not_ready()
        pid = loader.pid

        heal()
        healed = time.monotonic()
        settled_at = await harness.drained()

        assert loader.pid == pid
        assert await harness.points("word")
        harness.ledger.expect("word", await text_in(harness, "word"))
        settled = await harness.settled()
        assert await loader.not_ready() is None
        # Nothing is left of the tries that failed.
        left = {each.name for each in work.glob("process-*/*")}
        assert not [name for name in left if name.startswith("file-")]
        # Of parsers only the one that waits for its next document.
        assert len([name for name in left if name.startswith("directory-")]) <= 1
        await loader.terminate()
    row.result(
        lost=settled.lost,
        duplicates=settled.duplicates,
        recovery_s=settled_at - healed,
        note=f"{harm.__name__.replace('_', ' ')}: {reason}",
        details=settled.details,
    )


async def waits(loader: StageMachine) -> bool:
    reason = await loader.not_ready() or ""
    return "work_dir_unavailable" in reason


async def text_in(harness: Harness, document: str) -> str:
    points = await harness.points(document)
    numbered = sorted((each.payload["number"], each.payload["text"]) for each in points)
    return "".join(text for _, text in numbered)


@pytest.mark.row("31", level=2, injected="a work directory that is read-only at start")
async def test_row_31_read_only_from_the_start(harness: Harness, row: Row) -> None:
    work = harness.stack.directory / "small" / "from-the-start"
    loader = harness.stage("loader")
    async with mounted(work, "size=16m,ro"):
        await loader.restart(env={"HEADRACE_WORK_DIR": str(work)}, wait=False)
        await eventually(lambda: waits(loader))
        await harness.load(5)
        remount(work, "rw")
        healed = time.monotonic()
        await loader.wait_ready()
        settled = await harness.settled()
        await loader.terminate()
    row.result(
        lost=settled.lost,
        duplicates=settled.duplicates,
        recovery_s=settled.at - healed,
        details=settled.details,
    )


@pytest.mark.row("31", level=2, injected="the object store's disk is full")
async def test_row_31_object_store(harness: Harness, row: Row) -> None:
    objects = harness.stack.directory / "objects"
    before = harness.pids()
    large = "\n\n".join(text_of(f"large {n}", 1, 90) for n in range(600))
    # What other rows have there lies below it until the end.
    async with mounted(objects, "size=8m"):
        make_room = await asyncio.to_thread(fill, objects)
        await harness.upsert("large", large)
        await harness.load(5)
        loader = harness.stage("loader")
        await eventually(lambda: "object_store_unavailable" in loader.log)
        assert await harness.letters() == []
        assert not written(objects)
        make_room()
        healed = time.monotonic()
        settled = await harness.settled()
        # One object, and nothing of the tries that failed.
        assert len(written(objects)) == 1
    assert harness.pids() == before
    row.result(
        lost=settled.lost,
        duplicates=settled.duplicates,
        recovery_s=settled.at - healed,
        details=settled.details,
    )


def written(objects: Path) -> list[Path]:
    """Files that hold something."""
    return [
        path
        for path in objects.rglob("*")
        if path.is_file() and path.name != "ballast" and path.stat().st_size
    ]


@pytest.mark.row("31", level=2, injected="a root file system that is read-only")
async def test_row_31_read_only_root(harness: Harness, row: Row) -> None:
    """All stages, which may write to nothing but the suite's own directory."""
    env = {"HEADRACE_READ_ONLY_BUT": str(harness.stack.directory)}
    for stage in Stage:
        await harness.stage(stage).restart(env=env, wait=False)
    for stage in Stage:
        await harness.stage(stage).wait_ready()
        assert not can_write(harness.stage(stage).pid, Path("/tmp"))
    await harness.load(10)
    large = "\n\n".join(text_of(f"large {n}", 1, 90) for n in range(300))
    await harness.upsert("large", large)
    event = DocumentEvent(harness.key("word"), inline=documents.docx_file())
    await harness.send_raw(encode_event(event), key=event.key.record_key)
    await harness.drained()
    assert await harness.points("word")
    harness.ledger.expect("word", await text_in(harness, "word"))
    settled = await harness.settled()
    row.result(
        lost=settled.lost, duplicates=settled.duplicates, details=settled.details
    )


def can_write(pid: int, path: Path) -> bool:
    """Whether a process could write there, as far as its mounts say."""
    mounts = [
        line.split() for line in Path(f"/proc/{pid}/mountinfo").read_text().splitlines()
    ]
    above = [each for each in mounts if path.is_relative_to(each[4])]
    return "rw" in max(above, key=lambda each: len(each[4]))[5].split(",")


# -- row 39 -----------------------------------------------------------------------


def pdf_of_pages(count: int) -> bytes:
    """A million pages would be larger than what is fetched; this many are not."""
    kids = " ".join(f"{number} 0 R" for number in range(3, count + 3))
    objects = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {count} >>",
        *["<< /Type /Page /Parent 2 0 R /MediaBox [0 0 14400 14400] >>"] * count,
    ]
    body = "".join(
        f"{number} 0 obj\n{each}\nendobj\n" for number, each in enumerate(objects, 1)
    )
    return f"%PDF-1.7\n{body}trailer\n<< /Root 1 0 R >>\n".encode()


FILES: dict[str, Callable[[], bytes]] = {
    **{
        name: HOSTILE[name]
        for name in (
            "pdf whose page tree is a ring",
            "pdf that claims a billion pages",
            "pdf whose stream is a bomb",
            "zip in zip in zip",
            "zip whose entries overlap",
            "zip that lies about its sizes",
            "docx of one endless text",
            "docx nested a million deep",
            "docx that laughs",
            "html nested a million deep",
            "json nested a million deep",
            "mail nested five thousand deep",
        )
    },
    "docx of 400 MB of blanks": lambda: documents.zip_file(
        {"word/document.xml": b" " * (400 * MIB)}
    ),
    "pdf of fifty thousand huge pages": lambda: pdf_of_pages(50_000),
    "png bomb": lambda: (
        b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x7f\xff\xff\xff\x7f\xff\xff\xff\x08\x06"
    ),
}


@pytest.mark.row("39", level=2, injected=f"{len(FILES)} files made to do harm")
async def test_row_39_hostile_files(harness: Harness, row: Row) -> None:
    folder = harness.stack.directory / "hostile"
    folder.mkdir()
    loader = harness.stage("loader")
    await loader.restart(
        env={
            "HEADRACE_FILE_ROOTS": f'["{folder}"]',
            "HEADRACE_PARSER_MEMORY_BYTES": str(512 * MIB),
            "HEADRACE_PARSER_CPU_S": "4",
            "HEADRACE_MAX_UNPACKED_BYTES": str(64 * MIB),
            "HEADRACE_MAX_TEXT_BYTES": str(MIB),
        }
    )
    await harness.upsert("before", text_of("before"))
    await harness.drained()
    pid, usual = loader.pid, loader.memory
    peak = usual
    slowest = 0.0
    for number, (name, make) in enumerate(FILES.items()):
        path = folder / str(number)
        path.write_bytes(await asyncio.to_thread(make))
        await harness.upsert(name, "", uri=path.as_uri(), fails=True)
        sent = time.monotonic()
        await harness.upsert(f"after/{number}", text_of(f"after/{number}"))
        while not await visible(harness, f"after/{number}"):
            peak = max(peak, loader.memory)
            await asyncio.sleep(0.05)
        slowest = max(slowest, time.monotonic() - sent)
        await harness.drained()
        peak = max(peak, loader.memory)
    assert loader.pid == pid
    assert peak - usual < FLAT_BYTES
    letters = {each.document: each.letter.error for each in await harness.letters()}
    assert all(error.code and error.message for error in letters.values())
    for name in FILES:
        # A letter with a reason, or a text after all.
        if name not in letters:
            harness.ledger.expect(name, await text_in(harness, name))
            assert await harness.points(name), name
    settled = await harness.settled(letters=None)
    assert not children_left(pid)
    codes = ", ".join(sorted({error.code for error in letters.values()}))
    row.result(
        lost=settled.lost,
        duplicates=settled.duplicates,
        note=f"{len(letters)} letters: {codes}; the loader grew by "
        f"{(peak - usual) // MIB} MiB, the next document was through in "
        f"{slowest:.1f} s",
        details=settled.details,
    )


def children_left(pid: int) -> list[psutil.Process]:
    """Parsers that still burn CPU or memory; idle ones wait for the next document."""
    return [
        child
        for child in psutil.Process(pid).children(recursive=True)
        if child.memory_info().rss > 400 * MIB
    ]
