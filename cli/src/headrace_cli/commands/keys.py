"""``headrace keys``: who may call the gateway."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from headrace_cli import options


class ScopeOption(StrEnum):
    """What a key is good for; admin holds the others."""

    READ = "read"
    WRITE = "write"
    ADMIN = "admin"


def build() -> typer.Typer:
    """The group of commands."""
    app = typer.Typer(
        help="Make, list and revoke the gateway's API keys, in the database that "
        "DATABASE_URL names.",
        no_args_is_help=True,
    )
    app.command("create")(create)
    app.command("list")(list_keys)
    app.command("revoke")(revoke)
    return app


def create(
    *,
    tenant: options.Tenant = "default",
    scopes: Annotated[
        list[ScopeOption] | None,
        typer.Option("--scope", help="May be given more than once.  [default: read]"),
    ] = None,
    label: Annotated[
        str, typer.Option(help="What it is for; two live keys may have the same.")
    ] = "",
    days: Annotated[
        int | None, typer.Option(min=1, help="It ends after so many days.")
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Make a key and print it; it is shown this once.

    To replace a key, make a second one of the same tenant and label, hand it out, then
    revoke the first. The tenant * is for those who run the pipeline: /v1/admin alone.
    """
    from headrace.database.keys import Scope
    from headrace_cli.key_work import NewKey, create_key
    from headrace_cli.performing import perform

    wanted = NewKey(
        tenant=tenant,
        scopes=frozenset(map(Scope, scopes or [ScopeOption.READ])),
        label=label,
        days=days,
    )
    perform(lambda output: create_key(wanted, output), as_json=as_json)


def list_keys(*, as_json: options.Json = False) -> None:
    """List all keys, without what is secret of them."""
    from headrace_cli.key_work import list_all
    from headrace_cli.performing import perform

    perform(list_all, as_json=as_json)


def revoke(
    key: Annotated[str, typer.Argument(help="Its id, as `headrace keys list` says.")],
    *,
    as_json: options.Json = False,
) -> None:
    """End a key; within 5 s no gateway takes it any more."""
    from headrace_cli.key_work import revoke_key
    from headrace_cli.performing import perform

    perform(lambda output: revoke_key(key, output), as_json=as_json)
