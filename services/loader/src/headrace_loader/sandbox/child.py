"""A parser child: confines itself, then reads documents until its input ends.

Run as ``python -I -m headrace_loader.sandbox.child``; see ``frames`` for the protocol.
"""

from __future__ import annotations

import gc
import json
import mimetypes
import os
import resource
import sys
from pathlib import Path
from typing import Any, BinaryIO

from headrace.errors import DocumentFailure
from headrace.wire import encode_text_part
from headrace_loader.extractors.dispatch import identify, read
from headrace_loader.extractors.source import Limits, Source
from headrace_loader.pieces import text_parts
from headrace_loader.sandbox import frames
from headrace_loader.sandbox.confine import confine

INPUT = "input"


def main() -> None:
    """Serve the parent that started this process."""
    options = json.loads(sys.argv[1])
    directory = Path(options["directory"])
    limits = Limits(**options["limits"])
    # openpyxl asks for the system's table, which is out of reach once confined.
    mimetypes.knownfiles.clear()
    usage = _Usage()
    held = confine(str(directory), memory_bytes=options["memory_bytes"])
    output = os.fdopen(1, "wb", buffering=0, closefd=False)
    _write(output, frames.report(frames.HELLO, held=held))
    for line in sys.stdin.buffer:
        request = frames.Request.from_line(line)
        try:
            kind, facts = _parse(directory / INPUT, request, limits, output)
        except MemoryError:
            # What is left of this process cannot be trusted to allocate again.
            _write(output, _OUT_OF_MEMORY)
            os._exit(0)
        gc.collect()
        _write(output, frames.report(kind, **facts, **usage.facts()))


_OUT_OF_MEMORY = frames.report(
    frames.FAILURE,
    **frames.failure_facts(
        DocumentFailure(
            "resource_limit",
            "reading the document took more memory than a parser may have",
            advice="split the document, or raise HEADRACE_PARSER_MEMORY_BYTES",
        )
    ),
    last=True,
)


def _parse(
    path: Path, request: frames.Request, limits: Limits, output: BinaryIO
) -> tuple[bytes, dict[str, Any]]:
    """Send the text; kind and facts of the frame that ends it."""
    try:
        with path.open("rb") as file:
            source = Source(
                file,
                name=request.name,
                media_type=request.media_type,
                limits=limits,
                cautious=request.cautious,
            )
            found = identify(source)
            reading = read(source, found)
            for part in text_parts(reading.pieces):
                _write(output, frames.frame(frames.PART, encode_text_part(part)))
            facts = {"parser": reading.parser, "media_type": found.media_type}
            return frames.END, facts
    except MemoryError:
        raise
    except DocumentFailure as failure:
        return frames.FAILURE, frames.failure_facts(failure)
    except Exception as error:  # noqa: BLE001  parsers raise anything
        return frames.FAILURE, frames.failure_facts(_malformed(error))


def _malformed(error: Exception) -> DocumentFailure:
    return DocumentFailure(
        "malformed_document",
        f"the document cannot be read: {type(error).__name__}: {str(error)[:200]}",
        advice="open it in the program that made it and save it again",
    )


class _Usage:
    """What this process has used; opened while there is a /proc to open it in."""

    def __init__(self) -> None:
        self._statm = os.open("/proc/self/statm", os.O_RDONLY)
        self._page = resource.getpagesize()

    def facts(self) -> dict[str, float]:
        used = resource.getrusage(resource.RUSAGE_SELF)
        resident = int(os.pread(self._statm, 200, 0).split()[1])
        return {
            "cpu_s": used.ru_utime + used.ru_stime,
            "resident_bytes": resident * self._page,
        }


def _write(output: BinaryIO, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[output.write(rest) :]


if __name__ == "__main__":
    main()
