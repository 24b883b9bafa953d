"""The reference of the REST API in Markdown, from the OpenAPI document that the control plane serves."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from modeldist.control.app import create_app
from modeldist.control.settings import ServerSettings


def openapi() -> dict[str, Any]:
    """As `GET /api/v1/openapi.json` answers it."""
    document: dict[str, Any] = create_app(ServerSettings(state_dir=Path("/nonexistent"))).openapi()
    return document


def rest_page(document: Mapping[str, Any]) -> str:
    lines = [
        "# REST, every route",
        "",
        f"From the OpenAPI document of version {document['info']['version']}, which a control plane serves at",
        "`/api/v1/openapi.json`. [The REST API](../rest.md) says how to use it,",
        "[the client](../client.md) does so from Python.",
        "",
        "| route | |",
        "|---|---|",
    ]
    operations = list(_operations(document))
    lines += [f"| [`{method} {path}`](#{each['operationId']}) | {_title(each)} |" for method, path, each in operations]
    for method, path, operation in operations:
        lines += ["", f"## {_title(operation)} {{ #{operation['operationId']} }}", "", f"`{method} {path}`", ""]
        lines += _operation(operation)
    lines += ["", "# Data", ""]
    for name, schema in sorted(document["components"]["schemas"].items()):
        lines += _schema(name, schema)
    return "\n".join(lines) + "\n"


def _operations(document: Mapping[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def _title(operation: Mapping[str, Any]) -> str:
    return str(operation.get("summary") or operation["operationId"])


def _operation(operation: Mapping[str, Any]) -> Iterator[str]:
    if operation.get("description"):
        yield _plain(operation["description"])
        yield ""
    if parameters := operation.get("parameters"):
        yield "| parameter | in | type | |"
        yield "|---|---|---|---|"
        for each in parameters:
            needed = ", needed" if each.get("required") and each["in"] != "path" else ""
            kind = _kind(each["schema"])
            yield f"| `{each['name']}` | {each['in']}{needed} | {kind} | {_plain(each.get('description', ''))} |"
        yield ""
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    if body:
        yield f"Body: {_kind(body['schema'])}."
        yield ""
    yield "| status | body | |"
    yield "|---|---|---|"
    examples = []
    for status, answer in operation["responses"].items():
        kinds = ", ".join(_kind(content.get("schema", {})) for content in answer.get("content", {}).values())
        yield f"| {status} | {kinds} | {_plain(answer.get('description', ''))} |"
        examples += [content["example"] for content in answer.get("content", {}).values() if "example" in content][:1]
    if examples and str(next(iter(operation["responses"]))).startswith("2"):
        yield ""
        yield "```json"
        yield json.dumps(examples[0], indent=1) if not isinstance(examples[0], str) else examples[0]
        yield "```"


def _schema(name: str, schema: Mapping[str, Any]) -> Iterator[str]:
    yield f"## {name} {{ #data-{name} }}"
    yield ""
    if schema.get("description"):
        yield _plain(schema["description"])
        yield ""
    if "enum" in schema:
        yield "One of " + ", ".join(f"`{value}`" for value in schema["enum"]) + "."
        yield ""
    if properties := schema.get("properties"):
        yield "| field | type | |"
        yield "|---|---|---|"
        for field, of in properties.items():
            needed = "" if field in schema.get("required", ()) else "may be left out"
            says = ". ".join(filter(None, (_plain(of.get("description", "")).rstrip("."), needed)))
            yield f"| `{field}` | {_kind(of)} | {says} |"
        yield ""


def _kind(schema: Mapping[str, Any]) -> str:
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#data-{name})"
    for key in ("anyOf", "oneOf"):
        if key in schema:
            return " or ".join(dict.fromkeys(_kind(each) for each in schema[key]))
    if values := schema.get("enum", [schema["const"]] if "const" in schema else []):
        return ", ".join(f"`{value}`" for value in values)
    return _type(schema)


def _type(schema: Mapping[str, Any]) -> str:
    kind = schema.get("type", "anything")
    if kind == "array":
        return f"list of {_kind(schema.get('items', {}))}"
    if kind == "object" and isinstance(schema.get("additionalProperties"), dict):
        return f"map to {_kind(schema['additionalProperties'])}"
    return " or ".join(kind) if isinstance(kind, list) else str(kind)


def _plain(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")
