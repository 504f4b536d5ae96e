"""A request body that comes as a form or as JSON, as the OpenAPI document says it."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from headrace_gateway.uploads import FORM, JSON

_FILE = {"type": "string", "format": "binary"}


def form_or_json(
    json_model: type[BaseModel], form_model: type[BaseModel]
) -> dict[str, Any]:
    """What a route says of its request body."""
    form = form_model.model_json_schema()
    form["properties"] = {
        **form["properties"],
        "attributes": {
            "type": "string",
            "contentMediaType": JSON,
            "description": "A JSON object of strings.",
        },
        "file": _FILE,
    }
    form["required"] = [
        *(name for name in form.get("required", ()) if name != "name"),
        "file",
    ]
    return {
        "requestBody": {
            "required": True,
            "content": {
                JSON: {"schema": _inlined(json_model.model_json_schema())},
                FORM: {"schema": _inlined(form)},
            },
        }
    }


def _inlined(schema: dict[str, Any]) -> dict[str, Any]:
    """A schema without definitions of its own: the document has its own place."""
    definitions = schema.pop("$defs", {})

    def resolved(value: Any) -> Any:
        if isinstance(value, dict):
            name = str(value.get("$ref", "")).rpartition("/")[2]
            if name in definitions:
                rest = {key: at for key, at in value.items() if key != "$ref"}
                return resolved(definitions[name] | rest)
            return {key: resolved(at) for key, at in value.items()}
        if isinstance(value, list):
            return [resolved(each) for each in value]
        return value

    found: dict[str, Any] = resolved(schema)
    return found
