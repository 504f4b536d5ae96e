"""``headrace keys`` and ``headrace documents`` against a served gateway."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from headrace_cli.app import build_app
from typer.testing import CliRunner

from tests.support.served_gateway import Served


def headrace(*arguments: str) -> dict[str, Any]:
    done = CliRunner().invoke(build_app(), [*arguments, "--json"])
    answer: dict[str, Any] = json.loads(done.stdout)
    assert (done.exit_code == 0) != ("error" in answer), done.output
    return answer


def test_a_key_is_made_used_and_revoked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{tmp_path}/headrace.db")
    with Served(tmp_path) as served:
        scopes = ("--scope", "read", "--scope", "write")
        made = headrace("keys", "create", "--tenant", "ann", *scopes)
        monkeypatch.setenv("HEADRACE_GATEWAY_URL", served.url)
        monkeypatch.setenv("HEADRACE_API_KEY", made["key"])
        assert headrace("documents", "list") == {"documents": []}
        shown = headrace("documents", "show", "no-id")
        assert shown["error"]["code"] == "invalid_request"
        listed = headrace("keys", "list")["keys"]
        assert made["id"] in {each["id"] for each in listed}
        assert made["key"] not in str(listed)

        assert headrace("keys", "revoke", made["id"]) == {"revoked": made["id"]}

        again = headrace("keys", "revoke", made["id"])
        assert again["error"]["code"] == "key_missing"
