"""``headrace keys``: what its commands do."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from headrace.clock import SystemClock
from headrace.database.engine import Database, upgrade
from headrace.database.key_store import KeyStore, TooManyKeys
from headrace.database.keys import Scope, StoredKey
from headrace.database.settings import DatabaseSettings
from headrace.open_letters import when
from headrace.process import load_settings
from headrace_cli.failures import EXIT_OK, CommandFailed, usage
from headrace_cli.output import Output

_DAY_MS = 24 * 3600 * 1000


@dataclass(frozen=True, kw_only=True)
class NewKey:
    """What a command line asks for."""

    tenant: str
    scopes: frozenset[Scope]
    label: str
    days: int | None


async def create_key(wanted: NewKey, output: Output) -> int:
    """Make it and print it; the exit code."""
    if not 0 < len(wanted.tenant.encode()) <= 128:
        raise usage("the tenant is empty or longer than 128 bytes")
    if len(wanted.label) > 256:
        raise usage("the label is longer than 256 characters")
    now_ms = SystemClock().now_ms()
    expires_ms = None if wanted.days is None else now_ms + wanted.days * _DAY_MS
    async with _keys() as keys:
        try:
            stored, key = await keys.create(
                tenant=wanted.tenant,
                scopes=wanted.scopes,
                label=wanted.label,
                now_ms=now_ms,
                expires_ms=expires_ms,
            )
        except TooManyKeys as error:
            raise CommandFailed(
                "too_many_keys",
                f"{wanted.tenant} has two live keys of that label already",
                advice="`headrace keys list` shows them; revoke one, or give another "
                "--label",
            ) from error
    output.note("it is shown this once")
    output.text(key)
    output.answer({**_shown(stored), "key": key})
    return EXIT_OK


async def list_all(output: Output) -> int:
    """Print them; the exit code."""
    async with _keys() as keys:
        found = await keys.all()
    now_ms = SystemClock().now_ms()
    output.table(
        ["id", "tenant", "scopes", "label", "made", "state"],
        [
            (
                each.id,
                each.tenant,
                " ".join(sorted(each.scopes)),
                each.label,
                when(each.created_ms),
                "live" if each.usable(now_ms) else "ended",
            )
            for each in found
        ],
    )
    output.answer({"keys": [_shown(each) for each in found]})
    return EXIT_OK


async def revoke_key(id_: str, output: Output) -> int:
    """End it; the exit code."""
    async with _keys() as keys:
        if not await keys.revoke(id_, now_ms=SystemClock().now_ms()):
            raise CommandFailed(
                "key_missing",
                f"there is no live key {id_}",
                advice="`headrace keys list` shows those there are",
            )
    output.text(f"{id_} is revoked")
    output.answer({"revoked": id_})
    return EXIT_OK


@asynccontextmanager
async def _keys() -> AsyncIterator[KeyStore]:
    settings = load_settings(DatabaseSettings)
    await upgrade(settings.database_url.get_secret_value())
    database = Database.from_settings(settings)
    try:
        yield KeyStore(database)
    finally:
        await database.close()


def _shown(key: StoredKey) -> dict[str, object]:
    return {
        "id": key.id,
        "tenant": key.tenant,
        "scopes": sorted(key.scopes),
        "label": key.label,
        "created_at": when(key.created_ms),
        "expires_at": when(key.expires_ms or 0) or None,
        "revoked_at": when(key.revoked_ms or 0) or None,
    }
