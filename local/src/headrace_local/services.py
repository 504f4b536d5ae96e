"""What gateway and registry are told on one machine."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from urllib.parse import urlsplit

from headrace.errors import ConfigurationError
from headrace_local.data_dir import DataDir
from headrace_local.processes import free_port

HOST = "127.0.0.1"
_LAST_PORT = 65_535


class Service(StrEnum):
    """A part of the stack that is no stage."""

    REGISTRY = "registry"
    GATEWAY = "gateway"


def gateway_url(environ: Mapping[str, str]) -> str:
    """Where a new gateway is to listen: as set, or anywhere free.

    Chosen here, so that it is where it was when it starts again.

    Raises:
        ConfigurationError: what is set is no port.
    """
    wanted = environ.get("HEADRACE_HTTP_PORT", "0")
    if not wanted.isdecimal() or int(wanted) > _LAST_PORT:
        raise ConfigurationError(
            f"HEADRACE_HTTP_PORT: {wanted!r} is no port; use 1 to {_LAST_PORT}, or 0 "
            "for any that is free"
        )
    return f"http://{HOST}:{int(wanted) or free_port()}"


def database_url(environ: Mapping[str, str], data_dir: DataDir) -> str:
    """The SQL database: as set, or a file of the data directory."""
    return environ.get("DATABASE_URL", f"sqlite:///{data_dir.database.resolve()}")


def service_environment(
    service: Service, stage: Mapping[str, str], data_dir: DataDir, *, gateway: str
) -> dict[str, str]:
    """The variables of a service.

    Args:
        service: which one.
        stage: what the stages get.
        data_dir: of the stack.
        gateway: URL at which the gateway is to listen.
    """
    environment = {
        **stage,
        "DATABASE_URL": database_url(stage, data_dir),
        "HEADRACE_PROBE_FILE": str(data_dir.address_file(service)),
    }
    if service is Service.GATEWAY:
        # Who is on this machine may as well read the directory.
        environment.setdefault("HEADRACE_AUTH_MODE", "none")
        environment["HEADRACE_HTTP_HOST"] = HOST
        environment["HEADRACE_HTTP_PORT"] = str(urlsplit(gateway).port)
    else:
        environment.pop("OPENAI_API_KEY", None)
    return environment
