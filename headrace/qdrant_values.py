"""Payloads: Qdrant's JSON values on the wire, and Python's. Pure: no I/O."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headrace.qdrant_messages import qdrant


def to_python(value: qdrant.Value) -> Any:
    """One value."""
    kind = value.WhichOneof("kind")
    # What nearly all of a state record's fields are.
    if kind == "string_value":
        return value.string_value
    if kind == "integer_value":
        return value.integer_value
    if kind is None or kind == "null_value":
        return None
    if kind == "struct_value":
        return payload_to_python(value.struct_value.fields)
    if kind == "list_value":
        return [to_python(item) for item in value.list_value.values]
    return getattr(value, kind)


def payload_to_python(payload: Mapping[str, qdrant.Value]) -> dict[str, Any]:
    """A whole payload, or a nested object."""
    # Protobuf's maps write ``items`` in Python.
    return {name: to_python(payload[name]) for name in payload}


def to_wire(value: Any) -> qdrant.Value:  # noqa: PLR0911  one per kind
    """The inverse of ``to_python``."""
    match value:
        case None:
            return qdrant.Value(null_value=qdrant.NULL_VALUE)
        case bool():
            return qdrant.Value(bool_value=value)
        case int():
            return qdrant.Value(integer_value=value)
        case float():
            return qdrant.Value(double_value=value)
        case str():
            return qdrant.Value(string_value=value)
        case list():
            items = [to_wire(item) for item in value]
            return qdrant.Value(list_value=qdrant.ListValue(values=items))
        case dict():
            return qdrant.Value(struct_value=qdrant.Struct(fields=to_wire_map(value)))
    raise TypeError(f"{type(value).__name__} is no JSON value")


def to_wire_map(payload: Mapping[str, Any]) -> dict[str, qdrant.Value]:
    """The inverse of ``payload_to_python``."""
    return {name: to_wire(value) for name, value in payload.items()}
