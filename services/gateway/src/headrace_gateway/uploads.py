"""Takes the content of a document to the object store, whole or not at all."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import Request

from headrace.errors import SharedFailure
from headrace.objects import Objects, tenant_segment
from headrace_gateway.drafts import Content, TextOrUri
from headrace_gateway.import_items import ItemTaken
from headrace_gateway.multipart import MultipartReader, Part
from headrace_gateway.problems import Problem, invalid, too_large
from headrace_gateway.requests import Patience, body_of, faults

FILES = "files"
"""First segment of the keys of uploaded objects; ``sweeper`` owns all below it."""
FORM = "multipart/form-data"
JSON = "application/json"

_FIELD_BYTES = 128 * 1024
_FORM_BYTES = 1024 * 1024
"""What a form may have beside its file."""

M = TypeVar("M", bound=BaseModel)


def object_key(tenant: str, document_id: str, content_id: str) -> str:
    """Where a content goes; the loader lets only the tenant's own events name it."""
    return f"{FILES}/{tenant_segment(tenant)}/{document_id}/{content_id}"


def media_type_of(request: Request) -> str:
    """The request's own content type.

    Raises:
        Problem: 415.
    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip()
    if media_type.lower() not in (FORM, JSON):
        raise Problem(
            415,
            "unsupported_media_type",
            f"a document comes as {FORM} or {JSON}",
            headers={"Accept": f"{FORM}, {JSON}"},
        )
    return media_type.lower()


class Uploads:
    """Stores contents.

    Args:
        objects: where.
        max_bytes: of one file.
        patience: with those who send.
    """

    def __init__(self, objects: Objects, *, max_bytes: int, patience: Patience) -> None:
        self._objects = objects
        self._max_bytes = max_bytes
        self.patience = patience

    async def form(
        self, request: Request, model: type[M], *, key: str | None
    ) -> tuple[M, Content]:
        """Read a form of fields and one file, and store the file.

        Args:
            request: with the form.
            model: of the fields.
            key: of the object; ``None``: nothing is stored, only measured.

        Raises:
            Problem: the form, or one of its fields, is not as expected.
            SharedFailure: the object store is away.
        """
        body = body_of(
            request, limit=self._max_bytes + _FORM_BYTES, patience=self.patience
        )
        reader = MultipartReader(request.headers["content-type"], body)
        files: list[Content] = []
        try:
            fields = await self._read(reader, key, files)
            if len(files) != 1:
                problem = invalid("the form must have one field file")
                raise problem
            return _fields(model, fields), files[0]
        except Problem:
            # Else its bytes would wait for the sweeper.
            if files:
                await self.discard(files[0])
            raise

    async def _read(
        self, reader: MultipartReader, key: str | None, files: list[Content]
    ) -> dict[str, Any]:
        """The fields; the first file is stored and noted."""
        fields: dict[str, Any] = {}
        async for part in reader.parts():
            if part.name != "file":
                fields[part.name] = await part.text(_FIELD_BYTES)
            elif files:
                raise invalid("the form has more than one file")
            else:
                files.append(await self._file(part, key))
                fields.setdefault("name", part.filename or "")
                fields.setdefault("media_type", _media_type(part.media_type))
        return fields

    async def text(self, asked: TextOrUri, *, key: str | None) -> Content:
        """Store a text that came in JSON; a URI is only noted.

        Raises:
            SharedFailure: the object store is away.
        """
        if asked.text is None:
            return Content(uri=asked.uri)
        data = asked.text.encode()
        if key is not None:
            await self._objects.put(key, data)
        return Content(
            object_key=key, size=len(data), sha256=hashlib.sha256(data).hexdigest()
        )

    @asynccontextmanager
    async def named(self, content: Content) -> AsyncIterator[None]:
        """Around what names the stored bytes: where that is refused, they go at once.

        Not where it fails in another way, or is cut off: the record may be there all
        the same.
        """
        try:
            yield
        except (Problem, ItemTaken):
            await self.discard(content)
            raise

    async def discard(self, content: Content) -> None:
        """Remove what was stored for nothing; what is left the sweeper removes."""
        if content.object_key is None:
            return
        try:
            await self._objects.delete(content.object_key)
        except SharedFailure:
            return

    async def _file(self, part: Part, key: str | None) -> Content:
        source = _Measured(part.content, self._max_bytes)
        async with aclosing(source.stream()) as stream:
            if key is None:
                async for _ in stream:
                    pass
            else:
                try:
                    await self._objects.put(key, stream)
                except SharedFailure:
                    # What breaks off the body looks like the store's own failure.
                    if source.problem is not None:
                        raise source.problem from None
                    raise
        return Content(
            object_key=key, size=source.size, sha256=source.digest.hexdigest()
        )


class _Measured:
    """Counts and hashes what goes through."""

    def __init__(self, content: AsyncIterator[bytes], limit: int) -> None:
        self._content = content
        self._limit = limit
        self.size = 0
        self.digest = hashlib.sha256()
        self.problem: Problem | None = None

    async def stream(self) -> AsyncGenerator[bytes, None]:
        try:
            async for piece in self._content:
                self.size += len(piece)
                if self.size > self._limit:
                    raise too_large("the file", self._limit)
                self.digest.update(piece)
                yield piece
        except Problem as problem:
            self.problem = problem
            raise


def _media_type(said: str) -> str:
    """What clients say who do not know is worse than nothing: the loader looks."""
    return "" if said.startswith("application/octet-stream") else said[:255]


def _fields(model: type[M], fields: dict[str, Any]) -> M:
    if "attributes" in fields:
        try:
            fields["attributes"] = json.loads(fields["attributes"])
        except (ValueError, RecursionError) as error:
            raise invalid("the field attributes is no JSON") from error
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        raise invalid(
            "the form's fields are not as expected", errors=faults(error)
        ) from None
