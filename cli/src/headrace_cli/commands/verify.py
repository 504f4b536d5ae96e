"""``headrace verify``: is anything lost?"""

from __future__ import annotations

from typing import Annotated

import typer

from headrace_cli import options


def verify(
    *,
    data_dir: options.DataDir = options.DEFAULT_DATA_DIR,
    repair: Annotated[
        bool, typer.Option("--repair", help="Put right what can be put right.")
    ] = False,
    as_json: options.Json = False,
) -> None:
    """Compare offsets, state records, points, status and dead letters.

    A repair also removes large texts from the object store that no record and no letter
    can refer to any more; let it run now and then.

    Exits with 0 only if they agree. Without a running stack it starts the broker and
    the store of the data directory, for as long as it takes.
    """
    from headrace_cli.performing import perform
    from headrace_cli.verifying import verify_all

    perform(
        lambda output: verify_all(data_dir=data_dir, repair=repair, output=output),
        as_json=as_json,
    )
