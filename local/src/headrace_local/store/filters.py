"""Qdrant's filters on the wire as those of Qdrant Edge. Pure: no I/O."""

from __future__ import annotations

from collections.abc import Iterable

import qdrant_edge as edge

from headrace.qdrant_messages import qdrant
from headrace_local.store.errors import invalid, unsupported
from headrace_local.store.points import point_id


def to_edge(wire: qdrant.Filter) -> edge.Filter:
    """A filter.

    Raises:
        Refused: it has something that Edge lacks, or gets wrong.
    """
    min_should = None
    if wire.HasField("min_should"):
        min_should = edge.MinShould(
            _conditions(wire.min_should.conditions), wire.min_should.min_count
        )
    return edge.Filter(
        must=_conditions(wire.must) or None,
        should=_conditions(wire.should) or None,
        must_not=_conditions(wire.must_not) or None,
        min_should=min_should,
    )


def _conditions(wire: Iterable[qdrant.Condition]) -> list[edge.ConditionType]:
    return [_condition(condition) for condition in wire]


def _condition(  # noqa: PLR0911  one per kind
    wire: qdrant.Condition,
) -> edge.ConditionType:
    match wire.WhichOneof("condition_one_of"):
        case "field":
            return _field(wire.field)
        case "filter":
            return to_edge(wire.filter)
        case "has_id":
            return edge.HasIdCondition({point_id(one) for one in wire.has_id.has_id})
        case "is_empty":
            return edge.IsEmptyCondition(wire.is_empty.key)
        case "is_null":
            return edge.IsNullCondition(wire.is_null.key)
        case "has_vector":
            return edge.HasVectorCondition(wire.has_vector.has_vector)
        case "nested":
            return edge.NestedCondition(wire.nested.key, to_edge(wire.nested.filter))
        case None:
            raise invalid("a filter has a condition without content")
        case other:
            raise unsupported(f"the condition `{other}`")


def _field(wire: qdrant.FieldCondition) -> edge.ConditionType:
    given = [field.name for field, _ in wire.ListFields() if field.name != "key"]
    if len(given) != 1:
        raise invalid(f"the condition on `{wire.key}` must have one check")
    match given[0]:
        case "match":
            return edge.FieldCondition(wire.key, match=_match(wire.key, wire.match))
        case "range":
            return edge.FieldCondition(wire.key, range=_range(wire.range))
        case "is_empty":
            return edge.FieldCondition(wire.key, is_empty=wire.is_empty)
        case "is_null":
            return edge.FieldCondition(wire.key, is_null=wire.is_null)
        case other:
            raise unsupported(f"the condition `{other}`")


def _match(  # noqa: PLR0911  one per kind
    key: str, wire: qdrant.Match
) -> edge.MatchType:
    match wire.WhichOneof("match_value"):
        case "keyword":
            return edge.MatchValue(wire.keyword)
        case "integer":
            return edge.MatchValue(wire.integer)
        case "keywords":
            return edge.MatchAny(list(wire.keywords.strings))
        case "integers":
            return edge.MatchAny(list(wire.integers.integers))
        case "except_keywords":
            return edge.MatchExcept(list(wire.except_keywords.strings))
        case "except_integers":
            return edge.MatchExcept(list(wire.except_integers.integers))
        case "text":
            return edge.MatchText(wire.text)
        case "boolean":
            # Edge 0.9 accepts the condition and finds nothing: worse than a refusal.
            raise unsupported(f"matching booleans (`{key}`); store a keyword instead")
        case None:
            raise invalid(f"the match on `{key}` has no value")
        case other:
            raise unsupported(f"the match `{other}`")


def _range(wire: qdrant.Range) -> edge.RangeFloat:
    return edge.RangeFloat(**{field.name: bound for field, bound in wire.ListFields()})
