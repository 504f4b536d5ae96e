"""Changes: Qdrant's on the wire as those of Qdrant Edge. Pure: no I/O."""

from __future__ import annotations

import qdrant_edge as edge

from headrace.qdrant_messages import qdrant
from headrace.qdrant_values import payload_to_python
from headrace_local.store import filters
from headrace_local.store.errors import invalid, unsupported
from headrace_local.store.points import VectorSchema, point, point_id

_MODES = {
    qdrant.UpdateMode.Upsert: edge.UpdateMode.Upsert,
    qdrant.UpdateMode.InsertOnly: edge.UpdateMode.InsertOnly,
    qdrant.UpdateMode.UpdateOnly: edge.UpdateMode.UpdateOnly,
}

_INDEXES = {
    qdrant.FieldType.FieldTypeKeyword: edge.PayloadSchemaType.Keyword,
    qdrant.FieldType.FieldTypeInteger: edge.PayloadSchemaType.Integer,
    qdrant.FieldType.FieldTypeFloat: edge.PayloadSchemaType.Float,
    qdrant.FieldType.FieldTypeText: edge.PayloadSchemaType.Text,
    qdrant.FieldType.FieldTypeDatetime: edge.PayloadSchemaType.Datetime,
    qdrant.FieldType.FieldTypeUuid: edge.PayloadSchemaType.Uuid,
}


def to_edge(
    wire: qdrant.PointsUpdateOperation, *, schema: VectorSchema
) -> edge.UpdateOperation:
    """One operation, checked so that Edge will not refuse it.

    Raises:
        Refused: it makes no sense for this collection, or is not offered.
    """
    match wire.WhichOneof("operation"):
        case "upsert":
            return _upsert(wire.upsert, schema)
        case "set_payload":
            return _set_payload(wire.set_payload)
        case "delete_points":
            return _delete(wire.delete_points.points)
        case None:
            raise invalid("an operation is empty")
        case other:
            raise unsupported(f"the operation `{other}`")


def _upsert(
    wire: qdrant.PointsUpdateOperation.PointStructList, schema: VectorSchema
) -> edge.UpdateOperation:
    return edge.UpdateOperation.upsert_points(
        [point(one, schema=schema) for one in wire.points],
        condition=(
            filters.to_edge(wire.update_filter)
            if wire.HasField("update_filter")
            else None
        ),
        update_mode=_MODES[wire.update_mode],
    )


def _set_payload(
    wire: qdrant.PointsUpdateOperation.SetPayload,
) -> edge.UpdateOperation:
    return edge.UpdateOperation.set_payload_by_filter(
        _selected(wire.points_selector),
        payload_to_python(wire.payload),
        wire.key if wire.HasField("key") else None,
    )


def _delete(wire: qdrant.PointsSelector) -> edge.UpdateOperation:
    return edge.UpdateOperation.delete_points_by_filter(_selected(wire))


def _selected(wire: qdrant.PointsSelector) -> edge.Filter:
    """Points by filter; ids too, since Edge fails where one of them is unknown."""
    match wire.WhichOneof("points_selector_one_of"):
        case "points":
            ids = {point_id(one) for one in wire.points.ids}
            return edge.Filter(must=[edge.HasIdCondition(ids)])
        case "filter":
            return filters.to_edge(wire.filter)
    raise invalid("an operation selects no points")


def field_index(wire: qdrant.CreateFieldIndexCollection) -> edge.UpdateOperation:
    """A payload index; parameters beyond the type tune large servers: ignored.

    Raises:
        Refused: a type that is not offered.
    """
    schema = _INDEXES.get(wire.field_type) if wire.HasField("field_type") else None
    if schema is None:
        raise unsupported(f"an index of this type on `{wire.field_name}`")
    return edge.UpdateOperation.create_field_index(wire.field_name, schema)
