"""What each row showed: lines at the end of the run, and the table in the docs."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DOCUMENT = Path(__file__).parents[2] / "docs" / "reliability.md"


@dataclass(slots=True)
class Row:
    """A row of the matrix as one test ran it.

    Attributes:
        number: of the row; a word where the case has none.
        level: 1 in one process, 2 with real processes.
        injected: what was done to it.
        lost: documents that were acknowledged and are not as they must be.
        duplicates: documents of which something is visible twice.
        recovery_s: from the end of the fault until nothing waited; virtual time has
            none.
        note: what else was measured.
        details: for whoever looks why it failed.
        passed: whether the test did.
    """

    number: str
    level: int
    injected: str
    lost: int = 0
    duplicates: int = 0
    recovery_s: float | None = None
    note: str = ""
    details: str = ""
    passed: bool = True
    told: bool = False

    def result(
        self,
        *,
        lost: int = 0,
        duplicates: int = 0,
        recovery_s: float | None = None,
        note: str = "",
        details: str = "",
    ) -> None:
        """Say what was found; a row with several parts says it for each.

        Raises:
            AssertionError: something was lost or is visible twice.
        """
        self.told = True
        self.lost += lost
        self.duplicates += duplicates
        if recovery_s is not None:
            self.recovery_s = max(recovery_s, self.recovery_s or 0.0)
        self.note = "; ".join(filter(None, [self.note, note]))
        self.details += details
        assert (lost, duplicates) == (0, 0), details

    @property
    def line(self) -> str:
        """For the end of the run."""
        recovery = (
            "" if self.recovery_s is None else f" recovery={self.recovery_s:.1f}s"
        )
        failed = "" if self.passed else " FAILED"
        note = f" ({self.note})" if self.note else ""
        return (
            f"row {self.number} L{self.level} lost={self.lost} "
            f"duplicates={self.duplicates}{recovery}{failed}{note} {self.injected}"
        )

    @property
    def cells(self) -> str:
        """As a line of the table."""
        recovery = "-" if self.recovery_s is None else f"{self.recovery_s:.1f}"
        injected = f"{self.injected} ({self.note})" if self.note else self.injected
        if not self.passed:
            injected += " **failed**"
        return (
            f"| {self.number} | L{self.level} | {injected} | {self.lost} | "
            f"{self.duplicates} | {recovery} |"
        )


class Report:
    """A pytest plugin: collects the rows of all workers and tells of them at the end.

    Args:
        document: where the table is written if ``--report`` asks for it.
    """

    def __init__(self, document: Path = DOCUMENT) -> None:
        self._document = document
        self._rows: dict[str, Row] = {}

    def pytest_runtest_logreport(self, report: Any) -> None:
        """A row as it was then; what comes later of the same test counts."""
        if (fields := getattr(report, "row", None)) is not None:
            self._rows[report.nodeid] = Row(**fields)

    def pytest_terminal_summary(self, terminalreporter: Any, config: Any) -> None:
        """A line for each."""
        rows = in_order(self._rows.values())
        for each in rows:
            terminalreporter.write_line(each.line)
        if config.getoption("--report") and rows:
            write_section("rows", table(rows), document=self._document)


def in_order(rows: Iterable[Row]) -> list[Row]:
    """By number, cases without one last."""

    def rank(row: Row) -> tuple[int, str, int, str, str]:
        digits = re.match(r"\d+", row.number)
        number = int(digits.group()) if digits else 1000
        return (number, row.number, row.level, row.injected, row.note)

    return sorted(rows, key=rank)


def table(rows: Iterable[Row]) -> str:
    """All rows as Markdown."""
    return "\n".join(
        [
            "| row | level | injected | lost | duplicates visible | recovery, s |",
            "| --- | --- | --- | --- | --- | --- |",
            *(row.cells for row in in_order(rows)),
        ]
    )


def write_section(name: str, text: str, *, document: Path = DOCUMENT) -> None:
    """Replace what is between the marks of that name.

    Raises:
        ValueError: the document has no such marks.
    """
    begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
    before, found, rest = document.read_text().partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise ValueError(f"{document} has no lines {begin} and {end}")
    document.write_text(f"{before}{begin}\n{text}\n{end}{after}")
