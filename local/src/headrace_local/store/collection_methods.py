"""Qdrant's ``Collections`` service, as far as the local store offers it."""

from __future__ import annotations

import qdrant_edge as edge

from headrace.qdrant_messages import qdrant
from headrace_local.store.catalog import Catalog
from headrace_local.store.collection import Collection


class CollectionMethods:
    """Each method answers one request, or raises ``Refused``."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def create(
        self, request: qdrant.CreateCollection
    ) -> qdrant.CollectionOperationResponse:
        """Options about replicas, shards and tuning mean nothing here: ignored."""
        self._catalog.create(request)
        return qdrant.CollectionOperationResponse(result=True)

    def delete(
        self, request: qdrant.DeleteCollection
    ) -> qdrant.CollectionOperationResponse:
        """False where there was none."""
        result = self._catalog.delete(request.collection_name)
        return qdrant.CollectionOperationResponse(result=result)

    def exists(
        self, request: qdrant.CollectionExistsRequest
    ) -> qdrant.CollectionExistsResponse:
        """Whether there is one."""
        found = self._catalog.exists(request.collection_name)
        return qdrant.CollectionExistsResponse(
            result=qdrant.CollectionExists(exists=found)
        )

    def list(self, _: qdrant.ListCollectionsRequest) -> qdrant.ListCollectionsResponse:
        """Every name."""
        return qdrant.ListCollectionsResponse(
            collections=[
                qdrant.CollectionDescription(name=one.request.collection_name)
                for one in self._catalog.all()
            ]
        )

    def get(
        self, request: qdrant.GetCollectionInfoRequest
    ) -> qdrant.GetCollectionInfoResponse:
        """What it was made with, and how much is in it."""
        collection = self._catalog.get(request.collection_name)
        return qdrant.GetCollectionInfoResponse(result=_describe(collection))


def _describe(collection: Collection) -> qdrant.CollectionInfo:
    info, created = collection.shard.info(), collection.request
    config = qdrant.CollectionConfig(
        params=qdrant.CollectionParams(
            shard_number=1,
            replication_factor=1,
            write_consistency_factor=1,
            on_disk_payload=True,
            vectors_config=(
                created.vectors_config if created.HasField("vectors_config") else None
            ),
        ),
        # Clients insist on these.
        hnsw_config=qdrant.HnswConfigDiff(m=0, ef_construct=4, full_scan_threshold=0),
        optimizer_config=qdrant.OptimizersConfigDiff(
            deleted_threshold=0.2,
            vacuum_min_vector_number=1000,
            default_segment_number=1,
            flush_interval_sec=5,
        ),
        wal_config=qdrant.WalConfigDiff(wal_capacity_mb=32, wal_segments_ahead=0),
        metadata=dict(created.metadata),
    )
    return qdrant.CollectionInfo(
        status=qdrant.CollectionStatus.Green,
        optimizer_status=qdrant.OptimizerStatus(ok=True),
        segments_count=info.segments_count,
        points_count=info.points_count,
        indexed_vectors_count=info.indexed_vectors_count,
        config=config,
        payload_schema={
            name: qdrant.PayloadSchemaInfo(
                data_type=_SCHEMA_TYPES.get(
                    str(index.data_type), qdrant.PayloadSchemaType.UnknownType
                ),
                points=index.points,
            )
            for name, index in info.payload_schema.items()
        },
    )


_SCHEMA_TYPES: dict[str, qdrant.PayloadSchemaType.ValueType] = {
    str(edge.PayloadSchemaType.Keyword): qdrant.PayloadSchemaType.Keyword,
    str(edge.PayloadSchemaType.Integer): qdrant.PayloadSchemaType.Integer,
    str(edge.PayloadSchemaType.Float): qdrant.PayloadSchemaType.Float,
    str(edge.PayloadSchemaType.Text): qdrant.PayloadSchemaType.Text,
    str(edge.PayloadSchemaType.Datetime): qdrant.PayloadSchemaType.Datetime,
    str(edge.PayloadSchemaType.Uuid): qdrant.PayloadSchemaType.Uuid,
}
