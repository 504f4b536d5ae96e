"""``headrace dlq``: work with dead letters."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from headrace_cli import options

_Ids = Annotated[
    list[str] | None,
    typer.Argument(help="Ids of letters; the first characters will do."),
]
_Stage = Annotated[options.StageOption | None, typer.Option(help="Only of one stage.")]
_Code = Annotated[str, typer.Option("--code", help="Only with this reason.")]
_Document = Annotated[str, typer.Option(help="Only of this document.")]
_Collection = Annotated[
    str, typer.Option("--collection", "-c", help="Only of this collection.")
]
_Tenant = Annotated[str, typer.Option(help="Only of this tenant.")]
_Since = Annotated[
    str, typer.Option(help="Only failed then or later, as 2026-01-31T12:00:00.")
]
_Until = Annotated[str, typer.Option(help="Only failed before then.")]
_All = Annotated[
    bool, typer.Option("--all", help="All that the options leave, without naming ids.")
]


def build() -> typer.Typer:
    """The group of commands."""
    app = typer.Typer(
        help="List, show, replay and drop dead letters.", no_args_is_help=True
    )
    app.command("list")(list_letters)
    app.command("show")(show)
    app.command("replay")(replay)
    app.command("drop")(drop)
    return app


def list_letters(
    *,
    data_dir: options.DataDir = options.DEFAULT_DATA_DIR,
    stage: _Stage = None,
    code: _Code = "",
    document: _Document = "",
    collection: _Collection = "",
    tenant: _Tenant = "",
    since: _Since = "",
    until: _Until = "",
    as_json: options.Json = False,
) -> None:
    """List what could not be done and waits for somebody, oldest failure first."""
    from headrace.open_letters import LetterFilter
    from headrace_cli.dlq import list_open
    from headrace_cli.performing import perform

    perform(
        lambda output: list_open(
            LetterFilter(
                stage=stage or "",
                code=code,
                document=document,
                collection=collection,
                tenant=tenant,
                since=since,
                until=until,
            ),
            data_dir=data_dir,
            output=output,
        ),
        as_json=as_json,
    )


def show(
    letter: Annotated[str, typer.Argument(help="Id; its first characters will do.")],
    *,
    data_dir: options.DataDir = options.DEFAULT_DATA_DIR,
    save: Annotated[
        Path | None,
        typer.Option(help="Write the original record's bytes to this file."),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Show one letter, decoded; with --save, keep the original bytes."""
    from headrace_cli.dlq import show_one
    from headrace_cli.performing import perform

    perform(
        lambda output: show_one(letter, data_dir=data_dir, save=save, output=output),
        as_json=as_json,
    )


def replay(
    letters: _Ids = None,
    *,
    data_dir: options.DataDir = options.DEFAULT_DATA_DIR,
    everything: _All = False,
    stage: _Stage = None,
    code: _Code = "",
    document: _Document = "",
    collection: _Collection = "",
    tenant: _Tenant = "",
    since: _Since = "",
    until: _Until = "",
    timeout: Annotated[
        float, typer.Option(min=1, help="Seconds to wait for the outcome.")
    ] = 300.0,
    rate: Annotated[
        float | None,
        typer.Option(min=0.01, help="Records to send a second at most."),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Do letters again, in the order in which their events came.

    The stages must run. A letter goes when its replay came to a good end; one that
    fails again stays, with the new reason. To replay twice does no harm.
    """
    from headrace.open_letters import LetterFilter
    from headrace_cli.dlq import replay_letters
    from headrace_cli.performing import perform

    perform(
        lambda output: replay_letters(
            LetterFilter(
                ids=tuple(letters or ()),
                stage=stage or "",
                code=code,
                document=document,
                collection=collection,
                tenant=tenant,
                since=since,
                until=until,
            ),
            everything=everything,
            data_dir=data_dir,
            timeout_s=timeout,
            rate=rate,
            output=output,
        ),
        as_json=as_json,
    )


def drop(
    letters: _Ids = None,
    *,
    reason: Annotated[str, typer.Option(help="Why; it is kept in the audit topic.")],
    data_dir: options.DataDir = options.DEFAULT_DATA_DIR,
    everything: _All = False,
    stage: _Stage = None,
    code: _Code = "",
    document: _Document = "",
    collection: _Collection = "",
    tenant: _Tenant = "",
    since: _Since = "",
    until: _Until = "",
    as_json: options.Json = False,
) -> None:
    """Give letters up for good; who, why and what is kept in the audit topic."""
    from headrace.open_letters import LetterFilter
    from headrace_cli.dlq import drop_letters
    from headrace_cli.performing import perform

    perform(
        lambda output: drop_letters(
            LetterFilter(
                ids=tuple(letters or ()),
                stage=stage or "",
                code=code,
                document=document,
                collection=collection,
                tenant=tenant,
                since=since,
                until=until,
            ),
            everything=everything,
            reason=reason,
            data_dir=data_dir,
            output=output,
        ),
        as_json=as_json,
    )
