"""Points, their ids and vectors: on the wire and in Qdrant Edge. Pure: no I/O."""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

import qdrant_edge as edge

from headrace.qdrant_messages import qdrant
from headrace.qdrant_values import payload_to_python, to_wire_map
from headrace_local.store.errors import invalid, unsupported

UNNAMED = ""
"""How Edge calls the vector of a collection with only one, unnamed."""


@dataclass(frozen=True, slots=True)
class VectorSchema:
    """The vectors that a collection's points may have: name to dimensions."""

    sizes: Mapping[str, int]

    @property
    def named(self) -> bool:
        """Whether vectors are given by name."""
        return UNNAMED not in self.sizes

    def check(self, name: str, size: int) -> None:
        """Refuse what Edge would refuse.

        Edge writes an operation to its log before it looks at it, and applies a part of
        a failed one when the log is read again: nothing wrong may reach it.

        Raises:
            Refused: there is no such vector, or it has other dimensions.
        """
        wanted = self.sizes.get(name)
        if wanted is None:
            raise invalid(f"Not existing vector name error: {name}")
        if size != wanted:
            raise invalid(f"Vector dimension error: expected dim: {wanted}, got {size}")


def point_id(wire: qdrant.PointId) -> edge.PointId:
    """A number or a UUID.

    Raises:
        Refused: neither.
    """
    match wire.WhichOneof("point_id_options"):
        case "num":
            return wire.num
        case "uuid":
            try:
                return UUID(wire.uuid)
            except ValueError:
                raise invalid(f"Unable to parse UUID: {wire.uuid}") from None
    raise invalid("a point has no id")


def id_to_wire(identity: edge.PointId) -> qdrant.PointId:
    """The inverse of ``point_id``."""
    if isinstance(identity, int):
        return qdrant.PointId(num=identity)
    return qdrant.PointId(uuid=str(identity))


def dense(wire: qdrant.DenseVector) -> list[float]:
    """Its numbers; through its bytes, which costs half of asking for one at a time."""
    floats = array("f")
    length = len(wire.data) * floats.itemsize
    if length:
        floats.frombytes(wire.SerializeToString()[-length:])
    return floats.tolist()


def point(wire: qdrant.PointStruct, *, schema: VectorSchema) -> edge.Point:
    """A point to be stored.

    Raises:
        Refused: it does not fit the collection.
    """
    return edge.Point(
        point_id(wire.id), _vectors(wire, schema), payload_to_python(wire.payload)
    )


def _vectors(wire: qdrant.PointStruct, schema: VectorSchema) -> edge.Vector:
    match wire.vectors.WhichOneof("vectors_options"):
        case None:
            return {}
        case "vector":
            return _vector(wire.vectors.vector, name=UNNAMED, schema=schema)
        case _:
            return {
                name: _vector(vector, name=name, schema=schema)
                for name, vector in wire.vectors.vectors.vectors.items()
            }


def _vector(wire: qdrant.Vector, *, name: str, schema: VectorSchema) -> list[float]:
    kind = wire.WhichOneof("vector")
    if kind == "dense":
        numbers = dense(wire.dense)
    elif kind is None and not wire.HasField("indices"):
        numbers = list(wire.data)  # as clients older than Qdrant 1.12 send them
    else:
        raise unsupported(f"vectors of the kind `{kind or 'sparse'}`")
    schema.check(name, len(numbers))
    return numbers


def payload_selector(wire: qdrant.WithPayloadSelector) -> edge.WithPayloadType:
    """Which fields to answer with."""
    match wire.WhichOneof("selector_options"):
        case "enable":
            return wire.enable
        case "include":
            return edge.PayloadSelector.Include(list(wire.include.fields))
        case "exclude":
            return edge.PayloadSelector.Exclude(list(wire.exclude.fields))
    return False


def vectors_selector(wire: qdrant.WithVectorsSelector) -> edge.WithVectorType:
    """Which vectors to answer with."""
    if wire.WhichOneof("selector_options") == "include":
        return list(wire.include.names)
    return wire.enable


def vectors_to_wire(vectors: edge.Vector | None) -> qdrant.VectorsOutput | None:
    """The vectors of an answer; none for a point that has none."""
    if not vectors:
        return None
    if isinstance(vectors, dict):
        if UNNAMED not in vectors:
            named = {name: _output(vector) for name, vector in vectors.items()}
            return qdrant.VectorsOutput(
                vectors=qdrant.NamedVectorsOutput(vectors=named)
            )
        return qdrant.VectorsOutput(vector=_output(vectors[UNNAMED]))
    return qdrant.VectorsOutput(vector=_output(vectors))


def _output(vector: object) -> qdrant.VectorOutput:
    numbers: list[float] = vector  # type: ignore[assignment]  # only dense are stored
    return qdrant.VectorOutput(dense=qdrant.DenseVector(data=numbers))


def retrieved_to_wire(record: edge.Record) -> qdrant.RetrievedPoint:
    """A point as get and scroll answer it."""
    return qdrant.RetrievedPoint(
        id=id_to_wire(record.id),
        payload=to_wire_map(record.payload or {}),
        vectors=vectors_to_wire(record.vector),
        order_value=_order_value(getattr(record, "order_value", None)),
    )


def _order_value(value: float | None) -> qdrant.OrderValue | None:
    match value:
        case int():
            return qdrant.OrderValue(int=value)
        case float():
            return qdrant.OrderValue(float=value)
    return None


def scored_to_wire(scored: edge.ScoredPoint) -> qdrant.ScoredPoint:
    """A point as a query answers it."""
    return qdrant.ScoredPoint(
        id=id_to_wire(scored.id),
        payload=to_wire_map(scored.payload or {}),
        score=scored.score,
        version=scored.version,
        vectors=vectors_to_wire(scored.vector),
    )
