"""The lines of an import, as strangers send them, made into items."""

from __future__ import annotations

from collections.abc import AsyncIterator

from headrace_gateway.drafts import NewDocument
from headrace_gateway.jobs import Item
from headrace_gateway.problems import Problem
from headrace_gateway.requests import parsed

_ITEMS = 200
_BYTES = 4 * 1024 * 1024
"""Of what is held before it is written."""


async def items_of(
    body: AsyncIterator[bytes], *, collection: str, longest: int, most: int
) -> AsyncIterator[list[Item]]:
    """The lines, some at a time.

    Args:
        body: as it comes.
        collection: of lines that name none.
        longest: bytes of a line; a longer one is refused by itself.
        most: lines.

    Raises:
        Problem: there are more.
    """
    items: list[Item] = []
    size = 0
    number = 0
    async for line in _lines(body, limit=longest):
        number += 1
        if number > most:
            raise Problem(
                413,
                "too_many_lines",
                f"the import has more than {most:,} lines",
                advice="send several imports",
            )
        if line.strip():
            items.append(_of_line(number, line, collection))
            size += len(line)
        if len(items) >= _ITEMS or size >= _BYTES:
            yield items
            items, size = [], 0
    if items:
        yield items


async def _lines(body: AsyncIterator[bytes], *, limit: int) -> AsyncIterator[bytes]:
    """A line beyond the limit comes cut, which no JSON survives."""
    rest = bytearray()
    async for piece in body:
        first, *others = piece.split(b"\n")
        rest += first[: limit + 1 - len(rest)]
        for other in others:
            yield bytes(rest)
            rest = bytearray(other[: limit + 1])
    if rest:
        yield bytes(rest)


def _of_line(number: int, line: bytes, collection: str) -> Item:
    try:
        asked = parsed(_with_collection(line, collection), NewDocument)
    except Problem as problem:
        faults = problem.extra.get("errors", ())
        said = "; ".join(
            ": ".join(filter(None, (each["field"], each["message"]))) for each in faults
        )
        return Item(number, failure=_failure(said or problem.detail))
    # What it does not say the job may.
    return Item(number, asked.name, asked.model_dump(mode="json", exclude_unset=True))


def _with_collection(line: bytes, collection: str) -> bytes:
    """With the job's collection where the line names none."""
    text = line.strip()
    if not text.startswith(b"{"):
        return text
    # Before what the line says: of two the last one counts.
    more = b"," if text[1:].lstrip()[:1] != b"}" else b""
    return b'{"collection":"' + collection.encode() + b'"' + more + text[1:]


def _failure(message: str) -> dict[str, str]:
    return {
        "code": "invalid_item",
        "message": message[:1024],
        "advice": "mend the line, and import it again",
    }
