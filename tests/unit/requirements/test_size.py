"""What ``make setup`` installs stays small enough for anybody to try it."""

from __future__ import annotations

from importlib.metadata import Distribution, distribution
from importlib.util import cache_from_source
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[3]
MOST_BYTES = 600_000_000


def test_the_packages_of_make_setup_fit_with_all_that_was_compiled() -> None:
    sizes = {name: _size(distribution(name)) for name in _names("all")}

    assert sum(sizes.values()) < MOST_BYTES, sorted(
        ((size, name) for name, size in sizes.items()), reverse=True
    )[:20]


def test_nothing_is_in_it_that_only_servers_need() -> None:
    assert not _names("all") & {"asyncpg", "cryptography", "uv", "pip", "hatchling"}
    assert {"asyncpg", "cryptography"} <= _names("gateway")
    assert "asyncpg" in _names("registry")


def test_what_is_left_out_was_there_to_leave_out_or_still_is() -> None:
    # A line that no package's list of files knows leaves out nothing any more.
    files = [Path(file) for name in _names("all") for file in _files(name)]
    lines = (ROOT / "requirements/left-out.txt").read_text().splitlines()
    for line in lines:
        if line.startswith("#"):
            continue
        depth = len(Path(line).parts)
        assert any(Path(*file.parts[:depth]).match(line) for file in files), (
            f"{line} is of no use"
        )


def _names(lock: str) -> set[str]:
    """The packages of a lock, as far as they are for this machine."""
    lines = (ROOT / f"requirements/{lock}.txt").read_text().splitlines()
    wanted = [
        Requirement(line.removesuffix(" \\"))
        for line in lines
        if line and line[0] not in " #"
    ]
    return {
        each.name for each in wanted if each.marker is None or each.marker.evaluate()
    }


def _files(name: str) -> list[str]:
    return [str(file) for file in distribution(name).files or ()]


def _size(installed: Distribution) -> int:
    """Its files, and what Python has compiled of them."""
    total = 0
    for file in installed.files or ():
        path = Path(str(installed.locate_file(file)))
        compiled = Path(cache_from_source(str(path))) if path.suffix == ".py" else None
        total += sum(
            each.stat().st_size
            for each in {path, compiled}
            if each is not None and each.is_file()
        )
    return total
