"""The object store: claim-checked texts, uploads, oversize letters, objects by URL.

Keys in the configured store are relative, ``<kind>/<tenant segment>/<name>``, so that
what belongs to a tenant can be told from the key alone; letters belong to none.
External references (``s3://``, ``gs://``, ``az://``) are read only below the
allow-listed roots. A missing object is the document's own fault, and so is an external
one that is refused: only the events that name it are held up. Everything else that goes
wrong is shared.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import obstore
from obstore.exceptions import (
    BaseError,
    NotFoundError,
    PermissionDeniedError,
    UnauthenticatedError,
)
from obstore.store import ObjectStore, from_url

if TYPE_CHECKING:
    from obstore import GetResult

from headrace.errors import ConfigurationError, DocumentFailure, SharedFailure
from headrace.messages import ObjectReference
from headrace.settings import Settings

EXTERNAL_SCHEMES = ("s3", "gs", "az")

READ_SIZE = 1024 * 1024
"""Bytes handed out at a time: few wake-ups, and small beside a process."""
_PART_SIZE = 5 * 1024 * 1024
"""Smallest part that S3 accepts in a multipart upload; one is in flight at a time."""

# Without those that say "later": timeout, too early, too many requests.
_CLIENT_ERROR = re.compile(r"non-2xx status code: 4(?!08|25|29)\d\d\b")

_SMALL = 1024 * 1024
"""What is less is written at once."""

TEXTS = "texts"
LETTERS = "letters"
_RETIRED = "retired-"
"""Before the kind of an object that nobody is known to refer to any more."""

_PART = re.compile(r"#\d+$")
"""End of the name of a file that is being written; no key of ours has it."""

_PLAIN_TENANT = re.compile(r"[A-Za-z0-9_-]{1,64}")
_MAX_KEY_BYTES = 1024


def tenant_segment(tenant: str) -> str:
    """The tenant as one segment of a key; other spellings never collide with it."""
    if _PLAIN_TENANT.fullmatch(tenant):
        return tenant
    return "~" + hashlib.sha256(tenant.encode()).hexdigest()[:32]


def text_key(tenant: str, digest: bytes) -> str:
    """Key of a claim-checked text."""
    return f"{TEXTS}/{tenant_segment(tenant)}/{digest.hex()}"


@dataclass(frozen=True, slots=True)
class Listed:
    """An object of the configured store; ``key`` is that by which it is referred to."""

    key: str
    written_ms: int
    retired: bool


class _Pulled:
    """A stream as the store pulls it: from a task of its own.

    That one goes on when the writing is cancelled. It must be ended before the stream
    can be closed, or the cancellation would come out as another error.
    """

    def __init__(self, first: bytes, rest: AsyncIterator[bytes]) -> None:
        self._first = first
        self._rest = rest
        self._pulling: asyncio.Future[bytes] | None = None

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if self._first:
            first, self._first = self._first, b""
            return first
        self._pulling = asyncio.ensure_future(anext(self._rest))
        return await self._pulling

    async def aclose(self) -> None:
        if self._pulling is not None and not self._pulling.done():
            self._pulling.cancel()
            await asyncio.wait({self._pulling})


class Objects:
    """Reads and writes objects; one per process.

    Every method raises ``SharedFailure`` (``object_store_unavailable``) when the store
    cannot be reached or refuses, after three tries of its own, and may be cancelled at
    any await: a cancelled ``put`` leaves the old object or the whole new one. An
    external store that refuses a read raises ``DocumentFailure`` instead.
    """

    def __init__(
        self, url: str, *, roots: Sequence[str] = (), allow_http: bool = False
    ) -> None:
        """Open the store at ``url``; a local directory is made where it is missing.

        Args:
            url: ``file://``, ``s3://``, ``gs://`` or ``az://``, with a prefix or not.
            roots: allowed external prefixes (``s3://bucket/prefix``).
            allow_http: whether an endpoint without TLS may be used.

        Raises:
            ConfigurationError: the URL or a root is not one of these.
        """
        self._allow_http = allow_http
        try:
            self._own = _connect(url, allow_http=allow_http)
        except (BaseError, ValueError, OSError) as error:
            raise ConfigurationError(
                f"HEADRACE_OBJECT_STORE_URL: cannot use {url!r} as an object store; "
                "give file:///directory, s3://bucket, gs://bucket or az://container"
            ) from error
        self._folder = _folder(url)
        self._roots = tuple(_root(root) for root in roots)
        self._external: dict[str, ObjectStore] = {}

    @classmethod
    def from_settings(cls, settings: Settings) -> Objects:
        """Open the store that the settings name."""
        return cls(
            settings.object_store_url,
            roots=settings.object_roots,
            allow_http=settings.object_store_allow_http,
        )

    async def put(
        self, key: str, data: bytes | AsyncIterator[bytes]
    ) -> ObjectReference:
        """Write an object whole; a stream is never in memory as a whole."""
        _check_key(key)
        digest = hashlib.sha256()
        size = 0

        async def measured(
            chunks: AsyncIterator[bytes],
        ) -> AsyncGenerator[bytes, None]:
            nonlocal size
            async for chunk in chunks:
                digest.update(chunk)
                size += len(chunk)
                yield chunk

        try:
            if isinstance(data, bytes):
                digest.update(data)
                size = len(data)
                await obstore.put_async(self._own, key, data, use_multipart=False)
            else:
                async with aclosing(measured(data)) as stream:
                    await self._put_stream(key, stream)
        except (BaseError, OSError) as error:
            raise _shared(error, f"writing {key}") from error
        return ObjectReference(uri=key, size=size, sha256=digest.digest())

    async def _put_stream(self, key: str, stream: AsyncIterator[bytes]) -> None:
        # However small the chunks are: a client may send byte by byte.
        first = bytearray()
        async for chunk in stream:
            first += chunk
            if len(first) >= _SMALL:
                break
        else:
            # One request, where an upload in parts is three.
            await obstore.put_async(self._own, key, bytes(first), use_multipart=False)
            return

        async with aclosing(_Pulled(bytes(first), stream)) as parts:
            await obstore.put_async(
                self._own, key, parts, chunk_size=_PART_SIZE, max_concurrency=1
            )

    async def open(self, reference: ObjectReference) -> AsyncGenerator[bytes, None]:
        """The object's bytes, about 1 MiB at a time; close it when leaving early.

        Size and hash are checked at the end where the reference states them, so what
        was read counts only once the iterator is exhausted.

        Raises:
            DocumentFailure: ``object_not_found``, ``object_changed``,
                ``object_forbidden`` or ``invalid_reference``.
        """
        store, key = self._resolve(reference.uri)
        digest = hashlib.sha256()
        size = 0
        try:
            result = await self._found(store, key)
            async for chunk in result.stream(min_chunk_size=READ_SIZE):
                digest.update(chunk)
                size += len(chunk)
                yield bytes(chunk)
        except (FileNotFoundError, NotFoundError) as error:
            raise DocumentFailure(
                "object_not_found",
                f"there is no object {_shown(reference.uri)}",
                advice="put the object there, or send the document again",
            ) from error
        except (BaseError, OSError) as error:
            if _is_external(reference.uri) and _refused(error):
                raise DocumentFailure(
                    "object_forbidden",
                    f"the store refuses to hand out {_shown(reference.uri)}: "
                    f"{type(error).__name__}",
                    advice="check that the object exists and that the loader's "
                    "credentials may read it (some stores say the same of a missing "
                    "object to those who may not list), then replay the event",
                    retryable=True,
                ) from error
            raise _shared(error, f"reading {_shown(reference.uri)}") from error
        if (reference.size and reference.size != size) or (
            reference.sha256 and reference.sha256 != digest.digest()
        ):
            raise DocumentFailure(
                "object_changed",
                f"the object {_shown(reference.uri)} has not the size or hash that "
                "the reference states",
                advice="send the document again with the object's own size and hash",
            )

    async def _found(self, store: ObjectStore, key: str) -> GetResult:
        try:
            return await obstore.get_async(store, key)
        except (FileNotFoundError, NotFoundError):
            if store is not self._own:
                raise
        return await obstore.get_async(store, _RETIRED + key)

    async def listed(self, kind: str) -> list[Listed]:
        """All objects of a kind in the configured store, the retired ones too."""
        return [each async for page in self.pages(kind) for each in page]

    async def pages(self, kind: str) -> AsyncGenerator[list[Listed], None]:
        """As ``listed``, some at a time: there may be more than fit into memory."""
        try:
            for retired in (False, True):
                prefix = _RETIRED + kind if retired else kind
                async for page in obstore.list(self._own, prefix):
                    yield [
                        Listed(
                            each["path"].removeprefix(_RETIRED),
                            int(each["last_modified"].timestamp() * 1000),
                            retired,
                        )
                        for each in page
                    ]
        except (BaseError, OSError) as error:
            raise _shared(error, f"listing {kind}") from error

    async def exists(self, key: str) -> bool:
        """Whether the configured store has the object; retired ones do not count."""
        _check_key(key)
        try:
            await obstore.head_async(self._own, key)
        except (FileNotFoundError, NotFoundError):
            return False
        except (BaseError, OSError) as error:
            raise _shared(error, f"looking for {key}") from error
        return True

    async def drop_parts(self, kind: str, *, written_before_ms: int) -> int:
        """Remove what killed writers have left of objects of a kind; how many files.

        A folder has it in files of its own, which are never listed. Buckets keep parts
        of uploads where nobody sees them, and have lifecycle rules for that.
        """
        if self._folder is None:
            return 0
        try:
            return await asyncio.to_thread(
                _drop_parts, self._folder / kind, written_before_ms / 1000
            )
        except OSError as error:
            raise _shared(error, f"removing parts of {kind}") from error

    async def retire(self, key: str) -> None:
        """Move an object aside; it is found by its key all the same.

        For objects whose key tells their content: somebody may write one again at this
        moment, and it must not matter which of the two is left.
        """
        async with aclosing(self.open(ObjectReference(key))) as content:
            await self.put(_RETIRED + key, content)
        await self.delete(key)

    async def delete_retired(self, key: str) -> None:
        """Remove what was retired; who writes the object anew keeps it."""
        await self.delete(_RETIRED + key)

    async def get(self, reference: ObjectReference, limit: int) -> bytes:
        """The whole object.

        Raises:
            DocumentFailure: as ``open``; ``object_too_large`` beyond ``limit`` bytes.
        """
        chunks: list[bytes] = []
        size = 0
        async with aclosing(self.open(reference)) as stream:
            async for chunk in stream:
                size += len(chunk)
                if size > limit:
                    raise DocumentFailure(
                        "object_too_large",
                        f"the object {_shown(reference.uri)} is over {limit:,} bytes",
                    )
                chunks.append(chunk)
        return b"".join(chunks)

    async def delete(self, key: str) -> None:
        """Remove an object of the configured store; none is no error."""
        _check_key(key)
        try:
            await obstore.delete_async(self._own, key)
        except (FileNotFoundError, NotFoundError):
            return
        except (BaseError, OSError) as error:
            raise _shared(error, f"deleting {key}") from error

    def authorise(self, reference: ObjectReference, *, tenant: str) -> None:
        """Check that an event of ``tenant`` may name this object.

        Raises:
            DocumentFailure: ``object_forbidden`` or ``invalid_reference``.
        """
        if _is_external(reference.uri):
            self._resolve(reference.uri)
            return
        _check_key(reference.uri)
        segments = reference.uri.split("/")
        kind = segments[0].removeprefix(_RETIRED)
        theirs = kind != LETTERS and segments[1:2] == [tenant_segment(tenant)]
        if len(segments) < 3 or not theirs:
            raise DocumentFailure(
                "object_forbidden",
                f"the object {_shown(reference.uri)} does not belong to the "
                "document's tenant",
                advice="refer to an object below <kind>/<tenant>/",
            )

    def _resolve(self, uri: str) -> tuple[ObjectStore, str]:
        if not _is_external(uri):
            _check_key(uri)
            return self._own, uri
        bucket, key = _split(uri)
        _check_key(key)
        if not any(
            bucket == allowed and (key == prefix or key.startswith(_below(prefix)))
            for allowed, prefix in self._roots
        ):
            raise DocumentFailure(
                "object_forbidden",
                f"{_shown(uri)} is not below a root of HEADRACE_OBJECT_ROOTS",
                advice="add its bucket and prefix to HEADRACE_OBJECT_ROOTS",
            )
        store = self._external.get(bucket)
        if store is None:
            store = _connect(bucket, allow_http=self._allow_http)
            self._external[bucket] = store
        return store, key


def _folder(url: str) -> Path | None:
    """Where a store in the file system is."""
    path = urlsplit(url).path if url.startswith("file://") else None
    return None if path is None else Path(unquote(path))


def _drop_parts(folder: Path, before_s: float) -> int:
    dropped = 0
    for each in folder.rglob("*#*"):
        # Whoever writes may come to its end just now.
        with suppress(FileNotFoundError):
            if _PART.search(each.name) and each.stat().st_mtime < before_s:
                each.unlink()
                dropped += 1
    return dropped


def _connect(url: str, *, allow_http: bool) -> ObjectStore:
    """Open a store: connect 30 s, read 60 s, three tries."""
    if url.startswith("file://"):
        return from_url(url, mkdir=True)
    if not _is_external(url):
        raise ValueError("unknown scheme")
    return from_url(
        url,
        client_options={
            "allow_http": allow_http,
            "connect_timeout": timedelta(seconds=30),
            "read_timeout": timedelta(seconds=60),
            # Of one request with its body; the default of 30 s ends large downloads.
            "timeout": timedelta(minutes=10),
        },
        retry_config={"max_retries": 2, "retry_timeout": timedelta(minutes=3)},
    )


def _is_external(uri: str) -> bool:
    return uri.partition("://")[0] in EXTERNAL_SCHEMES and "://" in uri


def _split(uri: str) -> tuple[str, str]:
    """``scheme://bucket`` and the key below it."""
    parts = urlsplit(uri, allow_fragments=False)
    if not parts.netloc or "@" in parts.netloc:
        raise DocumentFailure(
            "invalid_reference", f"{_shown(uri)} names no bucket or holds credentials"
        )
    key = uri.partition("://")[2].partition("/")[2]
    return f"{parts.scheme}://{parts.netloc}", key


def _root(root: str) -> tuple[str, str]:
    if not _is_external(root):
        raise ConfigurationError(
            f"HEADRACE_OBJECT_ROOTS: {root!r} must begin with s3://, gs:// or az://"
        )
    try:
        bucket, prefix = _split(root)
    except DocumentFailure as error:
        raise ConfigurationError(f"HEADRACE_OBJECT_ROOTS: {error.message}") from error
    return bucket, prefix.rstrip("/")


def _below(prefix: str) -> str:
    return prefix + "/" if prefix else ""


def _check_key(key: str) -> None:
    """Refuse keys that a store or a file system could read as another place."""
    if (
        not key
        or len(key.encode(errors="replace")) > _MAX_KEY_BYTES
        or "\\" in key
        or any(ord(character) < 32 or ord(character) == 127 for character in key)
        or any(segment in {"", ".", ".."} for segment in key.split("/"))
    ):
        raise DocumentFailure(
            "invalid_reference",
            f"{_shown(key)!r} is no object key",
            advice="use segments joined by single slashes, at most 1,024 bytes in all, "
            "none of them . or ..",
        )


def _shown(uri: str) -> str:
    """For messages: bounded, and without a query, which may hold a signature."""
    return uri.partition("?")[0][:200]


def _refused(error: Exception) -> bool:
    """Whether the store answered, and the answer is about this request."""
    if isinstance(error, PermissionError | PermissionDeniedError):
        return True
    # Other statuses than 401, 403 and 404 have no class: only the text tells them.
    return isinstance(error, UnauthenticatedError) or bool(
        _CLIENT_ERROR.search(str(error))
    )


def _shared(error: Exception, doing: str) -> SharedFailure:
    # Only the kind: the store's own text may name hosts and signed addresses.
    return SharedFailure(
        "object_store_unavailable", f"{doing} failed: {type(error).__name__}"
    )
