"""``proto/check`` passes the contract as it is, and stops what would break readers."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.fixture
def contract(tmp_path: Path) -> Path:
    """A copy of the contract and its generated code, free to be broken."""
    shutil.copytree(ROOT / "proto", tmp_path / "proto")
    shutil.copytree(
        ROOT / "headrace" / "v1",
        tmp_path / "headrace" / "v1",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    return tmp_path


def check(contract: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"VENV": sys.prefix}
    return subprocess.run(
        [contract / "proto" / "check"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )


def edit(contract: Path, name: str, old: str, new: str) -> None:
    path = contract / "proto" / "headrace" / "v1" / name
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def regenerate(contract: Path) -> None:
    subprocess.run(
        [contract / "proto" / "generate"],
        env=os.environ | {"VENV": sys.prefix},
        check=True,
        timeout=100,
    )


def test_the_contract_passes_as_it_is(contract: Path) -> None:
    result = check(contract)

    assert (result.returncode, result.stderr) == (0, "")


def test_a_new_field_passes_once_the_code_is_generated(contract: Path) -> None:
    edit(
        contract,
        "chunk.proto",
        "  int32 slice_number = 2;\n  repeated Chunk",
        "  int32 slice_number = 2;\n  string note = 9;\n  repeated Chunk",
    )
    stale = check(contract)
    assert stale.returncode == 1
    assert "run proto/generate" in stale.stderr

    regenerate(contract)

    assert check(contract).returncode == 0


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        pytest.param(
            "chunk.proto", "string text = 2;", "bytes text = 2;", id="other type"
        ),
        pytest.param(
            "chunk.proto", "string text = 2;", "string text = 12;", id="other number"
        ),
        pytest.param(
            "status.proto", "  STATE_SUPERSEDED = 7;\n", "", id="enum value removed"
        ),
    ],
)
def test_a_change_that_breaks_readers_is_stopped(
    contract: Path, name: str, old: str, new: str
) -> None:
    edit(contract, name, old, new)
    regenerate(contract)

    result = check(contract)

    assert result.returncode == 1
    assert "breaks readers of records already written" in result.stderr


def test_bad_style_is_stopped(contract: Path) -> None:
    edit(contract, "chunk.proto", "string section = 8;", "string Section = 8;")

    result = check(contract)

    assert result.returncode == 1
    assert "break the style" in result.stderr
