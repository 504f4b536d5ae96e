"""``headrace admin`` and ``headrace import`` against a served gateway."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from headrace_cli.app import build_app
from typer.testing import CliRunner

from tests.support.served_gateway import Served


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    with Served(tmp_path) as running:
        key = running.key["Authorization"].removeprefix("Bearer ")
        monkeypatch.setenv("HEADRACE_GATEWAY", running.url)
        monkeypatch.setenv("HEADRACE_API_KEY", key)
        yield running


def headrace(*arguments: str | Path) -> tuple[int, Any]:
    """The exit code and what was answered last."""
    command = [*map(str, arguments), "--json"]
    done = CliRunner().invoke(build_app(), command)
    assert done.stdout, done.output
    return done.exit_code, json.loads(done.stdout.splitlines()[-1])


def test_a_collection_is_paused_shown_and_resumed(served: Served) -> None:
    mine = ("--collection", "books")
    code, paused = headrace("admin", "pause", *mine, "--reason", "cleaning")
    assert (code, paused["collection"]) == (0, "books")
    code, shown = headrace("admin", "pauses")
    assert [each["reason"] for each in shown["pauses"]] == ["cleaning"]
    code, refused = headrace("import", __file__, *mine)
    assert (code, refused["error"]["code"]) == (1, "paused_collection")
    assert "cleaning" in refused["error"]["message"]
    assert "headrace admin resume" in refused["error"]["advice"]
    code, resumed = headrace("admin", "resume", *mine)
    assert (code, resumed["resumed"], resumed["pauses"]) == (0, True, [])


def test_what_cannot_be_done_ends_with_its_reason(served: Served) -> None:
    code, stages = headrace("admin", "pause", "--all")
    assert (code, stages["error"]["code"]) == (1, "operator_only")
    assert stages["error"]["advice"]
    for command in (["depth"], ["workers"], ["drain", "--timeout", "0"]):
        code, away = headrace("admin", *command)
        assert (code, away["error"]["code"]) == (1, "broker_unavailable"), command
    code, nothing = headrace("admin", "retry-failed")
    assert (code, nothing["error"]["code"]) == (2, "usage")
    code, done = headrace("admin", "retry-failed", "--all", "--since", "2026-01-31")
    assert (code, done["retried"], done["left"]) == (0, 0, 0)
    code, unknown = headrace("admin", "retry-failed", "none-such")
    assert (code, unknown["refused"][0]["code"]) == (1, "not_found")


@pytest.mark.parametrize(
    "wrong",
    [
        ["pause"],
        ["pause", "--all", "--stage", "loader"],
        ["resume", "--all", "--tenant", "t"],
        ["retry-failed", "--all", "--since", "yesterday"],
    ],
)
def test_what_is_not_meant_is_not_guessed(wrong: list[str]) -> None:
    assert CliRunner().invoke(build_app(), ["admin", *wrong]).exit_code == 2


def test_a_gateway_that_is_not_there_is_told() -> None:
    code, away = headrace("admin", "pauses", "--gateway", "http://127.0.0.1:1")
    assert (code, away["error"]["code"]) == (3, "not_reachable")


def test_an_import_is_sent_and_its_bad_lines_are_told(
    served: Served, tmp_path: Path
) -> None:
    file = tmp_path / "lines.ndjson"
    file.write_text('{"name": "only bad"}\n{broken\n')
    code, done = headrace("import", file, "--collection", "books")
    assert code == 1
    assert (done["total"], done["done"], done["counts"]) == (2, True, {"refused": 2})
    assert [(each["line"], each["code"]) for each in done["errors"]] == [
        (1, "invalid_item"),
        (2, "invalid_item"),
    ]
    assert all(each["message"] for each in done["errors"])

    file.write_text('{"name": "a", "text": "t"}\n')
    wait = ("--collection", "books", "--timeout", "1")
    code, late = headrace("import", file, *wait)
    assert (code, late["done"]) == (1, False)
    code, sent = headrace("import", file, "--collection", "books", "--no-wait")
    assert (code, sent["total"]) == (0, 1)


def test_an_exclusive_import_that_fails_leaves_nothing_paused(
    served: Served, tmp_path: Path
) -> None:
    """There is no Kafka here, so that nobody can tell what is left."""
    file = tmp_path / "lines.ndjson"
    file.write_text('{"name": "a", "text": "t"}\n')
    exclusive = ("--collection", "books", "--exclusive", "--drain-timeout", "1")
    code, failed = headrace("import", file, *exclusive)
    assert (code, failed["error"]["code"]) == (1, "broker_unavailable")
    assert headrace("admin", "pauses")[1] == {"pauses": []}

    headrace("admin", "pause", "--collection", "books", "--reason", "mine")
    code, other = headrace("import", file, *exclusive)
    assert (code, other["error"]["code"]) == (1, "paused_collection")
    assert len(headrace("admin", "pauses")[1]["pauses"]) == 1
