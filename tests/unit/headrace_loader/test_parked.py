"""What may go back follows from what was seen and what is paused."""

from __future__ import annotations

from headrace_loader.parked import ParkedPartition, collection_of
from hypothesis import given
from hypothesis import strategies as st

from headrace.identity import DocumentKey

COLLECTIONS = [("default", "a"), ("default", "b"), ("other", "a")]
KEYS = [
    DocumentKey(tenant, collection, id_).record_key
    for tenant, collection in COLLECTIONS
    for id_ in ("1", "2/3")
]
RECORDS = st.lists(st.sampled_from([*KEYS, b"", None]), max_size=20)
PAUSED = st.sets(st.sampled_from(COLLECTIONS))


@given(RECORDS, PAUSED, st.integers(0, 25))
def test_all_that_may_go_back_is_before_the_mark_and_the_last_of_it_just_so(
    keys: list[bytes | None], paused: set[tuple[str, str]], gone: int
) -> None:
    partition = ParkedPartition()
    for offset, key in enumerate(keys):
        partition.see(offset, key)
    partition.gone(gone)
    free = [
        offset
        for offset, key in enumerate(keys)
        if offset >= gone and collection_of(key) not in paused
    ]
    # Of a collection whose last record is gone, none is left.
    assert partition.until(paused.__contains__) == (free[-1] + 1 if free else 0)


@given(st.sampled_from(KEYS))
def test_a_key_names_its_collection(key: bytes) -> None:
    assert collection_of(key) in COLLECTIONS
