"""Parser children: what they cannot do, and what becomes of those that die."""

import asyncio
import errno
import os
import signal
import socket
import textwrap
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio
from headrace_loader.extractors.source import Limits
from headrace_loader.sandbox import pool as pools
from headrace_loader.sandbox.frames import Request
from headrace_loader.sandbox.pool import ParserLimits, ParserPool
from headrace_loader.workspace import Workspace

from headrace.errors import DocumentFailure, SharedFailure
from headrace.messages import TextPart
from tests.unit.headrace_loader import documents

LIMITS = ParserLimits(
    memory_bytes=1024 * 1024 * 1024,
    cpu_s=20,
    wall_s=60,
    text_bytes=50_000_000,
    documents=100,
    extraction=Limits(),
)


class Parsing:
    """A pool, and what it found."""

    def __init__(self, workspace: Workspace, limits: ParserLimits) -> None:
        self.workspace = workspace
        self.pool = ParserPool(workspace, size=2, limits=limits)
        self.parts: list[TextPart] = []

    async def parse(
        self, data: bytes, name: str = "", *, cautious: bool = False
    ) -> str:
        path = self.workspace.file()
        path.write_bytes(data)
        parts: list[TextPart] = []

        async def sink(part: TextPart, _: bytes) -> None:
            parts.append(part)

        await self.pool.parse(path, Request(name=name, cautious=cautious), sink)
        return "".join(part.text for part in parts)

    async def failure(self, data: bytes, name: str = "") -> DocumentFailure:
        with pytest.raises(DocumentFailure) as raised:
            await self.parse(data, name)
        return raised.value

    @property
    def files(self) -> list[Path]:
        return [
            path
            for path in self.workspace.path.rglob("*")
            if path.is_file() and path.name not in {"lock", "errors"}
        ]


@pytest_asyncio.fixture
async def parsing(tmp_path: Path) -> AsyncIterator[Parsing]:
    found = Parsing(Workspace(tmp_path), LIMITS)
    yield found
    await found.pool.close()


@pytest_asyncio.fixture
async def small(tmp_path: Path) -> AsyncIterator[Parsing]:
    limits = replace(LIMITS, memory_bytes=300_000_000, cpu_s=2, text_bytes=1_000_000)
    found = Parsing(Workspace(tmp_path), limits)
    yield found
    await found.pool.close()


def hostile(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, code: str) -> None:
    """Children run this for a document that contains it, after they are confined."""
    # A directory on the child's path is what its interpreter is told beside -I.
    module = tmp_path / "hostile_child.py"
    module.write_text(
        "import headrace_loader.extractors.plain as plain\n"
        "from headrace_loader.pieces import Piece\n"
        "from headrace_loader.sandbox import child\n"
        "def extract(source, kind):\n"
        + textwrap.indent(textwrap.dedent(code), "    ")
        + "\n    yield Piece('survived')\n"
        "plain.extract = extract\n"
        "child.main()\n"
    )
    start = asyncio.create_subprocess_exec

    async def exec_with(program: str, *arguments: str, **options: object) -> object:
        changed = [*arguments]
        position = changed.index("-m")
        changed[position : position + 2] = [str(module)]
        return await start(program, *changed, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(pools.asyncio, "create_subprocess_exec", exec_with)


async def test_a_document_is_parsed_and_nothing_is_left_behind(
    parsing: Parsing,
) -> None:
    assert "rose by two metres" in await parsing.parse(documents.docx_file())
    assert "Hello" in await parsing.parse(documents.pdf_file(["Hello"]), cautious=True)
    assert parsing.files == []
    assert {"limits"} < set(parsing.pool.held)


async def test_children_are_used_again_and_replaced_when_worn(tmp_path: Path) -> None:
    parsing = Parsing(Workspace(tmp_path), replace(LIMITS, documents=2))
    pids = []
    for _ in range(3):
        await parsing.parse(b"a,b\n1,2\n", "x.csv")
        pids.append({child._process.pid for child in parsing.pool._all})
    await parsing.pool.close()

    assert len(pids[0]) == 1
    assert pids[1] == set()
    assert pids[2] not in (pids[0], set())


async def test_a_failure_that_the_extractor_reports_keeps_the_child(
    parsing: Parsing,
) -> None:
    found = await parsing.failure(b"\x89PNG\r\n\x1a\n\0\0\0")
    assert found.code == "unsupported_type"
    assert len(parsing.pool._idle) == 1


async def test_a_part_is_asked_for_only_when_the_last_one_is_taken(
    parsing: Parsing,
) -> None:
    path = parsing.workspace.file()
    path.write_bytes("wörter, viele\n".encode() * 800_000)
    release = asyncio.Event()
    taken = 0

    async def sink(_: TextPart, __: bytes) -> None:
        nonlocal taken
        taken += 1
        await release.wait()

    task = asyncio.create_task(parsing.pool.parse(path, Request(), sink))
    (child,) = await _until(lambda: list(parsing.pool._all))
    await _until(lambda: taken)
    buffered = await _settled(lambda: len(child._answers._buffer))
    assert taken == 1
    assert buffered < 4_000_000
    release.set()
    await task
    assert taken > 40


async def test_cancelling_kills_the_child_and_the_next_document_is_parsed(
    parsing: Parsing,
) -> None:
    path = parsing.workspace.file()
    path.write_bytes(b"x,y\n" * 1_000_000)
    started = asyncio.Event()

    async def sink(_: TextPart, __: bytes) -> None:
        started.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(parsing.pool.parse(path, Request("x.csv"), sink))
    await started.wait()
    (child,) = parsing.pool._all
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert await child._process.wait() == -signal.SIGKILL
    assert parsing.files == []
    assert await parsing.parse(b"a,b\n1,2\n", "x.csv")


async def test_memory_beyond_the_limit_is_the_documents_fault(small: Parsing) -> None:
    page = b"<html><body>" + b"<p>x</p>" * 3_000_000

    found = await small.failure(page)

    assert (found.code, found.retryable) == ("resource_limit", False)
    assert await small.parse(b"a,b\n1,2\n", "x.csv")


async def test_cpu_time_beyond_the_limit_is_the_documents_fault(small: Parsing) -> None:
    found = await small.failure(b"<html><body>" + b"<div>" * 1_000_000 + b"deep")

    assert found.code == "resource_limit"
    assert await small.parse(b"a,b\n1,2\n", "x.csv")


async def test_a_text_beyond_the_limit_is_the_documents_fault(small: Parsing) -> None:
    found = await small.failure(b"a,b\n" * 400_000, "x.csv")

    assert found.code == "resource_limit"
    assert "HEADRACE_MAX_TEXT_BYTES" in found.advice


async def test_a_child_that_hangs_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hostile(monkeypatch, tmp_path, "import time; time.sleep(1000)")
    parsing = Parsing(Workspace(tmp_path / "w"), replace(LIMITS, wall_s=1.5))

    found = await parsing.failure(b"text")
    await parsing.pool.close()

    assert found.code == "parser_timeout"


async def test_a_crash_is_the_documents_fault_and_the_worker_lives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hostile(monkeypatch, tmp_path, "import ctypes; ctypes.string_at(1)")
    parsing = Parsing(Workspace(tmp_path / "w"), LIMITS)

    found = await parsing.failure(b"text")
    assert (found.code, found.retryable) == ("parser_crashed", True)
    assert "a | b" in await parsing.parse(b"a,b\n1,2\n", "x.csv")
    await parsing.pool.close()


@pytest.mark.parametrize(
    "garbage",
    ["b'P' + b'\\xff' * 4", "b'Z\\0\\0\\0\\1x'", "b'P\\3\\0\\0\\0\\xff\\xff\\xff'"],
)
async def test_a_child_that_answers_garbage_is_not_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, garbage: str
) -> None:
    hostile(monkeypatch, tmp_path, f"import os; os.write(1, {garbage}); os._exit(0)")
    parsing = Parsing(Workspace(tmp_path / "w"), LIMITS)

    with pytest.raises(DocumentFailure):
        await parsing.parse(b"text")
    assert parsing.pool._idle == []
    await parsing.pool.close()


async def test_a_child_has_no_network_no_files_no_environment_and_no_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    canary = tmp_path / "canary"
    canary.write_text("secret")
    monkeypatch.setenv("CANARY", "secret")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.05)
        port = listener.getsockname()[1]
        hostile(
            monkeypatch,
            tmp_path,
            f"""
            import os, signal, socket, subprocess
            def attempt(name, action):
                try:
                    return f"{{name}}: {{action()}}\\n"
                except OSError as error:
                    return f"{{name}}: refused\\n"
            yield Piece(attempt("read", lambda: open({str(canary)!r}).read()))
            yield Piece(attempt("passwd", lambda: open("/etc/passwd").read()))
            yield Piece(attempt("write", lambda: open({str(tmp_path / "out")!r}, "w")))
            yield Piece(attempt("connect", lambda: socket.create_connection(
                ("127.0.0.1", {port}), 1)))
            yield Piece(attempt("fork", lambda: os.fork()))
            yield Piece(attempt("run", lambda: subprocess.run(["/bin/true"])))
            yield Piece(attempt("kill", lambda: os.kill(os.getppid(), 0)))
            held = sorted(os.environ.get(n) or "" for n in ("CANARY", "PATH", "HOME"))
            yield Piece(f"environment: {{held}}\\n")
            yield Piece(f"descriptors: {{_open()}}\\n")
            """,
        )
        module = tmp_path / "hostile_child.py"
        module.write_text(
            "import os\n"
            "def _open():\n"
            "    found = []\n"
            "    for number in range(64):\n"
            "        try:\n"
            "            os.fstat(number)\n"
            "        except OSError:\n"
            "            continue\n"
            "        found.append(number)\n"
            "    return len(found)\n" + module.read_text()
        )
        parsing = Parsing(Workspace(tmp_path / "w"), LIMITS)
        said = dict(
            line.split(": ", 1)
            for line in (await parsing.parse(b"text")).splitlines()
            if ": " in line
        )
        await parsing.pool.close()
        with pytest.raises(TimeoutError):
            listener.accept()

    assert "seccomp" in parsing.pool.held
    assert {said[name] for name in ("connect", "fork", "run", "kill", "write")} == {
        "refused"
    }
    if "landlock" in parsing.pool.held:
        assert (said["read"], said["passwd"]) == ("refused", "refused")
    assert said["environment"] == "['', '', '']"
    # Standard ones, the document, and how much memory is in use.
    assert int(said["descriptors"]) <= 6


async def test_children_that_do_not_start_are_nobodys_document(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pools.sys, "executable", "/bin/false")
    parsing = Parsing(Workspace(tmp_path), LIMITS)

    with pytest.raises(SharedFailure) as raised:
        await parsing.parse(b"text")
    assert raised.value.reason == "parser_unavailable"


async def test_a_killed_child_is_a_resource_limit(parsing: Parsing) -> None:
    path = parsing.workspace.file()
    path.write_bytes(b"x,y\n" * 1_000_000)

    async def sink(_: TextPart, __: bytes) -> None:
        # As the kernel does where memory runs out.
        for child in parsing.pool._all:
            if child._process.returncode is None:
                os.kill(child._process.pid, signal.SIGKILL)
        await asyncio.sleep(0)

    with pytest.raises(DocumentFailure) as raised:
        await parsing.pool.parse(path, Request("x.csv"), sink)
    assert raised.value.code == "resource_limit"


async def _until(condition: object) -> object:
    # A process has no event to wait for.
    while not (found := condition()):  # type: ignore[operator]  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    return found


async def _settled(measure: object) -> int:
    last = -1
    while last != (now := measure()):  # type: ignore[operator]
        last = now
        await asyncio.sleep(0.1)
    return now


async def test_a_child_that_cannot_be_started_leaves_no_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parsing = Parsing(Workspace(tmp_path), LIMITS)

    async def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(asyncio, "create_subprocess_exec", refuse)
    for _ in range(3):
        with pytest.raises(OSError, match="Too many open files"):
            await parsing.parse(b"<p>x</p>")

    left = [path.name for path in parsing.workspace.path.iterdir()]
    assert not [name for name in left if name.startswith("directory-")]
    await parsing.pool.close()
