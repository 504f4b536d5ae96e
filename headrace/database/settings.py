"""Where the SQL database is, and how many connections a process may hold."""

from __future__ import annotations

from pydantic import Field, SecretStr

from headrace.settings import Settings


class DatabaseSettings(Settings):
    """What gateway, registry and the commands that use SQL have in common."""

    database_url: SecretStr = Field(
        SecretStr("sqlite:////var/lib/headrace/headrace.db"),
        validation_alias="DATABASE_URL",
        description="sqlite:///path (four slashes: absolute) for one machine, "
        "postgresql://user:password@host/name for more.",
    )
    database_pool_size: int = Field(
        10, ge=1, description="Connections that a process keeps open."
    )
    database_pool_overflow: int = Field(
        20, ge=0, description="More that it may open while those are busy."
    )
    database_pool_wait_s: float = Field(
        30.0, gt=0, description="Longest wait for one of them."
    )
    database_pool_recycle_s: int = Field(
        1800, ge=1, description="A connection older than this is replaced."
    )
    database_pre_ping: bool = Field(
        True, description="Whether a connection is tried before it is used."
    )
