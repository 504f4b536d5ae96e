"""Keys, arrivals and ids: inverses, order, and no two things under one name."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.identity import (
    Arrival,
    DocumentKey,
    InvalidKeyError,
    manifest_hash,
    point_id,
)

names = st.text(
    st.characters(exclude_categories=("Cs",)), min_size=1, max_size=30
).filter(lambda name: len(name.encode()) <= 128)
collections = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,19}", fullmatch=True)
keys = st.builds(DocumentKey, names, collections, names)
arrivals = st.builds(
    Arrival,
    st.integers(0, 5),
    st.sampled_from(["one", "other"]),
    st.integers(0, 1),
    st.integers(0, 5),
)


class TestDocumentKey:
    @given(keys)
    def test_a_record_key_leads_back_to_its_document(self, key: DocumentKey):
        assert DocumentKey.from_record_key(key.record_key) == key

    @given(keys, keys)
    def test_two_documents_never_share_a_record_key(
        self, one: DocumentKey, other: DocumentKey
    ):
        assert (one.record_key == other.record_key) == (one == other)
        assert (one.uuid == other.uuid) == (one == other)

    def test_a_slash_in_a_part_does_not_move_the_border_between_parts(self):
        one = DocumentKey("t", "c", "a/b")

        assert one.record_key == b"t/c/a%2Fb"
        assert DocumentKey("t/c", "a", "b").record_key == b"t%2Fc/a/b"

    @pytest.mark.parametrize(
        ("record_key", "code"),
        [
            (b"", "invalid_key"),
            (b"a/b", "invalid_key"),
            (b"a/b/c/d", "invalid_key"),
            (b"\xff/b/c", "invalid_key"),
            (b"a/b/%FF", "invalid_key"),
            (b"a/b/%2f", "invalid_key"),
            (b"a/b/c%20", "ok"),
            (b"a/b/", "missing_id"),
            (b"/b/c", "invalid_key"),
            (b"a//c", "invalid_collection"),
            (b"a/b%20c/d", "invalid_collection"),
        ],
    )
    def test_other_record_keys_are_refused_with_a_reason(
        self, record_key: bytes, code: str
    ):
        if code == "ok":
            DocumentKey.from_record_key(record_key)
            return
        with pytest.raises(InvalidKeyError) as raised:
            DocumentKey.from_record_key(record_key)
        assert raised.value.code == code

    @pytest.mark.parametrize(
        ("key", "code"),
        [
            (DocumentKey("t", "c", "x" * 1025), "invalid_key"),
            (DocumentKey("t", "c", "é" * 513), "invalid_key"),
            (DocumentKey("t" * 129, "c", "x"), "invalid_key"),
            (DocumentKey("t", "c" * 129, "x"), "invalid_collection"),
            (DocumentKey("t", "c\n", "x"), "invalid_collection"),
            (DocumentKey("t", "..", "x"), "invalid_collection"),
            (DocumentKey("t", "c__documents", "x"), "invalid_collection"),
        ],
    )
    def test_bounds_are_in_bytes(self, key: DocumentKey, code: str):
        with pytest.raises(InvalidKeyError) as raised:
            key.validate()
        assert raised.value.code == code


class TestArrival:
    @given(arrivals)
    def test_its_text_leads_back_to_it(self, arrival: Arrival):
        assert Arrival.parse(str(arrival)) == arrival

    @pytest.mark.parametrize("text", ["", "1/t/2", "1/t/2/3/4", "x/t/2/3"])
    def test_other_text_is_refused(self, text: str):
        with pytest.raises(ValueError):  # noqa: PT011  any wording will do
            Arrival.parse(text)

    def test_within_a_partition_offsets_decide_whatever_the_clock_says(self):
        first = Arrival(2_000, "t", 0, 1)
        second = Arrival(1_000, "t", 0, 2)

        assert first.before(second)
        assert not second.before(first)

    def test_across_partitions_time_decides(self):
        assert Arrival(1_000, "t", 1, 9).before(Arrival(1_001, "t", 0, 1))

    @given(arrivals, arrivals)
    def test_of_two_different_arrivals_exactly_one_is_before(
        self, one: Arrival, other: Arrival
    ):
        same_place = (one.topic_id, one.partition, one.offset) == (
            other.topic_id,
            other.partition,
            other.offset,
        )
        if not same_place:
            assert one.before(other) != other.before(one)
        assert not one.before(one)


class TestDerivedIds:
    def test_every_part_of_a_point_id_counts(self):
        key = DocumentKey("t", "c", "d")
        other = DocumentKey("t", "c", "e")
        ids = {
            point_id(of, revision=r, fingerprint=f, content_hash=h, number=n)
            for of in (key, other)
            for r in (1, 2)
            for f in ("a-b-c", "a-b-d")
            for h in (b"\x01", b"\x02")
            for n in (0, 1)
        }

        assert len(ids) == 32

    def test_a_manifest_hash_depends_on_borders_and_order(self):
        expected = hashlib.sha256(
            hashlib.sha256(b"ab").digest() + hashlib.sha256(b"c").digest()
        ).digest()

        assert manifest_hash(["ab", "c"]) == expected
        assert manifest_hash(["a", "bc"]) != expected
        assert manifest_hash(["c", "ab"]) != expected
