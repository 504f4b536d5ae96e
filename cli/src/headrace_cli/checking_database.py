"""Whether gateway and registry have their database, and connections enough in it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from headrace_local.data_dir import DataDir
from headrace_local.services import database_url
from pydantic import SecretStr

from headrace.database.engine import Database
from headrace.database.settings import DatabaseSettings
from headrace.process import load_settings

SPARE = 5
"""Connections that stay for people and for what the server itself keeps back."""


@dataclass(frozen=True, slots=True)
class Replicas:
    """How many processes share the database."""

    gateways: int = 1
    registries: int = 1


@dataclass(frozen=True, slots=True)
class Room:
    """What was found: whether it is enough, and in words."""

    enough: bool
    detail: str
    advice: str = ""


async def look(data_dir: Path, replicas: Replicas) -> Room:
    """Ask the server what it allows, and compare.

    Raises:
        ConfigurationError: a setting is wrong, or the driver is not installed.
        SharedFailure: the server does not answer.
    """
    settings = load_settings(DatabaseSettings)
    url = database_url(os.environ, DataDir(data_dir))
    database = Database.from_settings(
        settings.model_copy(update={"database_url": SecretStr(url)})
    )
    try:
        if database.dialect == "sqlite":
            return _one_machine(replicas)
        most = await database.most_connections()
    finally:
        await database.close()
    return room(settings, replicas, most=most)


def room(settings: DatabaseSettings, replicas: Replicas, *, most: int) -> Room:
    """Whether all pools at their fullest fit into what the server allows."""
    each = settings.database_pool_size + settings.database_pool_overflow
    processes = replicas.gateways + replicas.registries
    wanted, free = each * processes, most - SPARE
    said = (
        f"{replicas.gateways} gateways and {replicas.registries} registries may open "
        f"{each} connections each, {wanted} in all; the server's max_connections is "
        f"{most}, and {SPARE} of them stay free"
    )
    return Room(
        wanted <= free,
        said,
        "lower HEADRACE_DATABASE_POOL_SIZE or HEADRACE_DATABASE_POOL_OVERFLOW (their "
        f"sum to {max(0, free) // processes} at most), run fewer replicas, or raise "
        f"max_connections to {wanted + SPARE}",
    )


def _one_machine(replicas: Replicas) -> Room:
    one = replicas.gateways == replicas.registries == 1
    return Room(
        one,
        "SQLite in a file" if one else "SQLite in a file is for one of each alone",
        "set DATABASE_URL to a PostgreSQL database",
    )
