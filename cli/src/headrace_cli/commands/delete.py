"""``headrace delete``: take documents out."""

from __future__ import annotations

from typing import Annotated

import typer

from headrace_cli import options


def delete(
    *,
    documents: Annotated[list[str], typer.Argument(help="Ids of documents.")],
    collection: options.Collection,
    data_dir: options.DataDir = options.DEFAULT_DATA_DIR,
    tenant: options.Tenant = "default",
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait until all are deleted.")
    ] = False,
    timeout: options.Timeout = None,
    as_json: options.Json = False,
) -> None:
    """Delete documents by id, in a running stack or by way of any Kafka."""
    from headrace_cli.performing import perform
    from headrace_cli.sending import Deletion, delete_once

    deletion = Deletion(
        documents=documents,
        collection=collection,
        tenant=tenant,
        timeout_s=timeout,
    )
    perform(
        lambda output: delete_once(
            deletion, data_dir=data_dir, wait=wait, output=output
        ),
        as_json=as_json,
    )
