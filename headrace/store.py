"""The port to the vector store: what the stages need of it, in their own words.

Two collections per Headrace collection: ``<name>`` holds the points (one per chunk),
``<name>__documents`` the state records and the collection's own record. Adapters:
``qdrant`` (Qdrant server, cluster or local store over gRPC) and, in the tests, a fake;
both pass tests/contracts/store_contract.py.

Every operation may be repeated with no further effect, and every method raises
``SharedFailure`` (reason ``store_unavailable``) when the store cannot be reached, does
not answer in time or refuses for a passing reason; a failed call may have been applied
in part. Where a collection is missing the reason is ``collection_missing``, and
``ensure_collection`` makes it again. Where a collection was made sure of and then
replaced by one for another model, ``read_states`` and a refused ``apply`` raise
``CollectionMismatch``. ``DocumentFailure`` (code ``store_refused``) says that the same
call will never succeed. Methods may be cancelled at any await; a cancelled write may
have been applied.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from headrace.errors import SharedFailure
from headrace.fingerprint import ModelSettings
from headrace.identity import DocumentKey
from headrace.messages import DocumentRevision, EmbeddedChunk, Manifest
from headrace.state import Accepted, ChunkSet, StateRecord


@dataclass(frozen=True, slots=True)
class CollectionSpec:
    """The model a collection was made with; fixed for its life."""

    model: str
    model_revision: str
    dimensions: int
    document_prefix: str = ""
    query_prefix: str = ""

    @classmethod
    def of(cls, model: ModelSettings) -> CollectionSpec:
        """The collection for a model's vectors."""
        return cls(
            model=model.model,
            model_revision=model.model_revision,
            dimensions=model.dimensions,
            document_prefix=model.document_prefix,
            query_prefix=model.query_prefix,
        )


class CollectionMismatch(SharedFailure):
    """The collection exists with another model or dimension.

    Shared, since the settings are wrong for every document of the collection and not
    one of them is at fault. The message says which, and the ways out (settings back,
    other collection, reindex).
    """

    def __init__(self, message: str) -> None:
        super().__init__("collection_mismatch", message)


@dataclass(frozen=True, slots=True)
class StoredChunk:
    """A chunk to be stored, with all that its payload says.

    ``live`` is set at once only where the whole document is in one operation.
    """

    document: DocumentRevision
    embedded: EmbeddedChunk
    live: bool = False
    manifest: Manifest | None = None
    """Only on the document's last chunk."""


@dataclass(frozen=True, slots=True)
class StoreChunks:
    """Insert chunks; existing vectors stay, a vector replaces a hole.

    A document without any chunk has nothing to insert.
    """

    chunks: tuple[StoredChunk, ...]


@dataclass(frozen=True, slots=True)
class SetLive:
    """Mark all chunks of a set as live."""

    chunk_set: ChunkSet


@dataclass(frozen=True, slots=True)
class Flip:
    """Make a complete set the visible one.

    Holds only where visible revision and deleted revision are both lower. Where the
    very same set is visible already, only its failed count is written.
    """

    chunk_set: ChunkSet
    count: int
    failed: int


@dataclass(frozen=True, slots=True)
class RemoveObsolete:
    """Remove a document's points below the visible or up to the deleted revision."""

    key: DocumentKey
    visible_revision: int
    deleted_revision: int


@dataclass(frozen=True, slots=True)
class WriteAccepted:
    """Write the accepted fields where the record still holds ``expected``.

    Holds where arrival, revision and floor are those of ``expected``; ``None`` inserts
    the record only where there is none. With ``deletes``, the deleted revision becomes
    ``accepted.revision`` in the same write. An empty ``name`` leaves the record's.
    """

    key: DocumentKey
    accepted: Accepted
    expected: Accepted | None
    deletes: bool = False
    name: str = ""


Operation = StoreChunks | SetLive | Flip | RemoveObsolete | WriteAccepted


@dataclass(frozen=True, slots=True)
class StoredPoint:
    """A point as read back; ``vector`` only where asked for, and never for a hole.

    Vectors come back with length 1: the store keeps their direction.
    """

    id: str
    payload: Mapping[str, Any]
    vector: bytes | None = None
    score: float = 0.0


class Store(Protocol):
    """See the module's docstring for errors, repetition and cancellation."""

    async def ensure_collection(self, collection: str, spec: CollectionSpec) -> None:
        """Create both collections, their indexes and the collection's record.

        Many processes may call it at once. Known collections cost no call.

        Raises:
            CollectionMismatch: it exists with another model, dimension or prefix.
        """

    async def collections(self) -> dict[str, CollectionSpec]:
        """Every Headrace collection in the store."""

    async def drop_collection(self, collection: str) -> None:
        """Remove both collections; none is no error."""

    async def read_states(
        self, collection: str, keys: Sequence[DocumentKey]
    ) -> dict[DocumentKey, StateRecord]:
        """The state records of those keys that have one."""

    async def apply(self, collection: str, operations: Sequence[Operation]) -> None:
        """Carry out operations in order; conditions that do not hold are silent.

        The order holds for the operations of any one document.
        Returns when all are applied and visible to reads. The caller bounds a call to
        a few MB; the adapter splits what the store's own limits demand.
        """

    async def count(
        self, collection: str, chunk_set: ChunkSet, *, holes: bool = False
    ) -> int:
        """Exact number of stored chunks of a set, or of its holes alone."""

    async def read_manifest(
        self, collection: str, chunk_set: ChunkSet
    ) -> Manifest | None:
        """The manifest on the set's last chunk, once that chunk is stored."""

    async def search(
        self,
        collection: str,
        vector: bytes,
        *,
        limit: int,
        conditions: Mapping[str, str | int] | None = None,
        chunk_sets: Sequence[ChunkSet] | None = None,
    ) -> list[StoredPoint]:
        """Nearest live points, best first, unchecked against the state records.

        ``conditions`` are payload fields that must be equal. ``chunk_sets``, where
        given, replaces the filter on ``live``: only their points are searched.
        """

    def scroll_states(self, collection: str) -> AsyncIterator[StateRecord]:
        """Every state record, in no order, deleted documents included."""

    def scroll_points(
        self,
        collection: str,
        *,
        key: DocumentKey | None = None,
        with_vectors: bool = False,
    ) -> AsyncIterator[StoredPoint]:
        """Every point, or those of one document, in no order."""

    async def delete_points(self, collection: str, ids: Sequence[str]) -> None:
        """Remove points by id (repair); unknown ids are no error."""

    async def close(self) -> None:
        """Release connections; may be called twice."""
