"""One document from its source to its content: fetched, identified, read, hashed."""

from __future__ import annotations

import asyncio
import errno
from contextlib import aclosing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO
from urllib.parse import parse_qsl, urlsplit, urlunsplit

from headrace.errors import SharedFailure
from headrace.messages import DocumentEvent, Metadata, ObjectReference
from headrace.objects import EXTERNAL_SCHEMES, Objects
from headrace_loader.content import Content, Spool, small_content
from headrace_loader.kinds import names_kind
from headrace_loader.pieces import clip
from headrace_loader.plain_text import MAX_BYTES, plain_text
from headrace_loader.sandbox.frames import Request
from headrace_loader.sandbox.pool import ParserPool
from headrace_loader.sources.fetched import Fetched, too_large
from headrace_loader.sources.files import FileSource
from headrace_loader.sources.guard import blocked
from headrace_loader.sources.urls import UrlSource
from headrace_loader.threads import in_thread
from headrace_loader.workspace import Workspace

_DISK = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EROFS,
    errno.EIO,
    errno.EMFILE,
    errno.ENFILE,
}
"""Errors of the work directory: every document would meet them."""
_SECRET_NAMES = ("sig", "token", "key", "secret", "password", "credential", "auth")
_SMALL_TEXT_BYTES = 64 * 1024
"""Up to here a text is taken in one go."""
_MAX_NAME = 1024
_MAX_URI = 2048


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Everything that a document may come from."""

    files: FileSource
    urls: UrlSource
    objects: Objects


class Loading:
    """Loads documents; one per process, ``at_once`` at a time, the others wait.

    Attributes:
        problem: why the work directory could not be used when it was needed last.
    """

    def __init__(
        self,
        *,
        workspace: Workspace,
        sources: Sources,
        parsers: ParserPool,
        at_once: int,
        max_bytes: int,
    ) -> None:
        self._workspace = workspace
        self._sources = sources
        self._parsers = parsers
        self._slots = asyncio.Semaphore(at_once)
        self._max_bytes = max_bytes
        self.problem: str | None = None

    async def load(self, event: DocumentEvent, *, cautious: bool = False) -> Content:
        """The event's text. The caller closes the content.

        Args:
            event: an upsert.
            cautious: an earlier try may have died in a parser; use plainer ones.

        Raises:
            DocumentFailure: the source's, the parser's.
            SharedFailure: the object store's; ``parser_unavailable``;
                ``work_dir_unavailable``.
        """
        try:
            small = await self._small(event)
            content = None if small is None else await self._plain(event, small)
            if content is None:
                async with self._slots:
                    content = await self._load(event, small, cautious=cautious)
                    self.problem = None
        except OSError as error:
            if error.errno in _DISK:
                failure = SharedFailure(
                    "work_dir_unavailable",
                    f"HEADRACE_WORK_DIR cannot be used: {error.strerror}",
                )
                self.problem = f"{failure.reason}: {failure}"
                raise failure from error
            raise
        if content.path is not None:
            self.problem = None
        return content

    async def close(self) -> None:
        """Close connections, children and files."""
        await self._parsers.close()
        await self._sources.urls.close()
        self._workspace.close()

    async def _small(self, event: DocumentEvent) -> Fetched | None:
        """What the event brings itself, or a small file: no slot, no copy."""
        if event.inline is not None:
            return Fetched(size=len(event.inline), data=event.inline)
        if event.uri is not None and _scheme(event.uri) == "file":
            return await self._sources.files.small(event.uri)
        return None

    async def _load(
        self, event: DocumentEvent, small: Fetched | None, *, cautious: bool
    ) -> Content:
        """By way of the work directory, and of a parser where it is no plain text."""
        path = self._workspace.file()
        spool = self._spool()
        try:
            fetched = small or await self._fetch(event, path)
            if small is None:
                content = await self._plain(event, await _in_memory(fetched, path))
                if content is not None:
                    return content
            if fetched.data is not None:
                await self._put(fetched.data, path)
            name, media_type = _hints(event, fetched)
            request = Request(name=name, media_type=media_type, cautious=cautious)
            outcome = await self._parsers.parse(path, request, spool.add)
            return spool.finish(
                parser=outcome.parser,
                metadata=_metadata(event, fetched, media_type=outcome.media_type),
            )
        except BaseException:
            spool.discard()
            raise
        finally:
            self._workspace.remove(path)

    def _spool(self) -> Spool:
        return Spool(self._workspace.file(), remove=self._workspace.remove)

    async def _put(self, data: bytes, path: Path) -> None:
        if len(data) > self._max_bytes:
            raise too_large(self._max_bytes)
        await in_thread(path.write_bytes, data)

    async def _plain(self, event: DocumentEvent, fetched: Fetched) -> Content | None:
        """The text of what needs no parser, if it is in memory."""
        data = fetched.data
        if data is None or len(data) > MAX_BYTES:
            return None
        name, media_type = _hints(event, fetched)
        text = plain_text(data, name=name, media_type=media_type)
        if text is None:
            return None
        metadata = _metadata(event, fetched, media_type=text.media_type)
        if len(data) <= _SMALL_TEXT_BYTES:
            parts = tuple(text.parts)
            return small_content(parts, parser=text.parser, metadata=metadata)
        spool = self._spool()
        try:
            for number, part in enumerate(text.parts):
                if number:
                    # Each part is work; let others have the loop between two.
                    await asyncio.sleep(0)
                await spool.add(part)
            return spool.finish(parser=text.parser, metadata=metadata)
        except BaseException:
            spool.discard()
            raise

    async def _fetch(self, event: DocumentEvent, path: Path) -> Fetched:
        """Into ``path`` or, where it is a file of no great size, into memory."""
        if event.object is not None:
            return await self._fetch_object(event, event.object, path)
        uri = event.uri or ""
        scheme = _scheme(uri)
        if scheme in {"http", "https"}:
            return await self._sources.urls.fetch(uri, path)
        if scheme == "file":
            return await self._sources.files.fetch(uri, path, keep=MAX_BYTES)
        if scheme in EXTERNAL_SCHEMES:
            return await self._fetch_object(event, ObjectReference(uri), path)
        raise blocked("its scheme is not one of http, https, file, s3, gs and az")

    async def _fetch_object(
        self, event: DocumentEvent, reference: ObjectReference, path: Path
    ) -> Fetched:
        self._sources.objects.authorise(reference, tenant=event.key.tenant)
        if reference.size > self._max_bytes:
            raise too_large(self._max_bytes)
        size = 0
        file: BinaryIO = await in_thread(path.open, "wb")
        with file:
            async with aclosing(self._sources.objects.open(reference)) as stream:
                async for block in stream:
                    size += len(block)
                    if size > self._max_bytes:
                        raise too_large(self._max_bytes)
                    await in_thread(file.write, block)
        external = reference.uri.partition("://")[0] in EXTERNAL_SCHEMES
        name = reference.uri.rpartition("/")[2] if external else ""
        return Fetched(size=size, name=name)


async def _in_memory(fetched: Fetched, path: Path) -> Fetched:
    """With its bytes, where they may be a text that is taken as it is."""
    if fetched.data is not None or fetched.size > MAX_BYTES:
        return fetched
    return replace(fetched, data=await in_thread(path.read_bytes))


def _scheme(uri: str) -> str:
    return uri.partition(":")[0].lower()


def _hints(event: DocumentEvent, fetched: Fetched) -> tuple[str, str]:
    """The first name whose extension says something, and the declared media type."""
    names = [
        event.metadata.name,
        fetched.name,
        event.key.document_id,
    ]
    name = next(filter(names_kind, names), names[0])
    declared = event.metadata.media_type or fetched.media_type
    return name, declared


def _metadata(event: DocumentEvent, fetched: Fetched, *, media_type: str) -> Metadata:
    """The event's own, with what the source knows where it says nothing."""
    given = event.metadata
    name, uri = given.name, given.source_uri
    if not name:
        name = clip(fetched.name, _MAX_NAME)
    if not uri and event.object is not None:
        uri = event.object.uri if "://" in event.object.uri else ""
    elif not uri and event.uri:
        uri = _without_secrets(event.uri)
    return replace(given, name=name, media_type=media_type, source_uri=uri)


def _without_secrets(uri: str) -> str:
    """A URI to show: no user, no fragment, no query that looks like a signature."""
    try:
        parts = urlsplit(uri)
        names = [name.lower() for name, _ in parse_qsl(parts.query, True)]
    except ValueError:
        return ""
    secret = any(part in name for name in names for part in _SECRET_NAMES)
    query = "" if secret else parts.query
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, parts.path, query, ""))[:_MAX_URI]
