"""``headrace import``: many documents from one file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from headrace_cli import options


def import_(
    file: Annotated[
        Path,
        typer.Argument(
            help="A JSON object a line: name, and text or uri.",
            exists=True,
            dir_okay=False,
            readable=True,
        ),
    ],
    *,
    collection: options.Collection,
    on_conflict: Annotated[
        options.OnConflictOption,
        typer.Option(help="What to do where the collection has a document so named."),
    ] = options.OnConflictOption.FAIL,
    exclusive: Annotated[
        bool,
        typer.Option(
            "--exclusive",
            help="Pause the collection, let the stages finish, import, resume. The key "
            "needs the scope admin.",
        ),
    ] = False,
    drain_s: Annotated[
        float,
        typer.Option(
            "--drain-timeout", min=0, max=600, help="Seconds for the stages to finish."
        ),
    ] = 300.0,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Show the counts as they change.")
    ] = False,
    wait: Annotated[
        bool, typer.Option("--wait/--no-wait", help="Until the import is at its end.")
    ] = True,
    timeout: options.Timeout = None,
    url: options.Gateway = None,
    admin_url: Annotated[
        str | None,
        typer.Option(
            envvar="HEADRACE_ADMIN_URL",
            help="URL of the gateway's port for /v1/admin, where that is another.",
        ),
    ] = None,
    key: options.ApiKey = "",
    data_dir: options.DataDir = options.DEFAULT_DATA_DIR,
    as_json: options.Json = False,
) -> None:
    """Import a file of many documents through the gateway, and say what became of them.

    0 where all were indexed, 1 where a line was refused, a document failed, or the end
    did not come in time. With --watch and --json, one object a line.
    """
    from headrace_cli.gateway import Reach
    from headrace_cli.importing import Importing, Plan
    from headrace_cli.performing import perform

    plan = Plan(
        file=file,
        collection=collection,
        on_conflict=on_conflict.value,
        exclusive=exclusive,
        drain_s=drain_s,
        watch=watch,
        wait=wait,
        timeout_s=timeout,
    )
    perform(
        lambda output: Importing(
            plan,
            gateway=Reach(url=url, key=key, data_dir=data_dir),
            admin=Reach(url=admin_url or url, key=key, data_dir=data_dir),
            output=output,
        ).run(),
        as_json=as_json,
    )
