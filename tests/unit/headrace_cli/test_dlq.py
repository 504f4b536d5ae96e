"""``headrace dlq``: its answers."""

from __future__ import annotations

import base64
import json
from contextlib import nullcontext
from pathlib import Path
from unittest.mock import AsyncMock

import pytest
from headrace_cli import dlq
from headrace_cli.failures import EXIT_OK, EXIT_USAGE, CommandFailed
from headrace_cli.opening import Pipeline
from headrace_cli.output import Output

from headrace.errors import SharedFailure
from headrace.open_letters import LetterFilter
from headrace.settings import Settings
from tests.unit.headrace.test_open_letters import LETTERS


@pytest.fixture(autouse=True)
def pipeline(monkeypatch: pytest.MonkeyPatch) -> None:
    found = Pipeline(settings=Settings())
    monkeypatch.setattr(dlq, "opened", lambda *_: nullcontext(found))
    monkeypatch.setattr(dlq, "open_letters", AsyncMock(return_value=LETTERS))


@pytest.mark.parametrize("away", [False, True])
async def test_letters_are_listed_though_the_store_is_away(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    *,
    away: bool,
) -> None:
    error = SharedFailure("store_unavailable", "it is away") if away else None
    still_open = AsyncMock(side_effect=error, return_value=LETTERS)
    monkeypatch.setattr(dlq, "still_open", still_open)

    code = await dlq.list_open(
        LetterFilter(collection="mill"), data_dir=tmp_path, output=Output(as_json=True)
    )

    answer = json.loads(capsys.readouterr().out)
    assert code == EXIT_OK
    assert answer["deletions_known"] is not away
    if away:
        assert [each["document"] for each in answer["dead_letters"]] == [
            each.document for each in LETTERS if each.document
        ]


@pytest.mark.parametrize(
    ("ids", "everything"), [((), False), (("aaaa-1",), True)], ids=["none", "both"]
)
async def test_what_is_meant_must_be_said(
    tmp_path: Path, ids: tuple[str, ...], *, everything: bool
) -> None:
    with pytest.raises(CommandFailed) as caught:
        await dlq.drop_letters(
            LetterFilter(ids=ids),
            everything=everything,
            reason="any",
            data_dir=tmp_path,
            output=Output(as_json=True),
        )
    assert caught.value.exit_code == EXIT_USAGE


async def test_a_drop_needs_a_reason(tmp_path: Path) -> None:
    with pytest.raises(CommandFailed, match="--reason"):
        await dlq.drop_letters(
            LetterFilter(ids=("aaaa-1",)),
            everything=False,
            reason=" ",
            data_dir=tmp_path,
            output=Output(as_json=True),
        )


async def test_the_original_bytes_are_saved_or_it_is_said_why_not(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    saved = tmp_path / "saved"
    output = Output(as_json=True)

    assert await dlq.show_one("bbbb", data_dir=tmp_path, save=saved, output=output) == 0

    assert saved.read_bytes() == b"\xffrubbish"
    answer = json.loads(capsys.readouterr().out)
    assert answer["id"] == "bbbb-1"
    assert answer["decoded"] is None
    assert base64.b64decode(answer["value_base64"]) == b"\xffrubbish"
    with pytest.raises(CommandFailed, match="cannot be written"):
        await dlq.show_one(
            "bbbb", data_dir=tmp_path, save=tmp_path / "no" / "folder", output=output
        )


async def test_people_see_the_bytes_and_where_they_came_from(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    output = Output(as_json=False)

    await dlq.show_one("bbbb", data_dir=tmp_path, save=None, output=output)

    shown = capsys.readouterr().out
    assert "8 bytes that are no message of the contract" in shown
    assert "\\xffrubbish" in shown
    assert "headrace.documents.v1" in shown
