"""One collection: a Qdrant Edge shard, what it was made with, and who may write."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from pathlib import Path

import grpc
import qdrant_edge as edge
from google.protobuf.message import Message

from headrace.qdrant_messages import qdrant
from headrace_local.store.errors import Refused, invalid, missing, unsupported
from headrace_local.store.points import UNNAMED, VectorSchema
from headrace_local.store.room import has_room, require_room

_log = logging.getLogger(__name__)

_PLACEHOLDER = "-"
"""Edge wants at least one vector; points of collections without any leave this out."""

_DISTANCES = {
    qdrant.Distance.Cosine: edge.Distance.Cosine,
    qdrant.Distance.Dot: edge.Distance.Dot,
    qdrant.Distance.Euclid: edge.Distance.Euclid,
    qdrant.Distance.Manhattan: edge.Distance.Manhattan,
}

_NEVER_INDEX_KB = 1_000_000_000
"""Searches compare every vector: exact, and about 20 ms for 100,000 of 384 dimensions.
Edge builds an HNSW graph at 1.3 ms of CPU a point while it holds the interpreter's
lock, so nothing would be answered meanwhile."""

_NOT_DENSE = ("multivector_config", "quantization_config", "datatype")
_WHOLE_COLLECTION = ("quantization_config", "sparse_vectors_config", "sharding_method")


def vector_params(request: qdrant.CreateCollection) -> dict[str, qdrant.VectorParams]:
    """The vectors that a collection is to have, by name.

    Raises:
        Refused: it asks for more than dense float vectors.
    """
    _refuse(request, _WHOLE_COLLECTION)
    match request.vectors_config.WhichOneof("config"):
        case "params":
            params = {UNNAMED: request.vectors_config.params}
        case "params_map":
            params = dict(request.vectors_config.params_map.map)
        case _:
            params = {}
    for one in params.values():
        _refuse(one, _NOT_DENSE)
        if one.distance not in _DISTANCES:
            raise invalid("a vector has no distance")
        if not 1 <= one.size <= 65_536:
            raise invalid(f"a vector cannot have {one.size} dimensions")
    return params


def _refuse(message: Message, options: Sequence[str]) -> None:
    for field, _ in message.ListFields():
        if field.name in options:
            raise unsupported(f"`{field.name}`")


def _config(params: dict[str, qdrant.VectorParams]) -> edge.EdgeConfig:
    vectors = {
        name: edge.EdgeVectorParams(
            size=one.size,
            distance=_DISTANCES[one.distance],
            memory=edge.Memory.Cold,
        )
        for name, one in params.items()
    } or {_PLACEHOLDER: edge.EdgeVectorParams(size=1, distance=edge.Distance.Dot)}
    return edge.EdgeConfig(
        vectors=vectors,
        payload_memory=edge.Memory.Cold,
        hnsw_config=edge.HnswIndexConfig(
            m=0, ef_construct=4, full_scan_threshold=_NEVER_INDEX_KB
        ),
        optimizers=edge.EdgeOptimizersConfig(indexing_threshold=_NEVER_INDEX_KB),
    )


class Collection:
    """Thread-safe: one writer at a time, in order; reads beside it.

    A write that returned survives the death of the process: Edge has put it into its
    write-ahead log. ``flush`` moves it to the segments and shortens the log.
    """

    def __init__(self, path: Path, request: qdrant.CreateCollection) -> None:
        self.request = request
        self._path = path
        self._params = vector_params(request)
        self.schema = VectorSchema(
            {name: one.size for name, one in self._params.items()}
        )
        self._lock = threading.Lock()
        self._written = False
        self._closed = False
        self._shard = edge.EdgeShard.load(str(path), _config(self._params))
        if has_room(path):
            # Gives back the space of removed points, where they are many; for which
            # it needs some first.
            self._shard.optimize()

    @staticmethod
    def create(path: Path, request: qdrant.CreateCollection) -> None:
        """Make an empty one on disk.

        Raises:
            Refused: it cannot be had here.
        """
        config = _config(vector_params(request))
        path.mkdir(parents=True)
        edge.EdgeShard.create(str(path), config).close()

    @property
    def shard(self) -> edge.EdgeShard:
        """For reading.

        Raises:
            Refused: the collection was removed meanwhile.
        """
        if self._closed:
            raise missing(self.request.collection_name)
        return self._shard

    def write(self, operations: Sequence[edge.UpdateOperation]) -> None:
        """Apply operations, all of them translated and checked, in order.

        Raises:
            Refused: the disk or Edge failed; some may have been applied.
        """
        with self._lock:
            shard = self.shard
            require_room(self._path)
            self._written = True
            for operation in operations:
                try:
                    shard.update(operation)
                except Exception as error:  # Edge has no class of its own for errors
                    raise Refused(
                        grpc.StatusCode.INTERNAL, f"Service internal error: {error}"
                    ) from error

    def flush(self) -> None:
        """Write to the segments what is only in the log.

        Where that fails it is tried again the next time: the log has it.
        """
        with self._lock:
            if not self._written or self._closed:
                return
            try:
                self._shard.flush()
            except Exception:  # noqa: BLE001  Edge has no class of its own
                name = self.request.collection_name
                _log.exception("collection %s cannot be flushed", name)
            else:
                self._written = False

    def close(self) -> None:
        """Flush and release the files; may be called twice."""
        self.flush()
        with self._lock:
            if not self._closed:
                self._closed = True
                self._shard.close()
