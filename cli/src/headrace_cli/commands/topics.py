"""``headrace topics``: the topics that the pipeline needs."""

from __future__ import annotations

from typing import Annotated

import typer

from headrace_cli import options


def build() -> typer.Typer:
    """The group of commands."""
    app = typer.Typer(
        help="Make, check and grow the topics of the pipeline.", no_args_is_help=True
    )
    app.command("apply")(apply)
    app.command("check")(check)
    app.command("grow")(grow)
    return app


def apply(
    *,
    data_dir: options.DataDir = options.DEFAULT_DATA_DIR,
    as_json: options.Json = False,
) -> None:
    """Make the topics that are missing; change none that are there."""
    from headrace_cli.performing import perform
    from headrace_cli.topic_work import apply_missing

    perform(
        lambda output: apply_missing(data_dir=data_dir, output=output),
        as_json=as_json,
    )


def check(
    *,
    data_dir: options.DataDir = options.DEFAULT_DATA_DIR,
    as_json: options.Json = False,
) -> None:
    """Say how the topics differ from what the pipeline needs."""
    from headrace_cli.performing import perform
    from headrace_cli.topic_work import check_all

    perform(lambda output: check_all(data_dir=data_dir, output=output), as_json=as_json)


def grow(
    *,
    partitions: Annotated[int, typer.Argument(min=1, help="How many in future.")],
    data_dir: options.DataDir = options.DEFAULT_DATA_DIR,
    timeout: Annotated[
        float, typer.Option(min=1, help="Seconds to wait for the stages to drain.")
    ] = 600.0,
    as_json: options.Json = False,
) -> None:
    """Give texts, chunks and vectors more partitions, once they are drained.

    Stop the loader first (scale it to zero): while records wait in these topics, more
    partitions would change which worker a document belongs to.
    """
    from headrace_cli.performing import perform
    from headrace_cli.topic_work import grow_to

    perform(
        lambda output: grow_to(
            partitions, data_dir=data_dir, timeout_s=timeout, output=output
        ),
        as_json=as_json,
    )
