"""``headrace admin``: running the pipeline through the gateway."""

from __future__ import annotations

import datetime as dt
from typing import Annotated

import typer

from headrace_cli import options

_All = Annotated[bool, typer.Option("--all", help="Everything.")]
_Stage = Annotated[options.StageOption | None, typer.Option(help="One stage.")]
_Collection = Annotated[
    str | None, typer.Option("--collection", "-c", help="One collection.")
]
_Tenant = Annotated[
    str | None, typer.Option(help="Whose collection; an operator's key needs it.")
]


def build() -> typer.Typer:
    """The group of commands."""
    app = typer.Typer(
        help="Run the pipeline through the gateway; the key needs the scope admin.",
        no_args_is_help=True,
    )
    app.command("pause")(pause)
    app.command("resume")(resume)
    app.command("pauses")(pauses)
    app.command("drain")(drain)
    app.command("retry-failed")(retry_failed)
    app.command("recover-stale")(recover_stale)
    app.command("depth")(depth)
    app.command("workers")(workers)
    return app


def pause(
    *,
    everything: _All = False,
    stage: _Stage = None,
    collection: _Collection = None,
    tenant: _Tenant = None,
    reason: Annotated[str, typer.Option(help="Told to all who ask why.")] = "",
    url: options.AdminUrl = None,
    key: options.ApiKey = "",
    data_dir: options.DataDir = options.DEFAULT_DATA_DIR,
    as_json: options.Json = False,
) -> None:
    """Pause all stages, one, or a collection; what is in work is finished.

    While a collection is paused the gateway takes nothing into it.
    """
    from headrace_cli import admin_work
    from headrace_cli.gateway import Reach
    from headrace_cli.performing import perform

    target = _target(everything, stage, collection, tenant)
    perform(
        lambda output: admin_work.pause(
            Reach(url=url, key=key, data_dir=data_dir),
            target=target,
            reason=reason,
            output=output,
        ),
        as_json=as_json,
    )


def resume(
    *,
    everything: _All = False,
    stage: _Stage = None,
    collection: _Collection = None,
    tenant: _Tenant = None,
    url: options.AdminUrl = None,
    key: options.ApiKey = "",
    data_dir: options.DataDir = options.DEFAULT_DATA_DIR,
    as_json: options.Json = False,
) -> None:
    """Let go on what was paused, by the name under which it was."""
    from headrace_cli import admin_work
    from headrace_cli.gateway import Reach
    from headrace_cli.performing import perform

    target = _target(everything, stage, collection, tenant)
    perform(
        lambda output: admin_work.resume(
            Reach(url=url, key=key, data_dir=data_dir), target=target, output=output
        ),
        as_json=as_json,
    )


def pauses(
    *,
    url: options.AdminUrl = None,
    key: options.ApiKey = "",
    data_dir: options.DataDir = options.DEFAULT_DATA_DIR,
    as_json: options.Json = False,
) -> None:
    """Show what is paused, since when, by whom and why."""
    from headrace_cli import admin_work
    from headrace_cli.gateway import Reach
    from headrace_cli.performing import perform

    perform(
        lambda output: admin_work.pauses(
            Reach(url=url, key=key, data_dir=data_dir), output=output
        ),
        as_json=as_json,
    )


def drain(
    *,
    stage: _Stage = None,
    timeout_s: Annotated[
        float, typer.Option("--timeout", min=0, max=600, help="Seconds to wait.")
    ] = 60.0,
    url: options.AdminUrl = None,
    key: options.ApiKey = "",
    data_dir: options.DataDir = options.DEFAULT_DATA_DIR,
    as_json: options.Json = False,
) -> None:
    """Wait until the stages, or one, have nothing left; 1 where something is."""
    from headrace_cli import admin_work
    from headrace_cli.gateway import Reach
    from headrace_cli.performing import perform

    perform(
        lambda output: admin_work.drain(
            Reach(url=url, key=key, data_dir=data_dir),
            stage=None if stage is None else stage.value,
            timeout_s=timeout_s,
            output=output,
        ),
        as_json=as_json,
    )


def retry_failed(
    documents: Annotated[
        list[str] | None, typer.Argument(help="Ids.", show_default=False)
    ] = None,
    *,
    everything: _All = False,
    collection: _Collection = None,
    code: Annotated[str | None, typer.Option(help="Why they failed.")] = None,
    since: Annotated[str | None, typer.Option(help="Failed then or later.")] = None,
    until: Annotated[str | None, typer.Option(help="Failed before.")] = None,
    job: Annotated[str | None, typer.Option(help="Of this import.")] = None,
    limit: Annotated[
        int, typer.Option(min=1, max=10_000, help="So many at most.")
    ] = 1000,
    timeout_s: Annotated[
        float, typer.Option("--timeout", min=1, max=300, help="Seconds to begin more.")
    ] = 30.0,
    url: options.AdminUrl = None,
    key: options.ApiKey = "",
    data_dir: options.DataDir = options.DEFAULT_DATA_DIR,
    as_json: options.Json = False,
) -> None:
    """Process again what failed: documents by their ids, or --all that filters leave.

    1 where one was refused, or some are left.
    """
    from headrace_cli import admin_work
    from headrace_cli.failures import usage
    from headrace_cli.gateway import Reach
    from headrace_cli.output import Output
    from headrace_cli.performing import perform

    filters = {
        "collection": collection,
        "code": code,
        "since": _time(since),
        "until": _time(until),
        "job": job,
    }

    async def work(output: Output) -> int:
        if bool(documents) == everything:
            raise usage("give either ids or --all")
        if documents and any(filters.values()):
            raise usage("ids need no filters", "give filters with --all")
        return await admin_work.retry_failed(
            Reach(url=url, key=key, data_dir=data_dir),
            documents or [],
            filters=filters,
            limit=limit,
            timeout_s=timeout_s,
            output=output,
        )

    perform(work, as_json=as_json)


def recover_stale(
    *,
    wait: Annotated[
        bool, typer.Option("--wait/--no-wait", help="Until it is done.")
    ] = True,
    timeout_s: Annotated[
        float, typer.Option("--timeout", min=1, help="Seconds to wait.")
    ] = 120.0,
    url: options.AdminUrl = None,
    key: options.ApiKey = "",
    data_dir: options.DataDir = options.DEFAULT_DATA_DIR,
    as_json: options.Json = False,
) -> None:
    """Have the registry look now for documents that nobody works on any more."""
    from headrace_cli import admin_work
    from headrace_cli.gateway import Reach
    from headrace_cli.performing import perform

    perform(
        lambda output: admin_work.recover_stale(
            Reach(url=url, key=key, data_dir=data_dir),
            wait=wait,
            timeout_s=timeout_s,
            output=output,
        ),
        as_json=as_json,
    )


def depth(
    *,
    collection: _Collection = None,
    url: options.AdminUrl = None,
    key: options.ApiKey = "",
    data_dir: options.DataDir = options.DEFAULT_DATA_DIR,
    as_json: options.Json = False,
) -> None:
    """Show what waits by stage, lane and partition, and documents by state."""
    from headrace_cli import admin_work
    from headrace_cli.gateway import Reach
    from headrace_cli.performing import perform

    perform(
        lambda output: admin_work.depth(
            Reach(url=url, key=key, data_dir=data_dir),
            collection=collection,
            output=output,
        ),
        as_json=as_json,
    )


def workers(
    *,
    url: options.AdminUrl = None,
    key: options.ApiKey = "",
    data_dir: options.DataDir = options.DEFAULT_DATA_DIR,
    as_json: options.Json = False,
) -> None:
    """Show which processes there are, at which version, and what they work on."""
    from headrace_cli import admin_work
    from headrace_cli.gateway import Reach
    from headrace_cli.performing import perform

    perform(
        lambda output: admin_work.workers(
            Reach(url=url, key=key, data_dir=data_dir), output=output
        ),
        as_json=as_json,
    )


def _target(
    everything: bool,  # noqa: FBT001  as the command has it
    stage: options.StageOption | None,
    collection: str | None,
    tenant: str | None,
) -> dict[str, str | None]:
    """What is named; nothing means everything, which must be said.

    Raises:
        typer.BadParameter: not one thing is named.
    """
    if everything + (stage is not None) + (collection is not None) != 1:
        raise typer.BadParameter("give one of --all, --stage and --collection")
    if tenant is not None and collection is None:
        raise typer.BadParameter("--tenant goes with --collection")
    name = None if stage is None else stage.value
    return {"stage": name, "collection": collection, "tenant": tenant}


def _time(text: str | None) -> str | None:
    """A time of this machine's zone, unless it names one.

    Raises:
        typer.BadParameter: it is none.
    """
    if text is None:
        return None
    try:
        return dt.datetime.fromisoformat(text).astimezone().isoformat()
    except (ValueError, OverflowError) as error:
        raise typer.BadParameter(
            f"{text!r} is no point in time; give it as 2026-01-31T12:00:00"
        ) from error
