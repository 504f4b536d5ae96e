"""What callers say of a document, checked; and the events that ask for it. Pure."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from headrace.errors import DocumentFailure
from headrace.identity import DocumentKey, InvalidKeyError
from headrace.messages import (
    DocumentEvent,
    Lane,
    Metadata,
    ObjectReference,
    Operation,
)
from headrace.wire.documents import MAX_MEDIA_TYPE, MAX_URI, MAX_WHO, check_metadata
from headrace_gateway.problems import Problem, invalid

URI_SCHEMES = ("http", "https", "s3", "gs", "az")
"""Not ``file``: the loader's own disk is not for those who call over HTTP."""


def _printable(text: str) -> str:
    if any(ord(character) < 32 or ord(character) == 127 for character in text):
        raise ValueError("must not hold control characters")
    return text


def _bounded_name(text: str) -> str:
    if len(text.encode()) > 1024:
        raise ValueError("must not be longer than 1,024 bytes")
    return _printable(text)


def _uri(text: str) -> str:
    try:
        parts = urlsplit(text)
    except ValueError as error:
        raise ValueError("must be a URI") from error
    if parts.scheme.lower() not in URI_SCHEMES or not parts.netloc:
        raise ValueError(f"must be a URI of {', '.join(URI_SCHEMES)}")
    if "@" in parts.netloc:
        # It would be stored, shown to whoever may read, and refused by the loader.
        raise ValueError("must not name a user or hold a password")
    return _printable(text)


Name = Annotated[str, Field(min_length=1), AfterValidator(_bounded_name)]
Word = Annotated[str, AfterValidator(_printable)]
CollectionName = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,128}$")]


class OnConflict(StrEnum):
    """What happens where a document of that name lives already."""

    FAIL = "fail"
    REPLACE = "replace"
    NEW_VERSION = "new-version"
    """As ``replace``, but the bytes of the version before are kept."""


class About(BaseModel):
    """What is said of a document beside its content."""

    model_config = ConfigDict(extra="forbid")

    media_type: Word = Field("", max_length=MAX_MEDIA_TYPE)
    attributes: dict[Word, Word] = Field(
        default_factory=dict,
        description="Stored with every chunk; searches can filter by them.",
    )
    user_id: Word = Field("", max_length=MAX_WHO)
    session_id: Word = Field("", max_length=MAX_WHO)


class TextOrUri(About):
    """A document in JSON: its text, or where it is."""

    text: str | None = None
    uri: Annotated[str, AfterValidator(_uri)] | None = Field(None, max_length=MAX_URI)

    @model_validator(mode="after")
    def _one_of_them(self) -> TextOrUri:
        if (self.text is None) == (self.uri is None):
            raise ValueError("give either text or uri")
        return self


class NewDocument(TextOrUri):
    """A document to be made."""

    collection: CollectionName
    name: Name
    on_conflict: OnConflict = OnConflict.FAIL


class NewUpload(About):
    """The fields of an upload beside its file; ``attributes`` is JSON."""

    collection: CollectionName
    name: Name
    on_conflict: OnConflict = OnConflict.FAIL


@dataclass(frozen=True, slots=True)
class Content:
    """An object of ours, or a URI that the loader fetches."""

    object_key: str | None = None
    uri: str | None = None
    size: int = 0
    sha256: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """A document as it is to become."""

    content: Content
    about: About
    lane: Lane = Lane.INTERACTIVE
    import_job: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Once:
    """A request that may come again: the caller's key, and what it asked."""

    key: str
    request_hash: str


def once(key: str | None, *asked: Any) -> Once | None:
    """What tells a repeated request, where the caller gave a key.

    Raises:
        Problem: the key is none.
    """
    if key is None:
        return None
    if not 0 < len(key) <= 255 or not key.isascii() or not key.isprintable():
        raise invalid("Idempotency-Key must be 1 to 255 printable ASCII characters")
    text = json.dumps(asked, sort_keys=True, default=str)
    return Once(key=key, request_hash=hashlib.sha256(text.encode()).hexdigest())


def if_match(header: str | None) -> int | None:
    """The version that the caller has seen; ``None`` for any.

    Raises:
        Problem: it is none of our tags.
    """
    if header is None or header.strip() == "*":
        return None
    tag = header.strip().removeprefix("W/").strip('"')
    if not tag.isascii() or not tag.isdigit() or len(tag) > 18:
        raise Problem(
            412,
            "version_differs",
            "If-Match is no version of this document",
            advice="get the document and send its ETag",
        )
    return int(tag)


def etag(version: int) -> str:
    """A version as an entity tag."""
    return f'"{version}"'


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """An event for a document, as its row and content say."""

    key: DocumentKey
    version: int
    name: str
    about: About
    lane: Lane
    content: Content = field(default_factory=Content)
    import_job: str | None = None

    def upsert(self) -> DocumentEvent:
        """Load what it says.

        Raises:
            Problem: a bound of the contract is broken.
        """
        content = self.content
        event = DocumentEvent(
            key=self.key,
            source_version=self.version,
            uri=content.uri,
            object=(
                None
                if content.object_key is None
                else ObjectReference(
                    content.object_key, content.size, bytes.fromhex(content.sha256)
                )
            ),
            metadata=self._metadata(),
            lane=self.lane,
        )
        _check(event)
        return event

    def delete(self) -> DocumentEvent:
        """Remove it."""
        return replace(
            DocumentEvent(key=self.key, source_version=self.version, lane=self.lane),
            operation=Operation.DELETE,
        )

    def _metadata(self) -> Metadata:
        about = self.about
        return Metadata(
            name=self.name,
            media_type=about.media_type,
            source_uri=self.content.uri or "",
            user_id=about.user_id,
            session_id=about.session_id,
            import_job=self.import_job or "",
            attributes=dict(about.attributes),
        )


def _check(event: DocumentEvent) -> None:
    try:
        event.key.validate()
        check_metadata(event.metadata)
    except InvalidKeyError as error:
        raise invalid(str(error), code=error.code) from error
    except DocumentFailure as error:
        raise invalid(error.message, code=error.code, advice=error.advice) from error
