"""One stack per data directory, and what it leaves for other commands."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from headrace_local.data_dir import DataDir, DataDirInUse, StackState


def test_a_second_stack_is_refused_with_the_way_out(tmp_path: Path) -> None:
    data_dir = DataDir(tmp_path / "new" / "folder")

    with data_dir.locked():
        assert data_dir.in_use()
        with (
            pytest.raises(DataDirInUse, match=rf"process {os.getpid()}.*--data-dir"),
            data_dir.locked(),
        ):
            pass


def test_the_directory_is_free_after_use_and_before(tmp_path: Path) -> None:
    data_dir = DataDir(tmp_path)
    assert not data_dir.in_use()

    with data_dir.locked():
        pass

    assert not data_dir.in_use()
    with data_dir.locked():
        assert data_dir.in_use()


def test_the_state_comes_back_as_written(tmp_path: Path) -> None:
    data_dir = DataDir(tmp_path)
    state = StackState(
        pid=7, settings={"partitions": 3}, probes={"loader": "h:1"}, file_roots=["/d"]
    )
    data_dir.write_state(state)

    assert data_dir.read_state() == state


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param("[]", id="no object"),
        pytest.param('{"pid": 1, "settings": {}, "format": 99}', id="newer format"),
        pytest.param('{"pid": 1, "settings": {}, "what": 1}', id="unknown field"),
    ],
)
def test_a_state_that_cannot_be_read_counts_as_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "stack.json").write_text(text)

    assert DataDir(tmp_path).read_state() is None
