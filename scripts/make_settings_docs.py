"""Writes what is made from the settings classes; ``--check`` only compares.

That is docs/settings.md for people, and headrace/setting_names.py, by which a process
tells a misspelt variable from one of another stage.
"""

from __future__ import annotations

import sys
from pathlib import Path

from annotated_types import Ge, Gt, Le
from headrace_chunker.settings import ChunkerSettings
from headrace_embedder.settings import EmbedderSettings
from headrace_gateway.settings import GatewaySettings
from headrace_indexer.settings import IndexerSettings
from headrace_loader.settings import LoaderSettings
from headrace_registry.settings import RegistrySettings
from pydantic import SecretStr
from pydantic.fields import FieldInfo

from headrace.database.settings import DatabaseSettings
from headrace.lag_exporter import LagExporterSettings
from headrace.settings import Settings, StageSettings

_ROOT = Path(__file__).parent.parent
PAGE = _ROOT / "docs" / "settings.md"
NAMES = _ROOT / "headrace" / "setting_names.py"

SECTIONS: dict[str, tuple[type[Settings], str]] = {
    "All stages and the command": (
        Settings,
        "All must agree on these; model, tokenizer and sizes make the fingerprint.",
    ),
    "Each stage": (StageSettings, "May differ from stage to stage."),
    "SQL database": (DatabaseSettings, "Of gateway and registry."),
    "Lag exporter": (LagExporterSettings, "Reads what the stages read, and:"),
    "Loader": (LoaderSettings, ""),
    "Chunker": (ChunkerSettings, ""),
    "Embedder": (EmbedderSettings, ""),
    "Indexer": (IndexerSettings, ""),
    "Registry": (
        RegistrySettings,
        "What is said of each stage, of the SQL database and:",
    ),
    "Gateway": (GatewaySettings, "And the model's, as the embedder, for queries."),
}
ELSEWHERE = (
    "HEADRACE_ADMIN_URL",
    "HEADRACE_API_KEY",
    "HEADRACE_CACHE_DIR",
    "HEADRACE_DATA_DIR",
    "HEADRACE_GATEWAY",
    "HEADRACE_GATEWAY_URL",
)
"""Read by the command, without a settings class."""

HEAD = """\
# Settings

Read from the environment at start.
A bad value ends the process with status 78 and names the variable.
A name that is none of these but much like one is told in the log at start.
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
    variable = variable_of(settings, name, field)
    value = default.get_secret_value() if isinstance(default, SecretStr) else default
    text = " ".join((field.description or "").split())
    bounds = _bounds(field)
    return f"| `{variable}` | {_code(value)} | {text}{f' {bounds}' if bounds else ''} |"


def variable_of(settings: type[Settings], name: str, field: FieldInfo) -> str:
    """The variable that a field is read from."""
    alias = field.validation_alias
    prefix = settings.model_config.get("env_prefix", "")
    return alias if isinstance(alias, str) else f"{prefix}{name}".upper()


def names() -> str:
    """The module of all names."""
    found = {
        variable_of(settings, name, field)
        for settings, _ in SECTIONS.values()
        for name, field in settings.model_fields.items()
    }
    ours = sorted(name for name in {*found, *ELSEWHERE} if name.startswith("HEADRACE_"))
    return "\n".join(
        [
            '"""All variables that are read; made by scripts/make_settings_docs.py."""',
            "",
            "NAMES = frozenset(",
            "    {",
            *(f'        "{name}",' for name in ours),
            "    }",
            ")",
            "",
        ]
    )


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
    for target, text in ((PAGE, page()), (NAMES, names())):
        if "--check" not in sys.argv:
            target.write_text(text, "utf-8")
        elif target.read_text("utf-8") != text:
            sys.exit(f"{target.name} is not what scripts/make_settings_docs.py writes")
