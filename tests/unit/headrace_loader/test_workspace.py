"""Temporary files end with their process."""

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from headrace_loader.workspace import Workspace


def test_each_process_has_its_own_and_leaves_nothing(tmp_path: Path) -> None:
    one, two = Workspace(tmp_path), Workspace(tmp_path)
    one.file().write_text("x")
    (two.directory() / "y").write_text("y")

    one.close()
    assert list(tmp_path.iterdir()) == [two.path]
    two.close()
    assert list(tmp_path.iterdir()) == []


def test_what_a_failing_disk_keeps_is_removed_once_it_lets_us(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = Workspace(tmp_path)
    file, folder = workspace.file(), workspace.directory()
    file.write_text("x")
    (folder / "y").write_text("y")
    with monkeypatch.context() as broken:

        def refuse(*_: object, **__: object) -> None:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))

        broken.setattr(os, "unlink", refuse)
        broken.setattr(shutil, "rmtree", refuse)
        workspace.remove(file)
        workspace.remove(folder)
        workspace.remove(workspace.path / "never-there")
        assert file.exists()
        assert folder.exists()

    workspace.file()

    assert {each.name for each in workspace.path.iterdir()} == {"lock"}
    workspace.close()


def test_what_a_killed_process_left_is_removed_and_a_living_one_keeps_its_own(
    tmp_path: Path,
) -> None:
    living = Workspace(tmp_path)
    kept = living.file()
    kept.write_text("x")
    code = (
        "import os, sys, pathlib\n"
        "from headrace_loader.workspace import Workspace\n"
        "w = Workspace(pathlib.Path(sys.argv[1]))\n"
        "w.file().write_text('left')\n"
        "os.kill(os.getpid(), 9)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    assert len(list(tmp_path.iterdir())) == 2

    after = Workspace(tmp_path)

    assert set(tmp_path.iterdir()) == {living.path, after.path}
    assert kept.exists()
