"""docs/producing.md says what the code does."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from headrace.handler import Headers, Record
from headrace.identity import DocumentKey
from headrace.messages import DocumentEvent, Lane, Metadata, OnPartial, Operation
from headrace.wire import bounds, decode_event
from headrace.wire import input as wire_input
from headrace.wire.drafts import URI_SCHEMES
from headrace.wire.json_events import MEMBERS

PAGE = (Path(__file__).parents[3] / "docs" / "producing.md").read_text()
START = DocumentKey("default", "handbook", "guides/start.md")
CLOUD_EVENTS = (("content-type", b"application/cloudevents+json"),)


def blocks(kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


def decoded(value: bytes, headers: Headers = ()) -> DocumentEvent:
    return decode_event(
        Record("headrace.documents.v1", 0, 0, 0, None, value, tuple(headers))
    )


def test_there_is_no_json_that_no_test_reads() -> None:
    known = sum(len(blocks(f"json {kind}")) for kind in ("event", "cloudevent"))

    assert known + len(blocks("json schema")) == PAGE.count("```json")


def test_json_examples_are_understood() -> None:
    smallest, full, scan, report, delete = [
        decoded(block.encode()) for block in blocks("json event")
    ]

    assert smallest == DocumentEvent(START, inline=b"# Start here\nOpen the door.")
    assert full == DocumentEvent(
        key=DocumentKey("acme", "handbook", "https://intranet.example.org/guides/1"),
        source_version=17,
        uri="https://intranet.example.org/guides/1.pdf",
        metadata=Metadata(
            name="Guide No. 1",
            user_id="u-1009",
            import_job="nightly-2026-11-22",
            attributes={"team": "blue", "language": "en"},
        ),
        lane=Lane.BULK,
        on_partial=OnPartial.PUBLISH,
    )
    assert scan.inline == b"\x89PNG\r\n\x1a\n"
    assert report.object is not None
    assert (report.object.size, len(report.object.sha256)) == (1_048_576, 32)
    assert delete == DocumentEvent(START, Operation.DELETE, source_version=18)


def test_cloud_events_are_understood() -> None:
    upsert, delete = [
        decoded(block.encode(), CLOUD_EVENTS) for block in blocks("json cloudevent")
    ]

    assert upsert == DocumentEvent(
        START,
        source_version=17,
        inline=b"# Start here\nOpen the door.",
        metadata=Metadata(media_type="text/markdown"),
    )
    assert delete == DocumentEvent(START, Operation.DELETE)


def test_headers_of_the_binary_mode_are_understood() -> None:
    (block,) = blocks("headers event")
    head, _, body = block.partition("\n\n")
    headers = [
        (name, value.encode())
        for name, value in (line.split(": ", 1) for line in head.splitlines())
    ]

    assert decoded(body.rstrip("\n").encode(), headers) == DocumentEvent(
        START,
        inline=b"# Start here\nOpen the door.",
        metadata=Metadata(media_type="text/markdown"),
    )


def test_the_record_key_is_the_one_that_the_code_makes() -> None:
    assert f"\n{START}\n" in PAGE


def test_the_schema_has_the_members_that_are_read() -> None:
    (block,) = blocks("json schema")
    properties = json.loads(block)["properties"]

    assert set(properties) == set(MEMBERS)
    assert properties["operation"]["enum"] == [*Operation, None]
    assert properties["lane"]["enum"] == [*Lane, None]
    assert properties["on_partial"]["enum"] == [*OnPartial, None]
    schemes = re.compile(properties["uri"]["pattern"])
    assert all(schemes.match(f"{scheme}:") for scheme in URI_SCHEMES)


def test_every_code_is_listed() -> None:
    listed = set(re.findall(r"`([a-z0-9_]+)`", PAGE.split("## What is refused")[1]))
    documented = set(
        re.findall(
            r"^``([a-z0-9_]+)`` ",
            f"{bounds.__doc__}\n{wire_input.__doc__}",
            re.MULTILINE,
        )
    )

    assert len(documented) > 20
    # Only our own messages can miss a field that no other code names.
    assert listed == documented - {"missing_field"}


@pytest.mark.parametrize("member", MEMBERS)
def test_every_member_is_explained(member: str) -> None:
    assert f"`{member}`" in PAGE.split("### Protobuf")[0]
