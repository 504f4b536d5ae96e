"""Temporary files end with their process."""

import subprocess
import sys
from pathlib import Path

from headrace_loader.workspace import Workspace


def test_each_process_has_its_own_and_leaves_nothing(tmp_path: Path) -> None:
    one, two = Workspace(tmp_path), Workspace(tmp_path)
    one.file().write_text("x")
    (two.directory() / "y").write_text("y")

    one.close()
    assert list(tmp_path.iterdir()) == [two.path]
    two.close()
    assert list(tmp_path.iterdir()) == []


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
