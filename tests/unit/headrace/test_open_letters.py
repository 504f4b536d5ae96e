"""Which letters a command means."""

from __future__ import annotations

import pytest

from headrace.identity import DocumentKey
from headrace.messages import DeadLetter, Stage, StatusError
from headrace.open_letters import LetterFilter, OpenLetter, chosen, shown_key, when
from headrace.refusals import Refused


def letter(id_: str, **fields: object) -> OpenLetter:
    values: dict[str, object] = {
        "stage": Stage.LOADER,
        "error": StatusError("encrypted", "it has a password"),
        "attempts": 3,
        "origin_topic": "headrace.documents.v1",
        "origin_partition": 0,
        "origin_offset": 7,
        "origin_timestamp_ms": 0,
        "key": DocumentKey("default", "mill", f"{id_}.pdf"),
        "failed_at_ms": 1_800_000_000_000,
    }
    values |= fields
    return OpenLetter(
        id=id_,
        record_key=id_.encode(),
        topic="headrace.loader.dlq.v1",
        partition=0,
        offset=0,
        letter=DeadLetter(**values),  # type: ignore[arg-type]
    )


LETTERS = [
    letter("aaaa-1"),
    letter("aaaa-2", stage=Stage.EMBEDDER),
    letter("bbbb-1", error=StatusError("blocked_url"), original_value=b"\xffrubbish"),
    letter("cccc-1", key=None),
]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({}, ["aaaa-1", "aaaa-2", "bbbb-1", "cccc-1"]),
        ({"ids": ("bb", "aaaa-2")}, ["aaaa-2", "bbbb-1"]),
        ({"stage": "embedder"}, ["aaaa-2"]),
        ({"code": "blocked_url"}, ["bbbb-1"]),
        ({"document": "aaaa-1.pdf"}, ["aaaa-1"]),
        ({"collection": "mill", "stage": "loader"}, ["aaaa-1", "bbbb-1"]),
        ({"collection": "other"}, []),
        ({"tenant": "default"}, ["aaaa-1", "aaaa-2", "bbbb-1"]),
        ({"tenant": "other"}, []),
        ({"since": "2099-01-01"}, []),
        ({"until": "2020-01-01"}, []),
        ({"since": "2027-01-15T08:00:00+00:00"}, [each.id for each in LETTERS]),
        ({"until": "2027-01-15T08:00:00+00:00"}, []),
        ({"until": "2027-01-15T08:00:01+00:00"}, [each.id for each in LETTERS]),
        ({"since": "2020-01-01T00:00:00+00:00"}, [each.id for each in LETTERS]),
    ],
)
def test_filters_narrow_down_together(
    wanted: dict[str, object], expected: list[str]
) -> None:
    found = chosen(LETTERS, LetterFilter(**wanted))  # type: ignore[arg-type]

    assert [each.id for each in found] == expected


def test_an_id_that_stands_for_two_is_refused() -> None:
    with pytest.raises(Refused, match="2 letters") as caught:
        chosen(LETTERS, LetterFilter(ids=("aa",)))
    assert caught.value.usage


def test_an_id_that_is_not_there_is_named() -> None:
    with pytest.raises(Refused, match="dddd"):
        chosen(LETTERS, LetterFilter(ids=("dddd",)))


@pytest.mark.parametrize(
    "time", ["yesterday", "2026-13-01", "0001-01-01", "9999-12-31T23:59:59-23:00"]
)
def test_a_time_that_cannot_be_read_is_refused(time: str) -> None:
    for where in ("since", "until"):
        with pytest.raises(Refused, match="no point in time"):
            LetterFilter(**{where: time})


def test_a_summary_names_document_reason_and_origin() -> None:
    summary = LETTERS[0].summary()

    assert summary["document"] == "aaaa-1.pdf"
    assert summary["code"] == "encrypted"
    assert summary["failed_at"] == "2027-01-15T08:00:00Z"
    assert summary["origin"] == {
        "topic": "headrace.documents.v1",
        "partition": 0,
        "offset": 7,
        "timestamp": "",
    }


def test_keys_are_shown_as_people_type_them() -> None:
    assert shown_key(b"0c5f9b38-6d0c") == "0c5f9b38-6d0c"
    assert when(0) == ""
