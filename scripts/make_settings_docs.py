"""Writes docs/settings.md from the settings classes; ``--check`` only compares."""

from __future__ import annotations

import sys
from pathlib import Path

from annotated_types import Ge, Gt, Le
from headrace_chunker.settings import ChunkerSettings
from headrace_embedder.settings import EmbedderSettings
from headrace_indexer.settings import IndexerSettings
from headrace_loader.settings import LoaderSettings
from pydantic import SecretStr
from pydantic.fields import FieldInfo

from headrace.settings import Settings, StageSettings

TARGET = Path(__file__).parent.parent / "docs" / "settings.md"

SECTIONS: dict[str, tuple[type[Settings], str]] = {
    "All stages and the command": (
        Settings,
        "All must agree on these; model, tokenizer and sizes make the fingerprint.",
    ),
    "Each stage": (StageSettings, "May differ from stage to stage."),
    "Loader": (LoaderSettings, ""),
    "Chunker": (ChunkerSettings, ""),
    "Embedder": (EmbedderSettings, ""),
    "Indexer": (IndexerSettings, ""),
}

HEAD = """\
# Settings

Read from the environment at start.
A bad value ends the process with status 78 and names the variable.
Lists are JSON.
This page is made by `scripts/make_settings_docs.py`.
"""


def page() -> str:
    """The whole page."""
    lines = [HEAD]
    shown: dict[str, object] = {}
    for title, (settings, intro) in SECTIONS.items():
        rows = []
        for name, field in settings.model_fields.items():
            default = field.get_default(call_default_factory=True)
            if name in shown and shown[name] == default:
                continue
            shown[name] = default
            rows.append(_row(settings, name, field, default))
        lines.append(f"## {title}\n")
        if intro:
            lines.append(f"{intro}\n")
        lines += ["| variable | default | what it is |", "| --- | --- | --- |", *rows]
        lines.append("")
    return "\n".join(lines)


def _row(settings: type[Settings], name: str, field: FieldInfo, default: object) -> str:
    alias = field.validation_alias
    prefix = settings.model_config.get("env_prefix", "")
    variable = alias if isinstance(alias, str) else f"{prefix}{name}".upper()
    value = default.get_secret_value() if isinstance(default, SecretStr) else default
    text = " ".join((field.description or "").split())
    bounds = _bounds(field)
    return f"| `{variable}` | {_code(value)} | {text}{f' {bounds}' if bounds else ''} |"


def _code(value: object) -> str:
    return "" if value in ("", [], None) else f"`{value}`"


def _bounds(field: FieldInfo) -> str:
    found = []
    for bound in field.metadata:
        match bound:
            case Ge(ge=value):
                found.append(f"at least {value}")
            case Gt(gt=value):
                found.append(f"more than {value}")
            case Le(le=value):
                found.append(f"at most {value}")
    return f"({', '.join(found)})" if found else ""


if __name__ == "__main__":
    if "--check" not in sys.argv:
        TARGET.write_text(page(), "utf-8")
    elif TARGET.read_text("utf-8") != page():
        sys.exit("docs/settings.md is not what scripts/make_settings_docs.py writes")
