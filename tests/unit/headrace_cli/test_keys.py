"""``headrace keys`` on a machine without the gateway's packages."""

from __future__ import annotations

from pathlib import Path

from tests.support.cli import environment, headrace


def test_it_says_what_to_install_where_nothing_reaches_sql(tmp_path: Path) -> None:
    # Found before the real one, and as good as none.
    (tmp_path / "sqlalchemy.py").write_text("raise ModuleNotFoundError('sqlalchemy')")
    answer = headrace("keys", "list", env=environment(PYTHONPATH=str(tmp_path)))

    assert answer.code == 78
    assert answer.value["error"]["code"] == "not_installed"
    assert "requirements/gateway.txt" in str(answer.value["error"])
