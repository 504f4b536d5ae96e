"""``headrace status``: where everything stands."""

from __future__ import annotations

from typing import Annotated

import typer

from headrace_cli import options


def status(
    *,
    data_dir: options.DataDir = options.DEFAULT_DATA_DIR,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Show it again and again.")
    ] = False,
    as_json: options.Json = False,
) -> None:
    """Show how far each stage is behind, and documents by state.

    With --watch and --json, one object a line.
    """
    from headrace_cli.performing import perform
    from headrace_cli.status import show_status

    perform(
        lambda output: show_status(data_dir=data_dir, watch=watch, output=output),
        as_json=as_json,
    )
