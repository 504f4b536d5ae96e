"""``headrace search``: the nearest chunks to a question."""

from __future__ import annotations

from typing import Annotated

import typer

from headrace_cli import options


def search(
    query: Annotated[str, typer.Argument(help="What to look for, in any words.")],
    *,
    collection: options.Collection,
    limit: Annotated[
        int, typer.Option("--limit", "-k", min=1, max=1000, help="Hits at most.")
    ] = 5,
    data_dir: options.DataDir = options.DEFAULT_DATA_DIR,
    tenant: options.Tenant = "default",
    as_json: options.Json = False,
) -> None:
    """Find the chunks of a collection that are nearest to a question.

    Without a running stack it starts the local store alone, for as long as it takes.
    """
    from headrace_cli.performing import perform
    from headrace_cli.searching import Question, search_once

    question = Question(text=query, collection=collection, tenant=tenant, limit=limit)
    perform(
        lambda output: search_once(question, data_dir=data_dir, output=output),
        as_json=as_json,
    )
