"""Writes what is made for the chart; ``--check`` only compares.

That is its README, by the comments in values.yaml, and in values.schema.json the names
that may be set below ``settings``, by the settings classes: so a misspelt one, or one
that the chart sets by itself, is refused before anything is installed.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from make_settings_docs import SECTIONS, variable_of

CHART = Path(__file__).parent.parent / "charts" / "headrace"

SET_BY_THE_CHART = frozenset(
    {
        "DATABASE_URL",
        "HEADRACE_ADMIN_PORT",
        "HEADRACE_AUTH_MODE",
        "HEADRACE_DOCUMENT_PARTITIONS",
        "HEADRACE_DOCUMENT_PREFIX",
        "HEADRACE_DRAIN_S",
        "HEADRACE_EMBEDDING_DIMENSIONS",
        "HEADRACE_EMBEDDING_MODEL",
        "HEADRACE_EMBEDDING_MODEL_REVISION",
        "HEADRACE_EMBEDDING_PROVIDER",
        "HEADRACE_EMBED_REQUESTS_PER_MINUTE",
        "HEADRACE_EMBED_TOKENS_PER_MINUTE",
        "HEADRACE_HTTP_FILE",
        "HEADRACE_HTTP_HOST",
        "HEADRACE_HTTP_PORT",
        "HEADRACE_MAX_REPLICAS",
        "HEADRACE_OBJECT_ROOTS",
        "HEADRACE_OBJECT_STORE_ALLOW_HTTP",
        "HEADRACE_OBJECT_STORE_URL",
        "HEADRACE_OIDC_AUDIENCE",
        "HEADRACE_OIDC_ISSUER",
        "HEADRACE_OIDC_JWKS_URL",
        "HEADRACE_PARTITIONS",
        "HEADRACE_PROBE_FILE",
        "HEADRACE_PROBE_HOST",
        "HEADRACE_PROBE_PORT",
        "HEADRACE_QDRANT_REPLICATION_FACTOR",
        "HEADRACE_QUERY_PREFIX",
        "HEADRACE_RETENTION_HOURS",
        "HEADRACE_TARGET_DRAIN_S",
        "HEADRACE_TOPIC_PREFIX",
        "KAFKA_BOOTSTRAP_SERVERS",
        "KAFKA_CA_FILE",
        "KAFKA_CERT_FILE",
        "KAFKA_KEY_FILE",
        "KAFKA_PASSWORD",
        "KAFKA_SASL_MECHANISM",
        "KAFKA_SECURITY_PROTOCOL",
        "KAFKA_USERNAME",
        "OPENAI_API_KEY",
        "OPENAI_BASE_URL",
        "QDRANT_API_KEY",
        "QDRANT_URL",
    }
)
"""Each has a value of the chart's own, or follows from how it runs the services."""


def variables() -> set[str]:
    """All that the settings classes read."""
    return {
        variable_of(settings, name, field)
        for settings, _ in SECTIONS.values()
        for name, field in settings.model_fields.items()
    }


def schema(text: str) -> str:
    """The schema with the names of today."""
    found = json.loads(text)
    names = sorted(variables() - SET_BY_THE_CHART)
    found["$defs"]["settings"]["propertyNames"]["enum"] = names
    return json.dumps(found, indent=2) + "\n"


def readme(values: str) -> str:
    """The chart's README: its head, and a row for each value."""
    head = (CHART / "README.md.head").read_text("utf-8")
    said = _said(values)
    lines = ["| value | default | what it is |", "| --- | --- | --- |"]
    for path, default in _leaves(yaml.safe_load(values), said):
        shown = json.dumps(default, ensure_ascii=False)
        text = said.get(path, "")
        lines.append(f"| `{path}` | `{shown}` | {text} |")
    return head + "\n".join(lines) + "\n"


def _said(values: str) -> dict[str, str]:
    """The comments that begin with ``# --``, by the path of what follows each."""
    said: dict[str, str] = {}
    above: list[tuple[int, str]] = []
    comment: str | None = None
    for line in values.splitlines():
        if found := re.match(r" *# -- (.*)", line):
            comment = found[1]
        elif found := re.match(r"( *)([A-Za-z]+):", line):
            depth = len(found[1])
            above = [each for each in above if each[0] < depth]
            above.append((depth, found[2]))
            if comment is not None:
                said[".".join(name for _, name in above)] = comment
            comment = None
    return said


def _leaves(
    values: dict[str, Any], said: dict[str, str], path: str = ""
) -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        here = f"{path}.{name}" if path else name
        inside = isinstance(value, dict) and value
        # What is written on one line, and explained as a whole, stays whole.
        if inside and not (here in said and path):
            yield from _leaves(value, said, here)
        else:
            yield here, value


def main() -> None:
    """Write or compare."""
    values = (CHART / "values.yaml").read_text("utf-8")
    described = CHART / "values.schema.json"
    made = {
        CHART / "README.md": readme(values),
        described: schema(described.read_text("utf-8")),
    }
    for target, text in made.items():
        if "--check" not in sys.argv:
            target.write_text(text, "utf-8")
        elif target.read_text("utf-8") != text:
            sys.exit(f"{target.name} is not what scripts/make_chart_docs.py writes")


if __name__ == "__main__":
    main()
