"""JSON logs on stdout, for people on a terminal; secrets and document text kept out."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Iterable, MutableMapping
from typing import Any

import structlog
from pydantic import SecretStr
from pydantic_settings import BaseSettings

_SECRET_NAME = re.compile(
    r"pass(word|wd)?$|secret|api_?key|(access|auth|bearer)_?token|authorization|credential|cookie",
    re.IGNORECASE,
)
_SECRET_TEXT = re.compile(
    r"(?P<keep>://[^/\s:@]*:|bearer\s+|basic\s+)[^\s@\"']+(?=@|\b)"
    r"|\bsk-[A-Za-z0-9_-]{8,}",
    re.IGNORECASE,
)
_HIDDEN = "[hidden]"
_LONGEST = 2000
"""Of one value, except tracebacks: longer ones would be a document's text."""

_NOISY = (
    *("aiokafka", "aiohttp.access", "openai"),
    *("httpx", "httpcore", "httpx2", "httpcore2"),
)
"""They tell of each call or of what we tell ourselves."""


class Redactor:
    """A structlog processor that hides secrets and cuts long values."""

    def __init__(self, secrets: Iterable[str]) -> None:
        # Shorter ones would hide ordinary words.
        self._secrets = [secret for secret in secrets if len(secret) >= 6]

    def __call__(
        self, _logger: Any, _method: str, event: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        """Redact one log event in place."""
        for name, value in event.items():
            if _SECRET_NAME.search(name):
                event[name] = _HIDDEN
            else:
                event[name] = self._value(value, whole=name == "exception")
        return event

    def _value(self, value: Any, *, whole: bool = False) -> Any:
        if isinstance(value, (int, float, type(None))):
            return value
        if isinstance(value, (list, tuple)):
            return [self._value(item) for item in value]
        text = self.text(value if isinstance(value, str) else repr(value))
        return text if whole else text[:_LONGEST]

    def text(self, text: str) -> str:
        """Hide what is or looks like a secret."""
        for secret in self._secrets:
            text = text.replace(secret, _HIDDEN)
        return _SECRET_TEXT.sub(lambda match: (match["keep"] or "") + _HIDDEN, text)


def secrets_of(settings: BaseSettings) -> list[str]:
    """The values of all secret settings."""
    values = (getattr(settings, name) for name in type(settings).model_fields)
    return [v.get_secret_value() for v in values if isinstance(v, SecretStr)]


def configure(*, level: str, settings: BaseSettings, **context: str) -> None:
    """Send structlog's and other libraries' logs to stdout, ``context`` on each."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    human = sys.stdout.isatty()
    last: list[Any] = [
        structlog.processors.format_exc_info,
        Redactor(secrets_of(settings)),
        structlog.dev.ConsoleRenderer()
        if human
        else structlog.processors.JSONRenderer(),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(level),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *last,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    # The loop tells of assignments and retries itself, once and in our words.
    for noisy in _NOISY:
        logging.getLogger(noisy).setLevel(max(logging.WARNING, root.level))
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(**context)
