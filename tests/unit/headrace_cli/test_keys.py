"""``headrace keys`` where the driver of its database is not installed."""

from __future__ import annotations

from pathlib import Path

from tests.support.cli import environment, headrace


def test_it_says_what_to_install_where_postgresql_cannot_be_reached(
    tmp_path: Path,
) -> None:
    # Found before the real one, and as good as none.
    (tmp_path / "asyncpg.py").write_text(
        "raise ModuleNotFoundError('asyncpg', name='asyncpg')"
    )
    answer = headrace(
        "keys",
        "list",
        env=environment(
            PYTHONPATH=str(tmp_path), DATABASE_URL="postgresql://headrace@127.0.0.1/h"
        ),
    )

    assert answer.code == 78
    assert "requirements/gateway.txt" in str(answer.value["error"])
