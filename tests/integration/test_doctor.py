"""``headrace doctor`` against a real PostgreSQL."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.cli import headrace
from tests.support.postgres import running_postgres

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def test_it_refuses_pools_that_may_ask_for_more_than_the_server_has(
    tmp_path: Path,
) -> None:
    with running_postgres(max_connections=20) as server:

        def database_check(*options: str, **pool: int) -> dict[str, Any]:
            variables = {f"HEADRACE_DATABASE_POOL_{name}": pool[name] for name in pool}
            # Nothing is to be reached here but the database.
            answer = headrace(
                "doctor",
                *("-d", tmp_path, *options),
                env={
                    "DATABASE_URL": server.url(),
                    "HEADRACE_EMBEDDING_PROVIDER": "hash",
                    **{name: str(value) for name, value in variables.items()},
                },
            )
            found = {each["name"]: each for each in answer.value["checks"]}
            return dict(found["database"])

        assert not database_check()["ok"]
        assert database_check(SIZE=5, OVERFLOW=2)["ok"]

        refused = database_check("--gateways", "2", SIZE=5, OVERFLOW=3)
        assert not refused["ok"]
        assert "24 in all" in refused["detail"]
        assert "max_connections is 20" in refused["detail"]
        assert "max_connections to 29" in refused["advice"]

        server.stop()
        away = database_check(SIZE=1, OVERFLOW=0)
        assert not away["ok"]
        assert away["advice"]
