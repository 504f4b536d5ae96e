"""``headrace doctor``: is everything that the pipeline needs in order?"""

from __future__ import annotations

from headrace_cli import options


def doctor(
    *,
    data_dir: options.DataDir = options.DEFAULT_DATA_DIR,
    as_json: options.Json = False,
) -> None:
    """Check broker, topics, store, model and dimensions, clock and disk."""
    from headrace_cli.checking import check_everything
    from headrace_cli.performing import perform

    perform(
        lambda output: check_everything(data_dir=data_dir, output=output),
        as_json=as_json,
    )
