"""Who a document is, what came first, and the ids derived from that. Pure: no I/O.

The rules and their reasons are in docs/semantics.md.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import quote, unquote
from uuid import UUID, uuid5

DEFAULT_TENANT = "default"

NAMESPACE = UUID("0c5f9b38-6d0c-5d0e-9b0e-6a1d5c3f7b21")
"""Root of every id Headrace derives; changing it orphans every stored point."""

STATE_SUFFIX = "__documents"
"""``<collection>__documents`` holds a collection's state records in the store."""

_COLLECTION = re.compile(r"[A-Za-z0-9._-]{1,128}")


class InvalidKeyError(ValueError):
    """A document key breaks a bound of the contract; ``code`` names which."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True, order=True)
class DocumentKey:
    """A document: tenant, collection and document id together."""

    tenant: str
    collection: str
    document_id: str

    @property
    def record_key(self) -> bytes:
        """The Kafka record key: the parts percent-encoded, joined by ``/``."""
        return _record_key(self)

    @classmethod
    def from_record_key(cls, record_key: bytes) -> DocumentKey:
        """The inverse of ``record_key``.

        Raises:
            InvalidKeyError: not three percent-encoded parts within their bounds.
        """
        try:
            parts = [
                unquote(part, errors="strict")
                for part in record_key.decode("ascii").split("/")
            ]
        except UnicodeDecodeError as error:
            raise InvalidKeyError(
                "invalid_key", "the record key is not ASCII"
            ) from error
        if len(parts) != 3:
            raise InvalidKeyError(
                "invalid_key",
                "the record key is not tenant/collection/document id",
            )
        key = cls(*parts)
        key.validate()
        if key.record_key != record_key:
            raise InvalidKeyError(
                "invalid_key", "the record key is not in its canonical encoding"
            )
        return key

    def validate(self) -> None:
        """Check the bounds of proto/headrace/v1/document.proto.

        Raises:
            InvalidKeyError: naming the part and the bound.
        """
        if not self.document_id:
            raise InvalidKeyError("missing_id", "the event has no document id")
        if len(self.document_id.encode()) > 1024:
            raise InvalidKeyError(
                "invalid_key", "the document id is longer than 1,024 bytes"
            )
        if not self.tenant or len(self.tenant.encode()) > 128:
            raise InvalidKeyError(
                "invalid_key", "the tenant is empty or longer than 128 bytes"
            )
        if not _COLLECTION.fullmatch(self.collection):
            raise InvalidKeyError(
                "invalid_collection",
                "the collection must be 1 to 128 of A-Z a-z 0-9 . _ -",
            )
        if self.collection in {".", ".."} or self.collection.endswith(STATE_SUFFIX):
            raise InvalidKeyError(
                "invalid_collection",
                f"the collection must not be . or .., nor end with {STATE_SUFFIX}",
            )

    @property
    def uuid(self) -> str:
        """Id of the document's state record, and the value of its points' ``key``."""
        return _uuid(self)

    def __str__(self) -> str:
        return self.record_key.decode()


# A stage asks for both several times while it works on a document.
@lru_cache(maxsize=1024)
def _record_key(key: DocumentKey) -> bytes:
    parts = (key.tenant, key.collection, key.document_id)
    return "/".join([quote(part, safe="") for part in parts]).encode()


@lru_cache(maxsize=1024)
def _uuid(key: DocumentKey) -> str:
    return str(uuid5(NAMESPACE, str(key)))


@dataclass(frozen=True, slots=True)
class Arrival:
    """An event's first arrival on a documents topic; kept through every re-entry."""

    append_time_ms: int
    topic_id: str
    partition: int
    offset: int

    def before(self, other: Arrival) -> bool:
        """Whether this arrived earlier.

        By offset within one partition; by broker append time across partitions, then
        by the remaining fields so that the order is total.
        """
        if (self.topic_id, self.partition) == (other.topic_id, other.partition):
            return self.offset < other.offset
        return self._order < other._order

    @property
    def _order(self) -> tuple[int, str, int, int]:
        return (self.append_time_ms, self.topic_id, self.partition, self.offset)

    def __str__(self) -> str:
        return f"{self.append_time_ms}/{self.topic_id}/{self.partition}/{self.offset}"

    @classmethod
    def parse(cls, text: str) -> Arrival:
        """The inverse of ``str``.

        Raises:
            ValueError: not four parts, or no numbers where numbers belong.
        """
        return _arrival(text)


# A state record has the same twice, and is read twice while it is worked on.
@lru_cache(maxsize=1024)
def _arrival(text: str) -> Arrival:
    append_time_ms, topic_id, partition, offset = text.split("/")
    return Arrival(int(append_time_ms), topic_id, int(partition), int(offset))


class PointIds:
    """Ids of the points of one content: what is hashed for all of them, hashed once."""

    def __init__(
        self, key: DocumentKey, *, revision: int, fingerprint: str, content_hash: bytes
    ) -> None:
        name = f"{key}#{revision}#{fingerprint}#{content_hash.hex()}#"
        # SHA-1 is what makes it a UUIDv5; nothing rests on its strength.
        self._prefix = hashlib.sha1(
            NAMESPACE.bytes + name.encode(), usedforsecurity=False
        )

    def of(self, number: int) -> str:
        """Id of a chunk's point: the UUIDv5 of the document's name and the number."""
        digest = self._prefix.copy()
        digest.update(b"%d" % number)
        # Written out here: a UUID would become a number and then text again.
        raw = bytearray(digest.digest()[:16])
        raw[6] = raw[6] & 0x0F | 0x50
        raw[8] = raw[8] & 0x3F | 0x80
        text = raw.hex()
        return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))


def point_id(
    key: DocumentKey,
    *,
    revision: int,
    fingerprint: str,
    content_hash: bytes,
    number: int,
) -> str:
    """Id of the point of one chunk: two revisions or contents never share one."""
    ids = PointIds(
        key, revision=revision, fingerprint=fingerprint, content_hash=content_hash
    )
    return ids.of(number)


def manifest_hash(texts: list[str]) -> bytes:
    """SHA-256 over the SHA-256 of each chunk's text in order (Manifest.hash)."""
    whole = hashlib.sha256()
    for text in texts:
        whole.update(hashlib.sha256(text.encode()).digest())
    return whole.digest()
