"""Live progress of a job, per stage, for people at a terminal."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from headrace.messages import Stage
from headrace_cli.ingesting import Ingested
from headrace_cli.output import Output

_DRAW_EVERY_S = 0.1
_LINE_EVERY_S = 5.0
"""Without a terminal (a log file), a line now and then."""

Show = Callable[[Ingested], None]


@contextmanager
def shown_progress(output: Output) -> Iterator[Show]:
    """A function that is told of every change, for as long as the block lasts."""
    if output.as_json:
        yield lambda _ingested: None
        return
    if not output.notes.is_terminal:
        yield _lines(output)
        return
    progress = Progress(
        TextColumn("{task.description:>8}"),
        BarColumn(bar_width=32),
        MofNCompleteColumn(),
        TextColumn("{task.fields[detail]}"),
        console=output.notes,
        transient=True,
    )
    tasks = {stage: progress.add_task(stage, total=None, detail="") for stage in Stage}

    last = 0.0

    def show(ingested: Ingested) -> None:
        nonlocal last
        if time.monotonic() - last < _DRAW_EVERY_S:
            return
        last = time.monotonic()
        outcomes = ingested.outcomes
        total = len(outcomes.final) + len(outcomes.waiting)
        for stage, task in tasks.items():
            totals = outcomes.stages[stage]
            detail = f"{totals.chunks} chunks" if totals.chunks else ""
            progress.update(
                task, total=total, completed=outcomes.past(stage), detail=detail
            )

    with progress:
        yield show


def _lines(output: Output) -> Show:
    last = time.monotonic()

    def show(ingested: Ingested) -> None:
        nonlocal last
        if time.monotonic() - last < _LINE_EVERY_S:
            return
        last = time.monotonic()
        outcomes = ingested.outcomes
        total = len(outcomes.final) + len(outcomes.waiting)
        output.note(f"{len(outcomes.final)} of {total} documents finished")

    return show
