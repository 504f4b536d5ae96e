from __future__ import annotations

from dataclasses import replace
from uuid import uuid5

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace import qdrant_payload as payloads
from headrace.identity import NAMESPACE, Arrival, DocumentKey
from headrace.messages import Hole, Manifest
from headrace.state import Accepted, StateRecord, Visible
from tests.support.store_values import SPEC, chunk, document, set_of

ARRIVALS = st.builds(
    Arrival,
    st.integers(0, 2**53),
    st.text("abc-_", min_size=1, max_size=8),
    st.integers(0, 99),
    st.integers(0, 2**53),
)
RECORDS = st.builds(
    StateRecord,
    key=st.builds(DocumentKey, st.text(min_size=1), st.just("c"), st.text(min_size=1)),
    accepted=st.builds(
        Accepted,
        arrival=ARRIVALS,
        source_version=st.none() | st.integers(-(2**63), 2**63 - 1),
        content_hash=st.binary(max_size=32),
        revision=st.integers(1, 2**53),
        floor=st.none() | ARRIVALS,
        previous=st.integers(0, 2**53),
    ),
    visible=st.builds(
        Visible,
        revision=st.integers(0, 2**53),
        fingerprint=st.text(),
        content_hash=st.binary(max_size=32),
        count=st.integers(0, 2**31),
        failed=st.integers(0, 2**31),
    ),
    deleted_revision=st.integers(0, 2**53),
    name=st.text(),
)


@given(RECORDS)
def test_a_state_record_comes_back_as_it_was(record: StateRecord) -> None:
    fields = payloads.state_fields(record)
    assert payloads.state_of("c", fields) == record
    # A store forgets what is null.
    kept = {name: value for name, value in fields.items() if value is not None}
    assert payloads.state_of("c", kept) == record


def test_a_collections_spec_comes_back_as_it_was() -> None:
    assert payloads.spec_of(payloads.spec_fields(SPEC)) == SPEC


def test_the_id_of_a_point_is_the_uuid_of_its_name() -> None:
    owner = document(DocumentKey("мир", "c", "a/b"), 7)
    name = f"{owner.key}#7#{owner.fingerprint}#{owner.content_hash.hex()}#12"
    assert payloads.chunk_id(chunk(owner, 12)) == str(uuid5(NAMESPACE, name))


def test_a_point_names_its_set() -> None:
    owner = document(DocumentKey("t", "c", "d"), 7)
    fields = payloads.document_fields(owner)
    assert payloads.chunk_set_of("c", fields) == set_of(owner)
    wanted = payloads.chunk_set_fields(set_of(owner))
    assert wanted.items() <= fields.items()


def test_only_the_last_chunk_has_the_manifest() -> None:
    owner = document(DocumentKey("t", "c", "d"))
    last = chunk(owner, 1, manifest=Manifest(2, b"h"))
    assert payloads.manifest_of(payloads.chunk_fields(last)) == Manifest(2, b"h")
    assert payloads.manifest_of(payloads.chunk_fields(chunk(owner, 0))) is None


def test_a_hole_says_why() -> None:
    owner = document(DocumentKey("t", "c", "d"))
    fields = payloads.chunk_fields(chunk(owner, hole=Hole("rejected", "too long")))
    assert fields["state"] == "hole"
    assert fields["hole_reason"] == "rejected"
    assert fields["hole_detail"] == "too long"


@pytest.mark.parametrize(
    "stored",
    [
        chunk(document(DocumentKey("t", "c", "d")), 3, live=True),
        chunk(document(DocumentKey("t", "c", "d")), 3, hole=Hole("x")),
    ],
)
def test_no_payload_has_a_boolean(stored: object) -> None:
    fields = payloads.chunk_fields(stored)  # type: ignore[arg-type]
    assert not any(isinstance(value, bool) for value in fields.values())


def test_a_mismatch_names_each_difference_and_the_ways_out() -> None:
    wanted = replace(SPEC, model="new", dimensions=9)
    problem = payloads.mismatch("c", found=payloads.spec_fields(SPEC), wanted=wanted)
    assert problem is not None
    for part in ("model", "'new'", "dimensions", "another collection", "drop"):
        assert part in problem
    assert "prefix" not in problem
    assert payloads.mismatch("c", found=payloads.spec_fields(SPEC), wanted=SPEC) is None
