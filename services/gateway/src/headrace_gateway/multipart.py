"""Reads ``multipart/form-data`` as it comes, so that no file is ever whole in memory.

The parts are handed out one after the other; a part's bytes must be read, or left,
before the next one is asked for.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from email.message import Message
from typing import Any

from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header

from headrace_gateway.problems import Problem, invalid, too_large

_MAX_HEADER_BYTES = 8 * 1024
_MAX_PARTS = 100


@dataclass(frozen=True, slots=True)
class Part:
    """A field of the form; ``filename`` is ``None`` where it is no file."""

    name: str
    filename: str | None
    media_type: str
    content: AsyncIterator[bytes]

    async def text(self, limit: int) -> str:
        """The whole of a small field.

        Raises:
            Problem: it is larger, or no UTF-8.
        """
        whole = bytearray()
        async for piece in self.content:
            whole += piece
            if len(whole) > limit:
                raise too_large(f"the field {self.name!r}", limit)
        try:
            return whole.decode()
        except UnicodeDecodeError as error:
            raise invalid(f"the field {self.name!r} is not UTF-8") from error


class MultipartReader:
    """Reads one form.

    Args:
        content_type: of the request; names the boundary.
        body: the request's bytes.

    Raises:
        Problem: there is no boundary.
    """

    def __init__(self, content_type: str, body: AsyncIterator[bytes]) -> None:
        _, options = parse_options_header(content_type)
        boundary = options.get(b"boundary")
        if not boundary:
            raise invalid("the form's content-type names no boundary")
        self._body = body
        self._events: deque[tuple[str, Any]] = deque()
        self._header: list[bytearray] = [bytearray(), bytearray()]
        self._headers: dict[str, str] = {}
        self._header_bytes = 0
        callbacks: dict[str, Any] = {
            "on_part_begin": self._part_begins,
            "on_header_field": lambda data, start, end: self._add(0, data[start:end]),
            "on_header_value": lambda data, start, end: self._add(1, data[start:end]),
            "on_header_end": self._header_ends,
            "on_headers_finished": lambda: self._events.append(("part", self._headers)),
            "on_part_data": lambda data, start, end: self._events.append(
                ("data", data[start:end])
            ),
            "on_part_end": lambda: self._events.append(("part_end", None)),
            "on_end": lambda: self._events.append(("end", None)),
        }
        self._parser = MultipartParser(boundary, callbacks)  # type: ignore[arg-type]  # its types are narrower than what it takes

    async def parts(self) -> AsyncIterator[Part]:
        """The parts in the order in which they come.

        Raises:
            Problem: the form is broken or ends too early.
        """
        for _ in range(_MAX_PARTS):
            kind, value = await self._next()
            while kind in {"data", "part_end"}:
                kind, value = await self._next()
            if kind == "end":
                return
            yield _part(value, self._content())
        raise invalid(f"the form has more than {_MAX_PARTS} parts")

    async def _content(self) -> AsyncIterator[bytes]:
        while True:
            kind, value = await self._next()
            if kind != "data":
                return
            yield value

    async def _next(self) -> tuple[str, Any]:
        while not self._events:
            try:
                piece = await anext(self._body)
            except StopAsyncIteration:
                raise _broken("it ends before its closing boundary") from None
            try:
                self._parser.write(piece)
            except MultipartParseError as error:
                raise _broken(str(error)) from error
        return self._events.popleft()

    def _part_begins(self) -> None:
        self._headers = {}
        self._header_bytes = 0

    def _add(self, which: int, data: bytes) -> None:
        self._header_bytes += len(data)
        if self._header_bytes > _MAX_HEADER_BYTES:
            raise too_large("the head of a part", _MAX_HEADER_BYTES)
        self._header[which] += data

    def _header_ends(self) -> None:
        name, value = (bytes(each) for each in self._header)
        self._header = [bytearray(), bytearray()]
        text = value.decode("utf-8", "replace")
        self._headers[name.decode("latin-1").lower()] = text


def _part(headers: Mapping[str, str], content: AsyncIterator[bytes]) -> Part:
    disposition = Message()
    disposition["content-disposition"] = headers.get("content-disposition", "")
    try:
        name = disposition.get_param("name", header="content-disposition")
        filename = disposition.get_filename()
        (filename or "").encode()
    except (ValueError, TypeError) as error:
        # The client chooses the encoding, of all that Python has.
        raise _broken("the name of a part cannot be decoded") from error
    if not isinstance(name, str) or not name:
        raise _broken("a part has no name")
    return Part(name, filename, headers.get("content-type", ""), content)


def _broken(why: str) -> Problem:
    return Problem(
        400,
        "malformed_form",
        f"the body is no multipart form: {why}",
        advice="send the fields collection and file as multipart/form-data",
    )
