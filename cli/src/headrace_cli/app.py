"""The command-line application: which commands there are."""

from __future__ import annotations

from importlib.metadata import version
from typing import Annotated

import typer

from headrace_cli.commands import (
    admin,
    delete,
    dlq,
    doctor,
    documents,
    importing,
    ingest,
    keys,
    run,
    search,
    status,
    topics,
    up,
    verify,
)

_HELP = """Documents in, searchable points out, nothing lost on the way.

Exit codes: 0 done; 1 something failed; 2 wrong usage; 3 Kafka, the store or the stack
cannot be reached; 78 wrong configuration.
"""


def build_app() -> typer.Typer:
    """The application with all its commands."""
    app = typer.Typer(
        name="headrace",
        help=_HELP,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_common)
    app.command()(run.run)
    app.command()(search.search)
    app.command()(up.up)
    app.command()(ingest.ingest)
    app.command()(delete.delete)
    app.command("import")(importing.import_)
    app.command()(status.status)
    app.command()(verify.verify)
    app.command()(doctor.doctor)
    app.add_typer(documents.build(), name="documents")
    app.add_typer(admin.build(), name="admin")
    app.add_typer(dlq.build(), name="dlq")
    app.add_typer(keys.build(), name="keys")
    app.add_typer(topics.build(), name="topics")
    return app


def _print_version(wanted: bool) -> None:  # noqa: FBT001  Click calls it so
    if wanted:
        typer.echo(f"headrace {version('headrace-cli')}")
        raise typer.Exit


def _common(
    *,
    show_version: Annotated[
        bool,
        typer.Option(
            "--version", is_eager=True, callback=_print_version, help="Print it."
        ),
    ] = False,
) -> None:
    del show_version  # its callback has done the work
