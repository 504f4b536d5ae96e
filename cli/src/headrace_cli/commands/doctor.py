"""``headrace doctor``: is everything that the pipeline needs in order?"""

from __future__ import annotations

from typing import Annotated

import typer

from headrace_cli import options


def doctor(
    *,
    data_dir: options.DataDir = options.DEFAULT_DATA_DIR,
    gateways: Annotated[
        int, typer.Option(min=1, help="Replicas that share the SQL database.")
    ] = 1,
    registries: Annotated[int, typer.Option(min=1, help="The same of these.")] = 1,
    as_json: options.Json = False,
) -> None:
    """Check broker, topics, stores, model, connections to SQL, clock and disk."""
    from headrace_cli.checking import check_everything
    from headrace_cli.checking_database import Replicas
    from headrace_cli.performing import perform

    perform(
        lambda output: check_everything(
            data_dir=data_dir, replicas=Replicas(gateways, registries), output=output
        ),
        as_json=as_json,
    )
