"""What people read on a terminal that is too narrow for it."""

from __future__ import annotations

import pytest
from headrace_cli.output import Output

ID = "01a204b0-81d6-794c-a109-34296f28c4c7"
NAME = "office/a-long-name-of-a-spreadsheet-among-others.xlsx"


def test_ids_stay_whole_and_nothing_is_cut_off(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "70")
    rows = [(ID, "demo", NAME, 1)]

    Output(as_json=False).table(["id", "collection", "name", "#version"], rows)

    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith(f"{ID}  demo")
    # The pieces of the name, one below the other.
    place = lines[0].index("name")
    end = lines[0].index("version")
    assert "".join(line[place:end].strip() for line in lines[1:]) == NAME
