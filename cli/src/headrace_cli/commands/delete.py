"""``headrace delete``: take documents out."""

from __future__ import annotations

from typing import Annotated

import typer

from headrace_cli import options


def delete(
    documents: Annotated[
        list[str] | None,
        typer.Argument(help="Ids of documents.", show_default=False),
    ] = None,
    *,
    collection: options.Collection,
    data_dir: options.DataDir = options.DEFAULT_DATA_DIR,
    tenant: Annotated[
        str | None,
        typer.Option(
            help="Whose they are: default where not given, with --all everybody's.",
            show_default=False,
        ),
    ] = None,
    everything: Annotated[
        bool,
        typer.Option(
            "--all", help="All that were sent to the collection before, with --yes."
        ),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="All may go.")] = False,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait until all are deleted.")
    ] = False,
    timeout: options.Timeout = None,
    as_json: options.Json = False,
) -> None:
    """Delete documents by id, in a running stack or by way of any Kafka.

    With --all it waits for the loader to take in what was sent before, and deletes
    every document of the collection, those on their way too. What is sent later lives.
    """
    from headrace_cli.performing import perform
    from headrace_cli.sending import Deletion, delete_once

    perform(
        lambda output: delete_once(
            Deletion(
                documents=documents or (),
                collection=collection,
                tenant=tenant,
                everything=everything,
                sure=yes,
                timeout_s=timeout,
            ),
            data_dir=data_dir,
            wait=wait,
            output=output,
        ),
        as_json=as_json,
    )
