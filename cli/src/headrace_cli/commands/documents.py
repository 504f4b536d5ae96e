"""``headrace documents``: what the gateway knows of documents."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from headrace_cli import options

if TYPE_CHECKING:
    from headrace_cli.gateway import Reach

_Id = Annotated[str, typer.Argument(help="The document's id.")]


def build() -> typer.Typer:
    """The group of commands."""
    app = typer.Typer(
        help="List, show, retry and delete documents through the gateway.",
        no_args_is_help=True,
    )
    app.command("list")(list_documents)
    app.command("show")(show)
    app.command("retry")(retry)
    app.command("delete")(delete)
    return app


def list_documents(
    *,
    url: options.Gateway = None,
    key: options.ApiKey = "",
    data_dir: options.DataDir = options.DEFAULT_DATA_DIR,
    collection: Annotated[
        str | None, typer.Option("--collection", "-c", help="Only of this collection.")
    ] = None,
    state: Annotated[str | None, typer.Option(help="Only in this state.")] = None,
    job: Annotated[str | None, typer.Option(help="Only of this import.")] = None,
    text: Annotated[
        str | None, typer.Option(help="Only with this in the name.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="So many at most.")] = 50,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Go on with what changes.")
    ] = False,
    as_json: options.Json = False,
) -> None:
    """List documents, newest first; then those that came by Kafka alone.

    With --watch and --json, one object a line for each that changes.
    """
    from headrace_cli.document_work import list_some
    from headrace_cli.gateway import Reach
    from headrace_cli.performing import perform

    filters = {"collection": collection, "state": state, "job": job, "text": text}
    perform(
        lambda output: list_some(
            Reach(url=url, key=key, data_dir=data_dir),
            filters=filters,
            limit=limit,
            watch=watch,
            output=output,
        ),
        as_json=as_json,
    )


def show(
    document: _Id,
    *,
    url: options.Gateway = None,
    key: options.ApiKey = "",
    data_dir: options.DataDir = options.DEFAULT_DATA_DIR,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Until it is at its end.")
    ] = False,
    as_json: options.Json = False,
) -> None:
    """Show a document: state, what each stage did, what went wrong.

    With --watch, again as it changes, and 1 where it failed; with --json too, one
    object a line.
    """
    from headrace_cli.document_work import show_one
    from headrace_cli.gateway import Reach
    from headrace_cli.performing import perform

    perform(
        lambda output: show_one(
            Reach(url=url, key=key, data_dir=data_dir),
            document,
            watch=watch,
            output=output,
        ),
        as_json=as_json,
    )


def retry(
    document: _Id,
    *,
    url: options.Gateway = None,
    key: options.ApiKey = "",
    data_dir: options.DataDir = options.DEFAULT_DATA_DIR,
    as_json: options.Json = False,
) -> None:
    """Try a document again that failed."""
    from headrace_cli.gateway import Reach

    reach = Reach(url=url, key=key, data_dir=data_dir)
    _act("retry", document, reach, as_json=as_json)


def delete(
    document: _Id,
    *,
    url: options.Gateway = None,
    key: options.ApiKey = "",
    data_dir: options.DataDir = options.DEFAULT_DATA_DIR,
    as_json: options.Json = False,
) -> None:
    """Delete a document."""
    from headrace_cli.gateway import Reach

    reach = Reach(url=url, key=key, data_dir=data_dir)
    _act("delete", document, reach, as_json=as_json)


def _act(what: str, document: str, reach: Reach, *, as_json: bool) -> None:
    from headrace_cli.document_work import act
    from headrace_cli.performing import perform

    perform(
        lambda output: act(reach, what, document, output=output),
        as_json=as_json,
    )
