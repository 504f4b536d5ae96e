"""``headrace up``: a stack that keeps running."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from headrace_cli import options


def up(
    *,
    data_dir: options.DataDir = options.DEFAULT_DATA_DIR,
    file_root: Annotated[
        list[Path] | None,
        typer.Option(
            "--file-root",
            exists=True,
            help="Files below it are read in place; others are sent with the event.",
        ),
    ] = None,
    provider: options.Provider = None,
    partitions: options.Partitions = None,
    as_json: options.Json = False,
) -> None:
    """Start Kafka, the store and the four services, and keep them running.

    Until Ctrl-C or SIGTERM. A part that dies is started again. All of it listens on
    this machine only.
    """
    from headrace_cli.performing import perform
    from headrace_cli.staying_up import stay_up

    overrides: dict[str, object] = {}
    if provider is not None:
        overrides["embedding_provider"] = str(provider)
    if partitions is not None:
        overrides["partitions"] = partitions
    perform(
        lambda output: stay_up(
            data_dir=data_dir,
            file_roots=file_root or [],
            overrides=overrides,
            output=output,
        ),
        as_json=as_json,
    )
