"""Making Headrace's collections in Qdrant, many processes at once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import grpc
from google.protobuf.message import Message

from headrace import qdrant_payload as payloads
from headrace import qdrant_wire as wire
from headrace.errors import SharedFailure
from headrace.identity import STATE_SUFFIX, InvalidKeyError
from headrace.qdrant_messages import qdrant
from headrace.qdrant_values import payload_to_python, to_wire_map
from headrace.store import CollectionMismatch, CollectionSpec

Send = Callable[[str, Message], Awaitable[Any]]
"""Calls a method of Qdrant with a request; raises ``grpc.aio.AioRpcError``."""


async def ensure(
    send: Send, collection: str, *, spec: CollectionSpec, replication_factor: int
) -> None:
    """Make what is missing of a collection.

    The collection's record decides: it is inserted only where there is none and read
    back before the points' collection is made, so that of many processes with
    different settings one wins and the others are told. Each step may be repeated.

    Raises:
        CollectionMismatch: it exists with other settings.
        SharedFailure: it was dropped meanwhile.
        InvalidKeyError: the name is that of the state records of another collection.
        grpc.aio.AioRpcError: Qdrant does not answer or refuses.
    """
    if collection.endswith(STATE_SUFFIX):
        raise InvalidKeyError(
            "invalid_collection",
            f"a collection's name cannot end with {STATE_SUFFIX}: "
            "the state records of another collection have that name",
        )
    states = collection + STATE_SUFFIX
    await _create(send, states, vectors={}, replication_factor=replication_factor)
    await send(
        "Points/Upsert",
        qdrant.UpsertPoints(
            collection_name=states,
            wait=True,
            points=[
                qdrant.PointStruct(
                    id=qdrant.PointId(uuid=payloads.COLLECTION_RECORD_ID),
                    payload=to_wire_map(payloads.spec_fields(spec)),
                )
            ],
            update_mode=qdrant.UpdateMode.InsertOnly,
            ordering=qdrant.WriteOrdering(type=qdrant.WriteOrderingType.Strong),
        ),
    )
    found = await read_spec(send, collection)
    if found is None:
        raise SharedFailure(
            "collection_missing",
            f"collection {collection!r} was dropped while it was made",
        )
    _compare(collection, found=payloads.spec_fields(found), spec=spec)
    await _create(
        send,
        collection,
        vectors={
            wire.VECTOR_NAME: qdrant.VectorParams(
                size=spec.dimensions, distance=qdrant.Distance.Cosine
            )
        },
        replication_factor=replication_factor,
    )
    answer = await send(
        "Collections/Get", qdrant.GetCollectionInfoRequest(collection_name=collection)
    )
    _check_vectors(collection, answer.result.config.params.vectors_config, spec)
    for name, index in _indexes().items():
        if name not in answer.result.payload_schema:
            await send(
                "Points/CreateFieldIndex",
                qdrant.CreateFieldIndexCollection(
                    collection_name=collection,
                    wait=True,
                    field_name=name,
                    field_type=index,
                ),
            )


def _indexes() -> dict[str, qdrant.FieldType.ValueType]:
    return {
        **dict.fromkeys(payloads.KEYWORD_INDEXES, qdrant.FieldType.FieldTypeKeyword),
        **dict.fromkeys(payloads.INTEGER_INDEXES, qdrant.FieldType.FieldTypeInteger),
    }


async def read_spec(send: Send, collection: str) -> CollectionSpec | None:
    """What a collection's own record says.

    Raises:
        grpc.aio.AioRpcError: Qdrant does not answer, or there is no such collection.
    """
    answer = await send(
        "Points/Get",
        qdrant.GetPoints(
            collection_name=collection + STATE_SUFFIX,
            ids=[qdrant.PointId(uuid=payloads.COLLECTION_RECORD_ID)],
            with_payload=qdrant.WithPayloadSelector(enable=True),
            read_consistency=MAJORITY,
        ),
    )
    if not answer.result:
        return None
    return payloads.spec_of(payload_to_python(answer.result[0].payload))


async def _create(
    send: Send,
    name: str,
    *,
    vectors: dict[str, qdrant.VectorParams],
    replication_factor: int,
) -> None:
    exists = await send(
        "Collections/CollectionExists",
        qdrant.CollectionExistsRequest(collection_name=name),
    )
    if exists.result.exists:
        return
    request = qdrant.CreateCollection(
        collection_name=name,
        vectors_config=qdrant.VectorsConfig(
            params_map=qdrant.VectorParamsMap(map=vectors)
        ),
    )
    if replication_factor > 1:
        request.replication_factor = replication_factor
        # Majorities of writes and reads overlap: what was confirmed is read.
        request.write_consistency_factor = replication_factor // 2 + 1
    try:
        await send("Collections/Create", request)
    except grpc.aio.AioRpcError as error:
        if not _exists_already(error):
            raise


def _exists_already(error: grpc.aio.AioRpcError) -> bool:
    """Another process was faster; older servers call that a wrong input."""
    return error.code() is grpc.StatusCode.ALREADY_EXISTS or (
        error.code() is grpc.StatusCode.INVALID_ARGUMENT
        and "already exists" in (error.details() or "")
    )


def replaced(
    collection: str, *, found: CollectionSpec | None, spec: CollectionSpec
) -> SharedFailure:
    """What a collection that was made sure of has become."""
    problem = found and payloads.mismatch(
        collection, found=payloads.spec_fields(found), wanted=spec
    )
    if problem:
        return CollectionMismatch(problem)
    return SharedFailure(
        "collection_missing",
        f"collection {collection!r} was dropped, and is not whole again yet",
    )


def _check_vectors(
    collection: str, found: qdrant.VectorsConfig, spec: CollectionSpec
) -> None:
    params = found.params_map.map
    if wire.VECTOR_NAME not in params:
        raise CollectionMismatch(
            f"collection {collection!r} exists and is not one of Headrace's: it has no "
            f"vector named {wire.VECTOR_NAME!r}. Ingest into another collection."
        )
    vector = params[wire.VECTOR_NAME]
    _compare(collection, found={"dimensions": vector.size}, spec=spec)
    if vector.distance != qdrant.Distance.Cosine:
        raise CollectionMismatch(
            f"collection {collection!r} exists and does not compare by cosine. "
            "Ingest into another collection."
        )


def _compare(collection: str, *, found: dict[str, Any], spec: CollectionSpec) -> None:
    problem = payloads.mismatch(collection, found=found, wanted=spec)
    if problem:
        raise CollectionMismatch(problem)


MAJORITY = qdrant.ReadConsistency(type=qdrant.ReadConsistencyType.Majority)
"""For what is decided by: one replica may lag behind. Free where there is one copy."""
