"""What the fault suite says of its rows."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.faults.reporting import Report, Row, in_order, table, write_section


def test_a_loss_fails_the_row_and_is_told() -> None:
    row = Row("3", level=2, injected="kill -9")
    with pytest.raises(AssertionError, match="document/7"):
        row.result(lost=1, details="document/7 is not there")
    row.passed = False
    assert row.line == "row 3 L2 lost=1 duplicates=0 FAILED kill -9"
    assert "**failed**" in row.cells


def test_parts_of_a_row_add_up() -> None:
    row = Row("9", level=2, injected="broker restarted")
    row.result(recovery_s=4.06, note="clean")
    row.result(recovery_s=2.0)
    assert row.told
    assert row.line == (
        "row 9 L2 lost=0 duplicates=0 recovery=4.1s (clean) broker restarted"
    )


def test_rows_are_in_the_order_of_their_numbers() -> None:
    rows = [Row(number, level=2, injected="x") for number in ("zombie", "12", "3")]
    assert [row.number for row in in_order(rows)] == ["3", "12", "zombie"]
    assert table(rows).splitlines()[2].startswith("| 3 |")


def test_a_section_is_replaced_and_the_rest_is_kept(tmp_path: Path) -> None:
    document = tmp_path / "page.md"
    document.write_text("a\n<!-- begin rows -->\nold\n<!-- end rows -->\nb\n")
    for text in ("one", "two"):
        write_section("rows", text, document=document)
    assert document.read_text() == (
        "a\n<!-- begin rows -->\ntwo\n<!-- end rows -->\nb\n"
    )
    with pytest.raises(ValueError, match="begin soak"):
        write_section("soak", "x", document=document)


def test_of_a_test_the_last_word_counts_and_others_say_nothing(tmp_path: Path) -> None:
    document = tmp_path / "page.md"
    document.write_text("<!-- begin rows -->\n<!-- end rows -->\n")
    report = Report(document)
    row = Row("12", level=2, injected="black hole")
    report.pytest_runtest_logreport(SimpleNamespace(nodeid="a", row=asdict(row)))
    row.passed = False
    report.pytest_runtest_logreport(SimpleNamespace(nodeid="a", row=asdict(row)))
    report.pytest_runtest_logreport(SimpleNamespace(nodeid="b"))
    lines: list[str] = []
    report.pytest_terminal_summary(
        SimpleNamespace(write_line=lines.append),
        SimpleNamespace(getoption=lambda _name: True),
    )

    assert lines == ["row 12 L2 lost=0 duplicates=0 FAILED black hole"]
    assert document.read_text().count("| 12 | L2 | black hole **failed** |") == 1
