"""The life of a stage's process: settings, wiring, signals, drain, exit status.

Exit status: 0 after a drain, 78 for a configuration error, 1 for anything fatal.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, NoReturn, TypeVar

from pydantic import ValidationError
from pydantic_settings import BaseSettings

from headrace.clock import Clock
from headrace.errors import ConfigurationError
from headrace.handler import DeadLetters, Handler, Producer, StatusReporter
from headrace.messages import Stage
from headrace.metrics import Metrics
from headrace.settings import StageSettings
from headrace.topology import Topology

B = TypeVar("B", bound=BaseSettings)
S = TypeVar("S", bound=StageSettings)

EXIT_CONFIGURATION = 78


@dataclass(frozen=True, kw_only=True)
class StageContext(Generic[S]):
    """What a stage's ``build`` makes its handler from."""

    stage: Stage
    settings: S
    topology: Topology
    producer: Producer
    status: StatusReporter
    dead_letters: DeadLetters
    metrics: Metrics
    clock: Clock
    worker: str
    """Name of this process in heartbeats and logs."""


Build = Callable[[StageContext[S]], Awaitable[Handler]]


def load_settings(settings_type: type[B]) -> B:
    """Read settings from the environment.

    Raises:
        ConfigurationError: naming each bad variable, its value's fault and the bound.
    """
    try:
        return settings_type()
    except ValidationError as error:
        raise ConfigurationError(_explain(settings_type, error)) from None


def _explain(settings_type: type[BaseSettings], error: ValidationError) -> str:
    lines = []
    for fault in error.errors(include_url=False, include_input=False):
        location = str(fault["loc"][0]) if fault["loc"] else ""
        field = settings_type.model_fields.get(location)
        if field is not None and isinstance(field.validation_alias, str):
            location = field.validation_alias
        elif field is not None:
            prefix = settings_type.model_config.get("env_prefix", "")
            location = f"{prefix}{location}".upper()
        text = fault["msg"].removeprefix("Value error, ")
        lines.append(f"{location}: {text}" if location else text)
    return "; ".join(lines)


def exit_for_configuration(error: ConfigurationError) -> NoReturn:
    """Say what is wrong with the configuration and end the process."""
    sys.stderr.write(f"configuration error: {error}\n")
    sys.exit(EXIT_CONFIGURATION)
