"""The fault suite's own judgement: it must see what is wrong."""

from __future__ import annotations

from headrace.messages import Operation
from headrace.store import StoredPoint
from tests.faults.ledger import Ledger, compare


def point(
    number: int, text: str, *, revision: int = 1, live: str = "yes"
) -> StoredPoint:
    payload = {"revision": revision, "number": number, "text": text, "live": live}
    return StoredPoint(f"{revision}-{number}-{text}", payload)


def test_what_is_whole_and_once_is_fine() -> None:
    stored = {"d": [point(1, "turns"), point(0, "The wheel")], "gone": []}
    visible = compare({"d": "The wheel\n\nturns", "gone": None}, stored)
    assert not visible.lost
    assert not visible.twice


def test_a_missing_chunk_is_a_loss() -> None:
    stored = {"d": [point(0, "The wheel")]}
    assert compare({"d": "The wheel turns"}, stored).lost.keys() == {"d"}


def test_a_document_that_nobody_sent_or_that_was_deleted_is_a_loss() -> None:
    stored = {"d": [point(0, "a")], "e": [point(0, "b")]}
    assert compare({"d": None}, stored).lost.keys() == {"d", "e"}


def test_two_revisions_and_a_chunk_twice_are_duplicates() -> None:
    stored = {
        "d": [point(0, "old"), point(0, "new", revision=2)],
        "e": [point(0, "a"), point(0, "a")],
    }
    visible = compare({"d": "new", "e": "a"}, stored)
    assert visible.twice.keys() == {"d", "e"}
    assert not visible.lost


def test_what_is_not_live_is_not_visible() -> None:
    stored = {"d": [point(0, "old", live="no"), point(0, "new", revision=2)]}
    assert not compare({"d": "new"}, stored).twice


def test_the_ledger_follows_source_versions() -> None:
    ledger = Ledger()

    def upsert(text: str, version: int | None) -> None:
        ledger.accepted(
            "d", operation=Operation.UPSERT, text=text, source_version=version
        )

    upsert("three", 3)
    upsert("one", 1)
    upsert("other three", 3)
    assert ledger.expected == {"d": "three"}
    ledger.accepted("d", operation=Operation.DELETE, text=None, source_version=3)
    assert ledger.expected == {"d": None}
    upsert("without", None)
    assert ledger.expected == {"d": "without"}
