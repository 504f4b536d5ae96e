"""Makes schemas that kubeconform can read: of Kubernetes, and of others' resources.

Arguments: where to write, the schemas that a package brings, and files with definitions
of resources.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import yaml

# What the chart asks for at least, and a new one.
KUBERNETES = ("1.28", "1.36")


def kubernetes(source: Path, target: Path) -> None:
    """The strict schemas, with references that lead to files beside them."""
    for version in KUBERNETES:
        (folder,) = source.glob(f"v{version}.*-local-strict")
        found = target / version
        found.mkdir(parents=True)
        for each in folder.glob("*.json"):
            text = each.read_text("utf-8")
            schema = json.loads(text)
            schema.pop("$id", None)
            text = json.dumps(schema).replace(
                "/api/_definitions.json", "_definitions.json"
            )
            (found / each.name).write_text(text, "utf-8")


def definition(source: Path, target: Path) -> None:
    """The schemas within the definition of a resource, made strict."""
    target.mkdir(parents=True, exist_ok=True)
    found = yaml.safe_load(source.read_text("utf-8"))
    kind = found["spec"]["names"]["kind"].lower()
    for version in found["spec"]["versions"]:
        schema = version["schema"]["openAPIV3Schema"]
        _close(schema)
        # Of an object's metadata such a definition says nothing.
        schema["properties"]["metadata"] = {"type": "object"}
        name = f"{kind}_{version['name']}.json"
        (target / name).write_text(json.dumps(schema), "utf-8")


def _close(schema: Any) -> None:
    """Let no object have what is not described."""
    if isinstance(schema, list):
        for each in schema:
            _close(each)
    elif isinstance(schema, dict):
        open_ = schema.get("x-kubernetes-preserve-unknown-fields", False)
        described = isinstance(schema.get("properties"), dict)
        if described and schema.get("type") == "object" and not open_:
            schema.setdefault("additionalProperties", False)
        for each in schema.values():
            _close(each)


def main() -> None:
    """Make all of them."""
    target, package, *files = map(Path, sys.argv[1:])
    kubernetes(package, target)
    for each in files:
        definition(each, target / "others")


if __name__ == "__main__":
    main()
