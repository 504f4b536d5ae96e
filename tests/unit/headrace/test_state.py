"""Acceptance: each rule by example, and what holds for every history of events."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.identity import Arrival, DocumentKey
from headrace.state import (
    Accepted,
    Candidate,
    Decision,
    StateRecord,
    Verdict,
    Visible,
    decide,
)

KEY = DocumentKey("default", "books", "moby")
NEW_FINGERPRINT = "p-c-m"


def content(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest() if name else b""


def arrival(position: int, *, partition: int = 0) -> Arrival:
    return Arrival(1_000 + position, "topic", partition, position)


def candidate(
    position: int, text: str, *, version: int | None = None, fingerprint: str = "p-c-m"
) -> Candidate:
    return Candidate(KEY, arrival(position), version, content(text), fingerprint)


def accepted(
    position: int,
    text: str,
    *,
    version: int | None = None,
    revision: int | None = None,
    floor: int | None = None,
    previous: int = 0,
) -> Accepted:
    return Accepted(
        arrival(position),
        version,
        content(text),
        1_000 + position if revision is None else revision,
        arrival(floor) if floor is not None else None,
        previous,
    )


def visible(last: Accepted, *, failed: int = 0) -> Visible:
    return Visible(last.revision, NEW_FINGERPRINT, last.content_hash, 3, failed)


def record_of(last: Accepted, seen: Visible | None = None, deleted: int = 0):
    return StateRecord(KEY, last, seen or Visible(), deleted)


class TestRules:
    def test_the_first_event_is_new(self):
        decision = decide(candidate(5, "a", version=7), None)

        assert decision == Decision(Verdict.NEW, accepted(5, "a", version=7))

    @pytest.mark.parametrize("text", ["a", ""], ids=["upsert", "delete"])
    def test_the_same_arrival_with_the_same_content_is_a_redelivery(self, text: str):
        last = accepted(5, text, version=7, revision=4_000)

        decision = decide(candidate(5, text, version=7), record_of(last))

        assert decision == Decision(Verdict.REDELIVERY, last)

    def test_a_redelivery_keeps_its_revision_under_another_fingerprint(self):
        last = accepted(5, "a")

        decision = decide(
            candidate(5, "a", fingerprint="p-c-other"), record_of(last, visible(last))
        )

        assert decision == Decision(Verdict.REDELIVERY, last)

    @pytest.mark.parametrize(
        ("event", "last"),
        [
            pytest.param(
                candidate(9, "b", version=6),
                accepted(5, "a", version=7),
                id="lower version though later",
            ),
            pytest.param(
                candidate(4, "b"), accepted(5, "a"), id="earlier, no versions"
            ),
            pytest.param(
                candidate(4, "b", version=9), accepted(5, "a"), id="last has none"
            ),
            pytest.param(
                candidate(4, "b"),
                accepted(5, "a", version=7, floor=4),
                id="this one has none",
            ),
            pytest.param(
                candidate(9, "b", version=7),
                accepted(5, "", version=7),
                id="upsert at the version of a delete",
            ),
            pytest.param(
                candidate(4, "a", version=7),
                accepted(5, "a", version=7),
                id="the same thing sent twice, the earlier one again",
            ),
            pytest.param(
                candidate(3, "b", version=9),
                accepted(5, "a", version=1, floor=4),
                id="arrived before an event without version",
            ),
        ],
    )
    def test_older_events_are_superseded(self, event: Candidate, last: Accepted):
        assert decide(event, record_of(last)) == Decision(Verdict.SUPERSEDED)

    def test_a_superseded_event_without_version_still_raises_the_floor(self):
        last = accepted(5, "a", version=7)

        decision = decide(candidate(4, ""), record_of(last))

        assert decision == Decision(Verdict.SUPERSEDED, replace(last, floor=arrival(4)))

    @pytest.mark.parametrize("position", [4, 6], ids=["earlier", "later"])
    def test_one_version_with_two_contents_is_a_conflict(self, position: int):
        last = accepted(5, "a", version=7)

        decision = decide(candidate(position, "b", version=7), record_of(last))

        assert decision == Decision(Verdict.VERSION_CONFLICT)

    def test_a_redelivery_whose_bytes_changed_is_a_new_revision(self):
        last = accepted(5, "a", version=7)

        decision = decide(candidate(5, "b", version=7), record_of(last))

        assert decision == Decision(
            Verdict.NEW,
            accepted(
                5,
                "b",
                version=7,
                revision=last.revision + 1,
                previous=last.revision,
            ),
        )

    @pytest.mark.parametrize("position", [4, 6], ids=["earlier", "later"])
    def test_a_delete_wins_over_an_upsert_of_its_version(self, position: int):
        last = accepted(5, "a", version=7)

        decision = decide(candidate(position, "", version=7), record_of(last))

        assert decision.verdict is Verdict.NEW

    def test_what_is_visible_already_is_unchanged(self):
        last = accepted(5, "a", version=7)

        decision = decide(candidate(6, "a", version=8), record_of(last, visible(last)))

        assert decision == Decision(
            Verdict.UNCHANGED, accepted(6, "a", version=8, revision=last.revision)
        )

    @pytest.mark.parametrize(
        ("event", "record"),
        [
            pytest.param(
                candidate(6, "a"),
                record_of(accepted(5, "a")),
                id="accepted, not yet visible",
            ),
            pytest.param(
                candidate(6, "a"),
                record_of(accepted(5, "a"), visible(accepted(5, "a"), failed=1)),
                id="with holes",
            ),
            pytest.param(
                candidate(6, "a"),
                record_of(accepted(5, "b"), visible(accepted(4, "a"))),
                id="something else was accepted since",
            ),
            pytest.param(
                candidate(6, "a", fingerprint="p-c-other"),
                record_of(accepted(5, "a"), visible(accepted(5, "a"))),
                id="made by other settings",
            ),
            pytest.param(
                candidate(6, "a"),
                record_of(accepted(5, ""), visible(accepted(4, "a")), 1_005),
                id="deleted since",
            ),
        ],
    )
    def test_anything_else_is_a_new_revision(
        self, event: Candidate, record: StateRecord
    ):
        decision = decide(event, record)

        assert decision.verdict is Verdict.NEW
        assert decision.accepted is not None
        assert decision.accepted.revision > record.accepted.revision

    def test_a_revision_follows_the_last_where_time_does_not(self):
        last = accepted(5, "a", revision=9_000)

        decision = decide(candidate(6, "b"), record_of(last))

        assert decision.accepted is not None
        assert decision.accepted.revision == 9_001


class TestStateRecord:
    def test_what_was_deleted_since_is_not_live(self):
        last = accepted(5, "a")

        assert record_of(last, visible(last), deleted=1_004).live_set is not None
        assert record_of(last, visible(last), deleted=1_005).live_set is None
        assert record_of(last).live_set is None

    @pytest.mark.parametrize(
        ("revision", "obsolete"), [(9, True), (10, True), (11, True), (12, False)]
    )
    def test_work_below_the_visible_is_obsolete(self, *, revision: int, obsolete: bool):
        record = record_of(accepted(5, "a"), Visible(12, "f", b"h", 1), deleted=10)

        assert record.obsolete(revision) is obsolete

    @pytest.mark.parametrize(
        ("revision", "obsolete"), [(14, True), (15, True), (16, False)]
    )
    def test_work_up_to_a_delete_is_obsolete(self, *, revision: int, obsolete: bool):
        record = record_of(accepted(5, "a"), Visible(12, "f", b"h", 1), deleted=15)

        assert record.obsolete(revision) is obsolete


@dataclass(frozen=True)
class Event:
    """What a producer sent, where it landed."""

    arrival: Arrival
    version: int | None
    text: str

    @property
    def identity(self) -> tuple[Arrival, int | None, bytes]:
        return self.arrival, self.version, content(self.text)


class Document:
    """A document under the loader (``handle``) and the indexer (``index``)."""

    def __init__(self) -> None:
        self.record: StateRecord | None = None
        self.revisions: list[int] = []

    @property
    def identity(self) -> tuple[Arrival, int | None, bytes]:
        assert self.record is not None
        last = self.record.accepted
        return last.arrival, last.source_version, last.content_hash

    def handle(self, event: Event, *, text: str | None = None) -> Verdict:
        found = Candidate(
            KEY,
            event.arrival,
            event.version,
            content(event.text if text is None else text),
            NEW_FINGERPRINT,
        )
        decision = decide(found, self.record)
        if decision.verdict is Verdict.NEW:
            assert decision.accepted is not None
            self.revisions.append(decision.accepted.revision)
        if decision.accepted is not None:
            record = self.record or StateRecord(KEY, decision.accepted)
            self.record = replace(record, accepted=decision.accepted)
            if decision.verdict is Verdict.NEW and found.deletes:
                self.record = replace(
                    self.record, deleted_revision=decision.accepted.revision
                )
        return decision.verdict

    def index(self, *, failed: int) -> None:
        record = self.record
        if record is not None and not record.obsolete(record.accepted.revision):
            seen = visible(record.accepted, failed=failed)
            self.record = replace(record, visible=seen)


def newest(events: list[Event]) -> Event:
    """What must be accepted in the end, by definition and not by ``decide``.

    An event without version ends all that arrived before it; among those after it the
    highest version wins, a delete before an upsert, then the later arrival.
    """
    unversioned = [event for event in events if event.version is None]
    last = max(unversioned, key=lambda event: event.arrival._order, default=None)
    after = [
        event
        for event in events
        if event.version is not None
        and (last is None or last.arrival.before(event.arrival))
    ]
    if not after:
        assert last is not None
        return last
    return max(
        after,
        key=lambda event: (event.version, not event.text, event.arrival._order),
    )


@st.composite
def histories(draw: st.DrawFn, versions: str = "mixed") -> list[Event]:
    """Events in order of arrival, in two partitions, some at the same instant."""
    events: list[Event] = []
    now = 0
    for position in range(draw(st.integers(1, 7))):
        now += draw(st.integers(0, 2))
        partition = draw(st.integers(0, 1))
        versioned = versions == "all" or (versions == "mixed" and draw(st.booleans()))
        version = draw(st.integers(1, 4)) if versioned else None
        text = draw(st.sampled_from(["a", "b"])) if version is None else f"v{version}"
        if draw(st.integers(0, 3)) == 0:
            text = ""
        where = Arrival(now, "topic", partition, position)
        events.append(Event(where, version, text))
    return sorted(events, key=lambda event: event.arrival._order)


def play(document: Document, order: list[Event], data: st.DataObject) -> None:
    """Handle events in this order, with the indexer at work now and then."""
    for event in order:
        document.handle(event)
        if data.draw(st.booleans(), label="index"):
            document.index(failed=data.draw(st.integers(0, 1), label="failed"))


def shuffled_with_repetition(events: list[Event], data: st.DataObject) -> list[Event]:
    again = data.draw(st.lists(st.sampled_from(events), max_size=5), label="again")
    return data.draw(st.permutations(events + again), label="order")


class TestHistories:
    @given(
        st.sampled_from(["all", "none"]).flatmap(histories),
        st.data(),
    )
    @settings(max_examples=100)
    def test_the_newest_wins_in_every_order_and_repetition(
        self, events: list[Event], data: st.DataObject
    ):
        document = Document()
        play(document, shuffled_with_repetition(events, data), data)

        assert document.identity == newest(events).identity

    @given(histories(), st.data())
    @settings(max_examples=100)
    def test_mixed_versions_in_order_of_arrival_survive_redelivery(
        self, events: list[Event], data: st.DataObject
    ):
        order: list[Event] = []
        for position, event in enumerate(events):
            seen = st.sampled_from(events[: position + 1])
            order += [event, *data.draw(st.lists(seen, max_size=2), label="again")]
        document = Document()
        play(document, order, data)

        assert document.identity == newest(events).identity

    @given(histories(), st.data())
    @settings(max_examples=100)
    def test_mixed_versions_in_any_order_settle_when_delivered_again(
        self, events: list[Event], data: st.DataObject
    ):
        document = Document()
        play(document, data.draw(st.permutations(events), label="first"), data)
        play(document, shuffled_with_repetition(events, data), data)

        assert document.identity == newest(events).identity

        settled = document.record
        verdicts = {document.handle(event) for event in events}

        assert settled == document.record
        assert verdicts <= {Verdict.REDELIVERY, Verdict.SUPERSEDED}

    @given(histories(), st.data())
    @settings(max_examples=100)
    def test_no_delete_is_undone_by_what_arrived_before_it(
        self, events: list[Event], data: st.DataObject
    ):
        document = Document()
        deletes: list[Event] = []
        for event in shuffled_with_repetition(events, data):
            verdict = document.handle(event)
            if any(event.arrival.before(delete.arrival) for delete in deletes):
                assert verdict is Verdict.SUPERSEDED
            if event.version is None and not event.text:
                deletes.append(event)

    @given(histories("all"), st.data())
    def test_no_delete_is_undone_by_its_own_or_a_lower_version(
        self, events: list[Event], data: st.DataObject
    ):
        document = Document()
        deleted = 0
        for event in shuffled_with_repetition(events, data):
            verdict = document.handle(event)
            assert event.version is not None
            if event.text and event.version <= deleted:
                assert verdict is Verdict.SUPERSEDED
            if not event.text:
                deleted = max(deleted, event.version)

    @given(histories(), st.data())
    def test_revisions_rise_strictly_and_keep_up_with_time(
        self, events: list[Event], data: st.DataObject
    ):
        document = Document()
        for event in shuffled_with_repetition(events, data):
            before = len(document.revisions)
            text = data.draw(st.sampled_from([event.text, "other bytes"]))
            document.handle(event, text=text if event.text else "")
            if len(document.revisions) > before:
                assert document.revisions[-1] >= event.arrival.append_time_ms

        assert document.revisions == sorted(set(document.revisions))

    @given(histories(), st.data())
    def test_a_url_that_answers_other_bytes_changes_content_and_never_the_winner(
        self, events: list[Event], data: st.DataObject
    ):
        document = Document()
        play(document, events, data)
        winner = newest(events)
        if winner.text:
            assert document.handle(winner, text="other bytes") is Verdict.NEW
        for event in data.draw(st.permutations(events), label="again"):
            if event.arrival != winner.arrival:
                verdict = document.handle(event)
                assert verdict in {Verdict.SUPERSEDED, Verdict.VERSION_CONFLICT}

        assert document.identity[:2] == winner.identity[:2]
