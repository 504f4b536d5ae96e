"""A few parser children, started when needed, used again, replaced when worn out.

The parent never holds more of a document than one part: it reads a part, hands it on,
and only then reads the next, so that a slow taker stops the child.
"""

from __future__ import annotations

import asyncio
import json
import resource
import signal
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import structlog

from headrace.errors import DocumentFailure, SharedFailure
from headrace.messages import TextPart
from headrace.wire import TextPartReader
from headrace_loader.extractors.source import Limits
from headrace_loader.sandbox import frames
from headrace_loader.workspace import Workspace

Sink = Callable[[TextPart, bytes], Awaitable[None]]
"""Takes each part, decoded and as it goes into an object."""

_START_S = 30
"""For a child to import what it needs, on a busy machine."""
_ERRORS = "errors"
_STOPPED = {signal.SIGKILL, signal.SIGXCPU, signal.SIGXFSZ}

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ParserLimits:
    """What one document may cost a child."""

    memory_bytes: int
    cpu_s: int
    wall_s: float
    text_bytes: int
    documents: int
    """After so many a child is replaced."""
    extraction: Limits


class ParserPool:
    """Parses documents in children; at most ``size`` at a time, the others wait."""

    def __init__(
        self, workspace: Workspace, *, size: int, limits: ParserLimits
    ) -> None:
        self._workspace = workspace
        self._limits = limits
        self._slots = asyncio.Semaphore(size)
        self._idle: list[_Child] = []
        self._all: set[_Child] = set()
        self._ending: set[asyncio.Task[None]] = set()
        self.held: tuple[str, ...] = ()
        """What confines the children, once one has started."""

    async def parse(
        self, path: Path, request: frames.Request, sink: Sink
    ) -> frames.Outcome:
        """Parse a file of the workspace, which is moved away from ``path``.

        Cancelling kills the child. What the sink raises is raised.

        Raises:
            DocumentFailure: ``resource_limit``, ``parser_timeout``,
                ``parser_crashed`` or what the extractor found.
            SharedFailure: ``parser_unavailable``: children do not start at all.
        """
        async with self._slots:
            child = self._idle.pop() if self._idle else await self._start()
            reusable = False
            try:
                path.rename(child.input)  # noqa: ASYNC240  one directory entry
                async with asyncio.timeout(self._limits.wall_s):
                    answer = await child.parse(request, sink)
                child.input.unlink(missing_ok=True)
                reusable = not child.worn(answer)
            except TimeoutError as error:
                raise DocumentFailure(
                    "parser_timeout",
                    f"reading the document took over {self._limits.wall_s:g} s",
                    advice="split the document, or raise HEADRACE_PARSER_WALL_S",
                    retryable=True,
                ) from error
            finally:
                if reusable:
                    self._idle.append(child)
                else:
                    self._end(child)
        if "code" in answer:
            raise frames.failure_from(answer)
        return frames.Outcome(str(answer["parser"]), str(answer["media_type"]))

    async def close(self) -> None:
        """Kill every child and wait for its end."""
        self._idle.clear()
        for child in list(self._all):
            self._end(child)
        if self._ending:
            await asyncio.wait(self._ending)

    def _end(self, child: _Child) -> None:
        """Kill a child at once; what is left of it goes in the background."""
        self._all.discard(child)
        child.kill()
        task = asyncio.get_running_loop().create_task(child.ended())
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def _start(self) -> _Child:
        directory = self._workspace.directory()
        try:
            process = await self._spawn(directory)
        except BaseException:
            self._workspace.remove(directory)
            raise
        child = _Child(process, directory, self._limits, remove=self._workspace.remove)
        try:
            async with asyncio.timeout(_START_S):
                held = await child.hello()
        except (TimeoutError, EOFError, ValueError) as error:
            self._end(child)
            errors = child.errors.read_text(errors="replace")
            said = errors.strip().splitlines()[-1:]
            raise SharedFailure(
                "parser_unavailable",
                f"a parser child does not start: {''.join(said)[:300] or 'no answer'}",
            ) from error
        except BaseException:
            self._end(child)
            raise
        if not self.held:
            self.held = tuple(held)
            _log.info("parser children are confined", by=held)
        self._all.add(child)
        return child

    async def _spawn(self, directory: Path) -> asyncio.subprocess.Process:
        options = {
            "directory": str(directory),
            "memory_bytes": self._limits.memory_bytes,
            "limits": asdict(self._limits.extraction),
        }
        with (directory / _ERRORS).open("wb") as stderr:
            return await asyncio.create_subprocess_exec(
                sys.executable,
                "-I",
                "-X",
                "utf8",
                "-m",
                "headrace_loader.sandbox.child",
                json.dumps(options),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=stderr,
                env={},
                close_fds=True,
                start_new_session=True,
                limit=frames.MAX_FRAME // 4,
            )


class _Child:
    def __init__(
        self,
        process: asyncio.subprocess.Process,
        directory: Path,
        limits: ParserLimits,
        *,
        remove: Callable[[Path], None],
    ) -> None:
        self.input = directory / "input"
        self.errors = directory / _ERRORS
        self._remove = remove
        if process.stdin is None or process.stdout is None:
            raise ValueError("a child needs pipes")
        self._process = process
        self._requests = process.stdin
        self._answers = process.stdout
        self._directory = directory
        self._limits = limits
        self._documents = 0
        self._cpu_s = 0.0
        self._text_bytes = 0

    async def hello(self) -> list[str]:
        kind, payload = await self._frame()
        if kind != frames.HELLO:
            raise EOFError("no hello")
        return [str(name) for name in json.loads(payload)["held"]]

    async def parse(self, request: frames.Request, sink: Sink) -> dict[str, Any]:
        """Send the request, hand on the parts; what the child says at the end."""
        self._documents += 1
        self._text_bytes = 0
        self._allow_cpu()
        reader = TextPartReader()
        try:
            self._requests.write(request.line())
            await self._requests.drain()
            while True:
                kind, payload = await self._frame()
                if kind != frames.PART:
                    return dict(json.loads(payload))
                for part in reader.feed(payload):
                    self._count(part)
                    await sink(part, payload)
                # Where all is buffered already, nothing here would wait by itself.
                await asyncio.sleep(0)
        except (EOFError, ConnectionError) as error:
            raise await self._why() from error
        except ValueError as error:
            raise _crashed("wrote something else than parts") from error

    def worn(self, answer: dict[str, Any]) -> bool:
        """Whether this child should not read another document."""
        self._cpu_s = float(answer.get("cpu_s", 0))
        return (
            bool(answer.get("last"))
            or self._documents >= self._limits.documents
            or float(answer.get("resident_bytes", 0)) * 2 > self._limits.memory_bytes
        )

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            self._process.kill()
        self._remove(self.input)

    async def ended(self) -> None:
        """Wait for the end, and let go of pipes and directory."""
        # What it wrote last must be read, or its pipe would stay open.
        with suppress(ConnectionError):
            await self._process.communicate()
        self._remove(self._directory)

    async def _frame(self) -> tuple[bytes, bytes]:
        kind, length = frames.HEADER.unpack(
            await self._answers.readexactly(frames.HEADER.size)
        )
        if length > frames.MAX_FRAME:
            raise ValueError(f"a frame of {length:,} bytes")
        return bytes(kind), await self._answers.readexactly(length)

    def _count(self, part: TextPart) -> None:
        self._text_bytes += len(part.text.encode())
        if self._text_bytes > self._limits.text_bytes:
            raise DocumentFailure(
                "resource_limit",
                f"the document's text is over {self._limits.text_bytes:,} bytes",
                advice="split the document, or raise HEADRACE_MAX_TEXT_BYTES",
            )

    def _allow_cpu(self) -> None:
        """CPU time counts over the child's life; move its limit on."""
        seconds = int(self._cpu_s) + self._limits.cpu_s
        with suppress(ProcessLookupError, PermissionError):
            resource.prlimit(
                self._process.pid, resource.RLIMIT_CPU, (seconds, seconds + 5)
            )

    async def _why(self) -> DocumentFailure:
        """What the child died of."""
        status = await self._process.wait()
        if status in {-stopped for stopped in _STOPPED}:
            by_cpu = status == -signal.SIGXCPU
            what = f"over {self._limits.cpu_s} s of CPU time" if by_cpu else "too much"
            return DocumentFailure(
                "resource_limit",
                f"reading the document took {what}, and its parser was stopped",
                advice="split the document, or raise HEADRACE_PARSER_CPU_S and "
                "HEADRACE_PARSER_MEMORY_BYTES",
            )
        return _crashed(f"ended with status {status}")


def _crashed(how: str) -> DocumentFailure:
    return DocumentFailure(
        "parser_crashed",
        f"the parser {how} while it read the document",
        advice="open the document in the program that made it and save it again",
        retryable=True,
    )
