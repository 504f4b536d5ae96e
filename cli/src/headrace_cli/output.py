"""What commands print: tables for people, one JSON object for programs.

Answers go to stdout, everything on the way (progress, notes, errors) to stderr, so that
a pipe gets the answer alone.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from headrace_cli.failures import CommandFailed


class Output:
    """Where a command writes, in the form that was asked for."""

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        self._out = Console(highlight=False, soft_wrap=True)
        self.notes = Console(
            stderr=True, highlight=False, soft_wrap=True, quiet=as_json
        )

    def answer(self, value: Mapping[str, Any]) -> None:
        """The answer as JSON; for people, print it otherwise before."""
        if self.as_json:
            text = json.dumps(value, ensure_ascii=False, default=str)
            sys.stdout.write(text + "\n")
            sys.stdout.flush()

    def text(self, line: str = "") -> None:
        """A line for people; markup in it is shown as it is."""
        if not self.as_json:
            self._out.print(escape(line))

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        """A table for people."""
        if self.as_json:
            return
        table = Table(box=None, pad_edge=False, header_style="bold")
        for column in columns:
            name = column.removeprefix("#")
            table.add_column(
                name,
                justify="left" if name == column else "right",
                # Nothing is cut off, however narrow the terminal, and ids stay in one
                # piece: people copy them to the next command.
                min_width=len(name),
                overflow="fold",
                no_wrap=column == "id",
            )
        for row in rows:
            table.add_row(*(escape(str(cell)) for cell in row))
        self._out.print(table)

    def note(self, line: str) -> None:
        """Something on the way, for people."""
        self.notes.print(escape(line))

    def error(self, failure: CommandFailed) -> None:
        """Why the command ends without its answer."""
        if self.as_json:
            self.answer(
                {
                    "error": {
                        "code": failure.code,
                        "message": failure.message,
                        "advice": failure.advice,
                    }
                }
            )
            return
        self.notes.print(f"[bold red]error:[/] {escape(failure.message)}")
        if failure.advice:
            self.notes.print(f"  next: {escape(failure.advice)}")
