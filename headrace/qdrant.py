"""The vector store over Qdrant's gRPC API: a server, a cluster or the local store.

The methods of the port ``headrace.store.Store``, see there. Requests of the insert path
are written as bytes (``qdrant_wire``), so the calls are made on a channel of our own.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

import grpc
from google.protobuf.message import Message

from headrace import qdrant_collections as collections_
from headrace import qdrant_payload as payloads
from headrace import qdrant_wire as wire
from headrace.errors import ConfigurationError, DocumentFailure, SharedFailure
from headrace.identity import STATE_SUFFIX, DocumentKey
from headrace.messages import Manifest
from headrace.qdrant_collections import MAJORITY
from headrace.qdrant_messages import qdrant
from headrace.qdrant_operations import calls, equal, has_id, in_set, of_document
from headrace.qdrant_values import payload_to_python
from headrace.settings import Settings
from headrace.state import ChunkSet, StateRecord
from headrace.store import CollectionSpec, Operation, StoredPoint

DEFAULT_PORT: Final = 6334
CALL_TIMEOUT_S: Final = 60.0
"""Of one call, the wait for a connection included."""
MAX_CALL_BYTES: Final = 4 * 1024 * 1024
"""Qdrant accepts 32 MiB, and advises to stay below 5 MB: larger calls time out."""
_STATES_A_PAGE: Final = 512
_POINTS_A_PAGE: Final = 256
_VECTORS_A_PAGE: Final = 64

_ANSWERS: Final[Mapping[str, type[Message]]] = {
    "Collections/CollectionExists": qdrant.CollectionExistsResponse,
    "Collections/Create": qdrant.CollectionOperationResponse,
    "Collections/Delete": qdrant.CollectionOperationResponse,
    "Collections/Get": qdrant.GetCollectionInfoResponse,
    "Collections/List": qdrant.ListCollectionsResponse,
    "Points/Count": qdrant.CountResponse,
    "Points/CreateFieldIndex": qdrant.PointsOperationResponse,
    "Points/Delete": qdrant.PointsOperationResponse,
    "Points/Get": qdrant.GetResponse,
    "Points/Query": qdrant.QueryResponse,
    "Points/Scroll": qdrant.ScrollResponse,
    "Points/UpdateBatch": qdrant.UpdateBatchResponse,
    "Points/Upsert": qdrant.PointsOperationResponse,
}

_CHANNEL_OPTIONS: Final = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    # A server that vanished without a word is noticed within a call's timeout.
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    # After an outage of hours the next try must not be minutes away.
    ("grpc.max_reconnect_backoff_ms", 5_000),
)

_EVERYTHING: Final = qdrant.WithPayloadSelector(enable=True)


class QdrantStore:
    """Adapter of ``headrace.store.Store``; made within a running event loop.

    Args:
        url: ``http://host:port`` or ``https://host:port`` of the gRPC endpoint.
        api_key: sent with each call where not empty.
        replication_factor: of collections that this process makes.
        max_call_bytes: updates are split so that no call is larger.
        call_timeout_s: after which a call counts as unanswered.

    Raises:
        ConfigurationError: the URL is none.
    """

    def __init__(
        self,
        url: str,
        *,
        api_key: str = "",
        replication_factor: int = 1,
        max_call_bytes: int = MAX_CALL_BYTES,
        call_timeout_s: float = CALL_TIMEOUT_S,
    ) -> None:
        self._url = url
        self._channel = _channel(url)
        self._metadata = (("api-key", api_key),) if api_key else ()
        self._replication_factor = replication_factor
        self._max_call_bytes = max_call_bytes
        self._call_timeout_s = call_timeout_s
        self._known: dict[str, CollectionSpec] = {}
        self._ensuring = asyncio.Lock()
        self._methods = {
            name: self._channel.unary_unary(
                f"/qdrant.{name}",
                request_serializer=_serialize,
                response_deserializer=answer.FromString,
            )
            for name, answer in _ANSWERS.items()
        }

    @classmethod
    def from_settings(cls, settings: Settings) -> QdrantStore:
        """The store that the settings name."""
        return cls(
            settings.qdrant_url,
            api_key=settings.qdrant_api_key.get_secret_value(),
            replication_factor=settings.qdrant_replication_factor,
        )

    async def ensure_collection(self, collection: str, spec: CollectionSpec) -> None:
        """See the port."""
        if self._known.get(collection) == spec:
            return
        async with self._ensuring:
            if self._known.get(collection) == spec:
                return  # somebody made sure of it while this call waited
            try:
                await collections_.ensure(
                    self._send_plain,
                    collection,
                    spec=spec,
                    replication_factor=self._replication_factor,
                )
            except grpc.aio.AioRpcError as error:
                raise self._failure(error, collection) from error
            self._known[collection] = spec

    async def collections(self) -> dict[str, CollectionSpec]:
        """See the port."""
        answer = await self._send("Collections/List", qdrant.ListCollectionsRequest())
        found = {}
        for description in answer.collections:
            name = description.name.removesuffix(STATE_SUFFIX)
            if name == description.name:
                continue
            try:
                spec = await collections_.read_spec(self._send_plain, name)
            except grpc.aio.AioRpcError as error:
                if error.code() is grpc.StatusCode.NOT_FOUND:
                    continue  # dropped meanwhile
                raise self._failure(error, name) from error
            if spec is not None:
                found[name] = spec
        return found

    async def drop_collection(self, collection: str) -> None:
        """See the port. The record goes last, so that it can be repeated."""
        self._known.pop(collection, None)
        for name in (collection, collection + STATE_SUFFIX):
            request = qdrant.DeleteCollection(collection_name=name)
            try:
                await self._send_plain("Collections/Delete", request)
            except grpc.aio.AioRpcError as error:
                if error.code() is not grpc.StatusCode.NOT_FOUND:
                    raise self._failure(error, collection) from error

    async def read_states(
        self, collection: str, keys: Sequence[DocumentKey]
    ) -> dict[DocumentKey, StateRecord]:
        """See the port.

        The collection's own record comes with them at no further call: whoever decides
        by what is read must know whose collection it is by now.
        """
        if not keys:
            return {}
        ids = [qdrant.PointId(uuid=key.uuid) for key in dict.fromkeys(keys)]
        known = self._known.get(collection)
        if known is not None:
            ids.insert(0, qdrant.PointId(uuid=payloads.COLLECTION_RECORD_ID))
        spec: CollectionSpec | None = None
        found = {}
        for start in range(0, len(ids), _STATES_A_PAGE):
            request = qdrant.GetPoints(
                collection_name=collection + STATE_SUFFIX,
                ids=ids[start : start + _STATES_A_PAGE],
                with_payload=_EVERYTHING,
                read_consistency=MAJORITY,
            )
            answer = await self._send("Points/Get", request, collection)
            for point in answer.result:
                payload = payload_to_python(point.payload)
                if point.id.uuid == payloads.COLLECTION_RECORD_ID:
                    spec = payloads.spec_of(payload)
                    continue
                record = payloads.state_of(collection, payload)
                found[record.key] = record
        if known is not None and spec != known:
            # Not ours any more; what it is now is found out before the next use.
            self._known.pop(collection, None)
            raise collections_.replaced(collection, found=spec, spec=known)
        return found

    async def apply(self, collection: str, operations: Sequence[Operation]) -> None:
        """See the port. Operations of different documents may change their order."""
        for call in calls(operations, max_bytes=self._max_call_bytes):
            name = collection + STATE_SUFFIX if call.on_states else collection
            request = wire.update_batch(name, call.operations)
            try:
                await self._send_plain("Points/UpdateBatch", request)
            except grpc.aio.AioRpcError as error:
                if error.code() is grpc.StatusCode.INVALID_ARGUMENT:
                    await self._make_sure_again(collection)
                raise self._failure(error, collection) from error

    async def count(
        self, collection: str, chunk_set: ChunkSet, *, holes: bool = False
    ) -> int:
        """See the port."""
        wanted = in_set(chunk_set)
        if holes:
            wanted.must.append(equal("state", payloads.HOLE))
        request = qdrant.CountPoints(
            collection_name=collection,
            filter=wanted,
            exact=True,
            read_consistency=MAJORITY,
        )
        answer = await self._send("Points/Count", request, collection)
        count: int = answer.result.count
        return count

    async def read_manifest(
        self, collection: str, chunk_set: ChunkSet
    ) -> Manifest | None:
        """See the port."""
        wanted = in_set(chunk_set)
        no_manifest = qdrant.IsEmptyCondition(key="chunk_count")
        wanted.must_not.append(qdrant.Condition(is_empty=no_manifest))
        request = qdrant.ScrollPoints(
            collection_name=collection,
            filter=wanted,
            limit=1,
            with_payload=qdrant.WithPayloadSelector(
                include=qdrant.PayloadIncludeSelector(
                    fields=["chunk_count", "manifest_hash"]
                )
            ),
            read_consistency=MAJORITY,
        )
        answer = await self._send("Points/Scroll", request, collection)
        if not answer.result:
            return None
        return payloads.manifest_of(payload_to_python(answer.result[0].payload))

    async def search(
        self,
        collection: str,
        vector: bytes,
        *,
        limit: int,
        conditions: Mapping[str, str | int] | None = None,
        chunk_sets: Sequence[ChunkSet] | None = None,
    ) -> list[StoredPoint]:
        """See the port."""
        must = [equal(*one) for one in (conditions or {}).items()]
        if chunk_sets is None:
            must.append(equal("live", payloads.LIVE))
        elif not chunk_sets:
            return []
        else:
            any_of = [qdrant.Condition(filter=in_set(one)) for one in chunk_sets]
            must.append(qdrant.Condition(filter=qdrant.Filter(should=any_of)))
        nearest = qdrant.VectorInput(
            dense=qdrant.DenseVector.FromString(wire.dense_vector(vector))
        )
        request = qdrant.QueryPoints(
            collection_name=collection,
            query=qdrant.Query(nearest=nearest),
            using=wire.VECTOR_NAME,
            filter=qdrant.Filter(must=must),
            limit=limit,
            with_payload=_EVERYTHING,
        )
        answer = await self._send("Points/Query", request, collection)
        return [
            StoredPoint(
                point.id.uuid, payload_to_python(point.payload), score=point.score
            )
            for point in answer.result
        ]

    async def scroll_states(self, collection: str) -> AsyncIterator[StateRecord]:
        """See the port."""
        request = qdrant.ScrollPoints(
            collection_name=collection + STATE_SUFFIX,
            filter=qdrant.Filter(must_not=[has_id(payloads.COLLECTION_RECORD_ID)]),
            limit=_STATES_A_PAGE,
            with_payload=_EVERYTHING,
            read_consistency=MAJORITY,
        )
        async for point in self._scroll(request, collection):
            yield payloads.state_of(collection, payload_to_python(point.payload))

    async def scroll_points(
        self,
        collection: str,
        *,
        key: DocumentKey | None = None,
        with_vectors: bool = False,
    ) -> AsyncIterator[StoredPoint]:
        """See the port."""
        request = qdrant.ScrollPoints(
            collection_name=collection,
            filter=qdrant.Filter(must=[] if key is None else [of_document(key)]),
            limit=_VECTORS_A_PAGE if with_vectors else _POINTS_A_PAGE,
            with_payload=_EVERYTHING,
            with_vectors=qdrant.WithVectorsSelector(enable=with_vectors),
            read_consistency=MAJORITY,
        )
        async for point in self._scroll(request, collection):
            yield StoredPoint(
                point.id.uuid, payload_to_python(point.payload), vector=_vector(point)
            )

    async def delete_points(self, collection: str, ids: Sequence[str]) -> None:
        """See the port."""
        for start in range(0, len(ids), _STATES_A_PAGE):
            page = ids[start : start + _STATES_A_PAGE]
            wanted = qdrant.Filter(must=[has_id(*page)])
            request = qdrant.DeletePoints(
                collection_name=collection,
                wait=True,
                points=qdrant.PointsSelector(filter=wanted),
                ordering=qdrant.WriteOrdering(type=qdrant.WriteOrderingType.Strong),
            )
            await self._send("Points/Delete", request, collection)

    async def close(self) -> None:
        """See the port."""
        await self._channel.close()

    async def _make_sure_again(self, collection: str) -> None:
        """Where the collection was replaced, no document is to blame for a refusal."""
        known = self._known.pop(collection, None)
        if known is not None:
            await self.ensure_collection(collection, known)

    async def _scroll(
        self, request: qdrant.ScrollPoints, collection: str
    ) -> AsyncIterator[qdrant.RetrievedPoint]:
        while True:
            answer = await self._send("Points/Scroll", request, collection)
            for point in answer.result:
                yield point
            if not answer.HasField("next_page_offset"):
                return
            request.offset.CopyFrom(answer.next_page_offset)

    async def _send(
        self, method: str, request: Message | bytes, collection: str = ""
    ) -> Any:
        try:
            return await self._send_plain(method, request)
        except grpc.aio.AioRpcError as error:
            raise self._failure(error, collection) from error

    async def _send_plain(self, method: str, request: Message | bytes) -> Any:
        return await self._methods[method](
            request, timeout=self._call_timeout_s, metadata=self._metadata
        )

    def _failure(self, error: grpc.aio.AioRpcError, collection: str) -> Exception:
        """What an error means for those who process documents."""
        details = error.details() or error.code().name
        if error.code() is grpc.StatusCode.INVALID_ARGUMENT:
            return DocumentFailure(
                "store_refused",
                f"the store at {self._url} refuses what it was given for collection "
                f"{collection!r}: {details}",
                advice="compare the vector's dimensions with the collection's",
            )
        if error.code() is grpc.StatusCode.NOT_FOUND and collection:
            self._known.pop(collection, None)
            return SharedFailure(
                "collection_missing",
                f"collection {collection!r} is not in the store at {self._url}: "
                f"{details}",
            )
        text = f"the store at {self._url} failed ({error.code().name}): {details}"
        if error.code() is not grpc.StatusCode.INTERNAL:  # then the store itself spoke
            text += f". QDRANT_URL must name its gRPC port, {DEFAULT_PORT} by default"
        return SharedFailure("store_unavailable", text)


def _serialize(request: Message | bytes) -> bytes:
    return request if isinstance(request, bytes) else request.SerializeToString()


def _channel(url: str) -> grpc.aio.Channel:
    parts = urlsplit(url)
    try:
        host, port = parts.hostname, parts.port or DEFAULT_PORT
    except ValueError:
        host, port = None, 0
    if parts.scheme not in {"http", "https"} or not host:
        raise ConfigurationError(
            f"QDRANT_URL is {url!r}, which is no URL of a Qdrant server; "
            f"give http://HOST:{DEFAULT_PORT} or https://HOST:{DEFAULT_PORT}"
        )
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    if parts.scheme == "https":
        credentials = grpc.ssl_channel_credentials()
        return grpc.aio.secure_channel(address, credentials, options=_CHANNEL_OPTIONS)
    return grpc.aio.insecure_channel(address, options=_CHANNEL_OPTIONS)


def _vector(point: qdrant.RetrievedPoint) -> bytes | None:
    output = point.vectors.vectors.vectors.get(wire.VECTOR_NAME)
    if output is None:
        return None
    # Servers before 1.16 answer in the older field.
    dense = output.dense
    if not output.HasField("dense"):
        dense = qdrant.DenseVector(data=output.data)
    return wire.floats(dense.SerializeToString(), len(dense.data))
