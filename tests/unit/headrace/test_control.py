"""What is paused follows from the records of the control topic, in their order."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.control import EVERYTHING, Control, Target
from headrace.errors import Unreadable
from headrace.messages import Pause, Stage
from headrace.wire import encode_pause
from tests.support import strategies

TARGETS = st.one_of(
    st.just(EVERYTHING),
    st.builds(Target, stage=st.sampled_from(Stage)),
    strategies.DOCUMENT_KEYS.map(
        lambda key: Target(tenant=key.tenant, collection=key.collection)
    ),
)


@given(target=TARGETS)
def test_a_target_is_found_again_by_its_key(target: Target) -> None:
    assert Target.from_record_key(target.record_key) == target


@given(st.lists(st.tuples(TARGETS, st.none() | strategies.PAUSES), max_size=12))
def test_of_each_target_the_last_record_counts(
    records: list[tuple[Target, Pause | None]],
) -> None:
    control = Control()
    for target, pause in records:
        value = None if pause is None else encode_pause(pause)
        control = control.after(target.record_key, value)
    last = dict(records)
    assert control.pauses == {each: why for each, why in last.items() if why}
    for stage in Stage:
        own, all_ = last.get(Target(stage=stage)), last.get(EVERYTHING)
        assert control.paused(stage) == (own or all_)
    for target, pause in last.items():
        if target.collection:
            paused = control.collection_paused(target.tenant, target.collection)
            assert paused == pause


@given(st.lists(st.tuples(TARGETS, st.none() | strategies.PAUSES), max_size=12))
def test_compaction_changes_nothing(
    records: list[tuple[Target, Pause | None]],
) -> None:
    def read(some: list[tuple[Target, Pause | None]]) -> Control:
        control = Control()
        for target, pause in some:
            value = None if pause is None else encode_pause(pause)
            control = control.after(target.record_key, value)
        return control

    kept = [
        each
        for index, each in enumerate(records)
        if all(target != each[0] for target, _ in records[index + 1 :])
    ]
    assert read(kept) == read(records)


@given(key=st.none() | st.binary(max_size=60), value=st.none() | st.binary(max_size=20))
def test_a_record_says_something_or_is_unreadable(
    key: bytes | None, value: bytes | None
) -> None:
    try:
        control = Control().after(key, value)
    except Unreadable:
        return
    assert {target.record_key for target in control.pauses} <= {key}


@pytest.mark.parametrize(
    "key",
    [
        b"",
        b"All",
        b"stage",
        b"stage/mill",
        b"stage/loader/0",
        b"collection/default",
        b"collection/default/a b",
        b"collection//docs",
        b"collection/default/%64ocs",
        b"collection/\xff/docs",
        b"tenant/default",
    ],
)
def test_other_keys_say_nothing(key: bytes) -> None:
    with pytest.raises(Unreadable):
        Control().after(key, None)


def test_a_pause_that_cannot_be_read_leaves_all_as_it_is() -> None:
    control = Control().after(b"all", encode_pause(Pause("me", "", 1)))
    with pytest.raises(Unreadable):
        control.after(b"all", b"\xff")
    assert control.paused(Stage.LOADER) == Pause("me", "", 1)


def test_all_does_not_park_collections() -> None:
    control = Control().after(b"all", encode_pause(Pause("me", "", 1)))
    assert control.collection_paused("default", "docs") is None
