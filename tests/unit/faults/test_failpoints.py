"""Failpoints: at the right time, once, and only where they are armed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.injected.failpoints import HIT, Failpoints


def test_nothing_happens_unarmed(tmp_path: Path) -> None:
    points = Failpoints(str(tmp_path / "point"))
    for _ in range(3):
        points.passed("after_poll")


def test_it_happens_at_the_nth_time_from_the_arming_on_and_once(
    tmp_path: Path,
) -> None:
    file = tmp_path / "point"
    points = Failpoints(str(file))
    for _ in range(5):
        points.passed("after_poll")
    file.write_text("after_poll:raise@3")
    points.passed("after_poll")
    points.passed("before_produce")
    points.passed("after_poll")
    with pytest.raises(RuntimeError, match="after_poll"):
        points.passed("after_poll")
    assert Path(f"{file}{HIT}").exists()
    for _ in range(5):
        points.passed("after_poll")


def test_armed_again_it_counts_anew(tmp_path: Path) -> None:
    file = tmp_path / "point"
    points = Failpoints(str(file))
    for _ in range(2):
        file.write_text("mid_batch:raise@2")
        points.passed("mid_batch")
        with pytest.raises(RuntimeError):
            points.passed("mid_batch")
