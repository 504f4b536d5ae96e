"""Qdrant's ``Points`` service, as far as the local store offers it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import qdrant_edge as edge

from headrace.qdrant_messages import qdrant
from headrace_local.store import filters, operations, points
from headrace_local.store.catalog import Catalog
from headrace_local.store.errors import Refused, invalid, unsupported

T = TypeVar("T")

_DEFAULT_LIMIT = 10


class PointMethods:
    """Each method answers one request, or raises ``Refused``.

    Every write is applied when it is answered, whether ``wait`` asks for it or not.
    Ordering and read consistency hold trivially: there is one copy.
    """

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def upsert(self, request: qdrant.UpsertPoints) -> qdrant.PointsOperationResponse:
        """Insert or replace points, on a condition if wanted."""
        operation = qdrant.PointsUpdateOperation.PointStructList(
            points=request.points,
            update_filter=_optional(request, "update_filter"),
            update_mode=request.update_mode,
        )
        return self._write(
            request.collection_name, qdrant.PointsUpdateOperation(upsert=operation)
        )

    def delete(self, request: qdrant.DeletePoints) -> qdrant.PointsOperationResponse:
        """Remove points by id or filter."""
        operation = qdrant.PointsUpdateOperation.DeletePoints(points=request.points)
        return self._write(
            request.collection_name,
            qdrant.PointsUpdateOperation(delete_points=operation),
        )

    def set_payload(
        self, request: qdrant.SetPayloadPoints
    ) -> qdrant.PointsOperationResponse:
        """Set fields of points by id or filter."""
        operation = qdrant.PointsUpdateOperation.SetPayload(
            payload=request.payload,
            points_selector=_optional(request, "points_selector"),
            key=_optional(request, "key"),
        )
        return self._write(
            request.collection_name, qdrant.PointsUpdateOperation(set_payload=operation)
        )

    def update_batch(
        self, request: qdrant.UpdateBatchPoints
    ) -> qdrant.UpdateBatchResponse:
        """Several of them, in order; none where one makes no sense."""
        collection = self._catalog.get(request.collection_name)
        collection.write(
            [
                operations.to_edge(one, schema=collection.schema)
                for one in request.operations
            ]
        )
        done = qdrant.UpdateResult(status=qdrant.UpdateStatus.Completed)
        return qdrant.UpdateBatchResponse(result=[done] * len(request.operations))

    def create_field_index(
        self, request: qdrant.CreateFieldIndexCollection
    ) -> qdrant.PointsOperationResponse:
        """Index a field; again changes nothing."""
        collection = self._catalog.get(request.collection_name)
        collection.write([operations.field_index(request)])
        return _done()

    def get(self, request: qdrant.GetPoints) -> qdrant.GetResponse:
        """Points by id; unknown ids are left out."""
        collection = self._catalog.get(request.collection_name)
        found = _read(
            lambda: collection.shard.retrieve(
                [points.point_id(one) for one in request.ids],
                points.payload_selector(request.with_payload),
                points.vectors_selector(request.with_vectors),
            )
        )
        return qdrant.GetResponse(
            result=[points.retrieved_to_wire(one) for one in found]
        )

    def count(self, request: qdrant.CountPoints) -> qdrant.CountResponse:
        """Always exact."""
        collection = self._catalog.get(request.collection_name)
        wanted = edge.CountRequest(filter=_filter(request), exact=True)
        count = _read(lambda: collection.shard.count(wanted))
        return qdrant.CountResponse(result=qdrant.CountResult(count=count))

    def scroll(self, request: qdrant.ScrollPoints) -> qdrant.ScrollResponse:
        """One page, by id or by a field."""
        collection = self._catalog.get(request.collection_name)
        wanted = edge.ScrollRequest(
            offset=points.point_id(request.offset)
            if request.HasField("offset")
            else None,
            limit=request.limit if request.HasField("limit") else _DEFAULT_LIMIT,
            filter=_filter(request),
            with_payload=points.payload_selector(request.with_payload),
            with_vector=points.vectors_selector(request.with_vectors),
            order_by=_order_by(request.order_by)
            if request.HasField("order_by")
            else None,
        )
        page, following = _read(lambda: collection.shard.scroll(wanted))
        return qdrant.ScrollResponse(
            next_page_offset=None
            if following is None
            else points.id_to_wire(following),
            result=[points.retrieved_to_wire(one) for one in page],
        )

    def query(self, request: qdrant.QueryPoints) -> qdrant.QueryResponse:
        """Nearest points, or points in some order."""
        return qdrant.QueryResponse(result=self._query(request))

    def query_batch(
        self, request: qdrant.QueryBatchPoints
    ) -> qdrant.QueryBatchResponse:
        """Several of them."""
        return qdrant.QueryBatchResponse(
            result=[
                qdrant.BatchResult(result=self._query(one))
                for one in request.query_points
            ]
        )

    def _query(self, request: qdrant.QueryPoints) -> list[qdrant.ScoredPoint]:
        if request.prefetch:
            raise unsupported("`prefetch`")
        if request.HasField("lookup_from"):
            raise unsupported("`lookup_from`")
        collection = self._catalog.get(request.collection_name)
        wanted = edge.QueryRequest(
            limit=request.limit if request.HasField("limit") else _DEFAULT_LIMIT,
            offset=request.offset,
            query=_scoring(request, collection.schema),
            filter=_filter(request),
            score_threshold=(
                request.score_threshold if request.HasField("score_threshold") else None
            ),
            with_payload=points.payload_selector(request.with_payload),
            with_vector=points.vectors_selector(request.with_vectors),
        )
        found = _read(lambda: collection.shard.query(wanted))
        return [points.scored_to_wire(one) for one in found]

    def _write(
        self, collection_name: str, operation: qdrant.PointsUpdateOperation
    ) -> qdrant.PointsOperationResponse:
        collection = self._catalog.get(collection_name)
        collection.write([operations.to_edge(operation, schema=collection.schema)])
        return _done()


def _optional(message: Any, field: str) -> Any:
    return getattr(message, field) if message.HasField(field) else None


def _done() -> qdrant.PointsOperationResponse:
    return qdrant.PointsOperationResponse(
        result=qdrant.UpdateResult(status=qdrant.UpdateStatus.Completed)
    )


def _read(call: Callable[[], T]) -> T:
    try:
        return call()
    except Refused:
        raise
    except Exception as error:  # Edge has no class of its own for errors
        raise invalid(str(error)) from error


def _filter(
    request: qdrant.CountPoints | qdrant.ScrollPoints | qdrant.QueryPoints,
) -> edge.Filter | None:
    return filters.to_edge(request.filter) if request.HasField("filter") else None


def _scoring(
    request: qdrant.QueryPoints, schema: points.VectorSchema
) -> edge.Query | edge.OrderBy | None:
    match request.query.WhichOneof("variant"):
        case None:
            return None
        case "order_by":
            return _order_by(request.query.order_by)
        case "nearest":
            kind = request.query.nearest.WhichOneof("variant")
            if kind != "dense":
                raise unsupported(f"queries by `{kind}`")
            numbers = points.dense(request.query.nearest.dense)
            schema.check(request.using, len(numbers))
            return edge.Query.Nearest(numbers, using=request.using)
        case other:
            raise unsupported(f"the query `{other}`")


def _order_by(wire: qdrant.OrderBy) -> edge.OrderBy:
    start_from: float | str | None = None
    match wire.start_from.WhichOneof("value"):
        case "integer":
            start_from = wire.start_from.integer
        case "float":
            start_from = wire.start_from.float
        case "datetime":
            start_from = wire.start_from.datetime
        case None:
            pass
        case other:
            raise unsupported(f"`start_from` with a {other}")
    descending = wire.direction == qdrant.Direction.Desc
    return edge.OrderBy(
        wire.key,
        edge.Direction.Desc if descending else edge.Direction.Asc,
        start_from,
    )
