from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from headrace import qdrant_wire as wire
from headrace.qdrant_messages import qdrant
from headrace.qdrant_values import payload_to_python, to_wire_map

ID = "0bc76915-41c8-5197-b975-b6a0d5893eeb"
INT64 = st.integers(-(2**63), 2**63 - 1)
VALUES = st.recursive(
    st.none() | INT64 | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4)
    ),
    max_leaves=12,
)
PAYLOADS = st.dictionaries(st.text(), VALUES, max_size=8)
VECTORS = st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=300)


def read(parts: wire.Parts) -> qdrant.PointStruct:
    point: qdrant.PointStruct = qdrant.PointStruct.FromString(b"".join(parts))
    assert wire.size(parts) == len(b"".join(parts))
    return point


def packed(numbers: list[float]) -> bytes:
    return np.array(numbers, dtype="<f4").tobytes()


@given(PAYLOADS, VECTORS)
def test_a_point_is_what_the_generated_classes_make_of_it(
    payload: dict[str, Any], numbers: list[float]
) -> None:
    written = wire.point(ID, wire.payload(payload), packed(numbers))
    vector = qdrant.Vector(dense=qdrant.DenseVector(data=numbers))
    assert read(written) == qdrant.PointStruct(
        id=qdrant.PointId(uuid=ID),
        payload=to_wire_map(payload),
        vectors=qdrant.Vectors(
            vectors=qdrant.NamedVectors(vectors={wire.VECTOR_NAME: vector})
        ),
    )


@given(PAYLOADS)
def test_payloads_come_back_as_they_were(payload: dict[str, Any]) -> None:
    point = read(wire.point(ID, wire.payload(payload)))
    assert payload_to_python(point.payload) == payload
    assert payload_to_python(to_wire_map(payload)) == payload
    assert not point.HasField("vectors")


@given(PAYLOADS, PAYLOADS)
def test_parts_of_a_payload_are_joined(
    one: dict[str, Any], two: dict[str, Any]
) -> None:
    parts = wire.payload(one) + wire.payload(two)
    point = read(wire.point(ID, parts))
    assert payload_to_python(point.payload) == {**one, **two}


def test_a_production_sized_vector_keeps_its_bytes() -> None:
    raw = np.random.default_rng(1).random(3072, dtype="<f4").tobytes()
    point = read(wire.point(ID, b"", raw))
    dense = point.vectors.vectors.vectors[wire.VECTOR_NAME].dense
    assert wire.floats(dense.SerializeToString(), len(dense.data)) == raw
    assert qdrant.DenseVector.FromString(wire.dense_vector(raw)) == dense


def test_a_batch_is_what_the_generated_classes_make_of_it() -> None:
    fields = {"text": "x" * 200, "number": 1}
    points = [wire.point(ID, wire.payload(fields), packed([1.0, 2.0]))] * 2
    condition = qdrant.Filter(must=[qdrant.Condition(has_id=qdrant.HasIdCondition())])
    delete = qdrant.PointsUpdateOperation(
        delete_points=qdrant.PointsUpdateOperation.DeletePoints(
            points=qdrant.PointsSelector(filter=condition)
        )
    )
    written = wire.update_batch(
        "größe",
        [
            wire.upsert(points, mode=0, update_filter=condition.SerializeToString()),
            wire.upsert(points[:1], mode=qdrant.UpdateMode.InsertOnly),
            [delete.SerializeToString()],
        ],
    )
    structs = [read(one) for one in points]
    upsert = qdrant.PointsUpdateOperation.PointStructList
    assert qdrant.UpdateBatchPoints.FromString(written) == qdrant.UpdateBatchPoints(
        collection_name="größe",
        wait=True,
        ordering=qdrant.WriteOrdering(type=qdrant.WriteOrderingType.Strong),
        operations=[
            qdrant.PointsUpdateOperation(
                upsert=upsert(points=structs, update_filter=condition)
            ),
            qdrant.PointsUpdateOperation(
                upsert=upsert(
                    points=structs[:1], update_mode=qdrant.UpdateMode.InsertOnly
                )
            ),
            delete,
        ],
    )


@given(
    name=st.text(),
    content=st.text() | INT64,
    bound=st.integers(0, 2**53),
    ids=st.lists(st.text(), max_size=3),
    fields=PAYLOADS,
)
def test_a_conditional_write_is_what_the_generated_classes_make_of_it(
    name: str, content: str | int, bound: int, ids: list[str], fields: dict[str, Any]
) -> None:
    written = wire.set_payload(
        [wire.equal(name, content), wire.less(name, bound), wire.has_id(*ids)], fields
    )
    key = "keyword" if isinstance(content, str) else "integer"
    match = qdrant.Match(**{key: content})
    below = qdrant.Range(lt=bound)
    wanted = qdrant.HasIdCondition(has_id=[qdrant.PointId(uuid=one) for one in ids])
    holds = qdrant.Filter(
        must=[
            qdrant.Condition(field=qdrant.FieldCondition(key=name, match=match)),
            qdrant.Condition(field=qdrant.FieldCondition(key=name, range=below)),
            qdrant.Condition(has_id=wanted),
        ]
    )
    assert qdrant.PointsUpdateOperation.FromString(
        b"".join(written)
    ) == qdrant.PointsUpdateOperation(
        set_payload=qdrant.PointsUpdateOperation.SetPayload(
            payload=to_wire_map(fields),
            points_selector=qdrant.PointsSelector(filter=holds),
        )
    )
