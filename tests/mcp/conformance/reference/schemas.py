"""What the reference server's tools take, and the forms that they show to users."""

from __future__ import annotations

from typing import Any, Final

Schema = dict[str, Any]

NOTHING: Final[Schema] = {"type": "object", "properties": {}}

_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_TEXT: Final[Schema] = {"type": "string"}


def text(*names: str) -> Schema:
    """Describe an object of required strings."""
    return {"type": "object", "properties": dict.fromkeys(names, _TEXT), "required": list(names)}


EVERY_KEYWORD: Final[Schema] = {
    "$schema": _DIALECT,
    "type": "object",
    "$defs": {
        "address": {"$anchor": "addressDef", "type": "object", "properties": {"street": _TEXT, "city": _TEXT}},
    },
    "properties": {
        "name": _TEXT,
        "address": {"$ref": "#/$defs/address"},
        "contactMethod": {"type": "string", "enum": ["phone", "email"]},
        "phone": _TEXT,
        "email": _TEXT,
    },
    "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
    "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
    "then": {"required": ["phone"]},
    "else": {"required": ["email"]},
    "additionalProperties": False,
}
"""Keywords of JSON Schema 2020-12 that must come through a listing (SEP-1613, SEP-2106)."""

IN_HEADER: Final[Schema] = {
    "type": "object",
    "properties": {"region": {"type": "string", "x-mcp-header": "Region"}},
    "required": ["region"],
}
"""An argument that calls repeat in the header `Mcp-Param-Region` (SEP-2243)."""

TAKES: Final[dict[str, Schema]] = {
    "json_schema_2020_12_tool": EVERY_KEYWORD,
    "test_header_parameter": IN_HEADER,
    "test_sampling": text("prompt"),
    "test_elicitation": text("message"),
}
"""By tool; the others take nothing."""

WITH_DEFAULTS: Final[Schema] = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "default": "John Doe"},
        "age": {"type": "integer", "default": 30},
        "score": {"type": "number", "default": 95.5},
        "status": {"type": "string", "enum": ["active", "inactive", "pending"], "default": "active"},
        "verified": {"type": "boolean", "default": True},
    },
}
"""A form with a default of each type (SEP-1034)."""


def _titled(*titles: str) -> list[Schema]:
    return [{"const": f"value{number}", "title": title} for number, title in enumerate(titles, 1)]


_OPTIONS: Final = ["option1", "option2", "option3"]
WITH_ENUMS: Final[Schema] = {
    "type": "object",
    "properties": {
        "untitledSingle": {"type": "string", "enum": _OPTIONS},
        "titledSingle": {"type": "string", "oneOf": _titled("First Option", "Second Option", "Third Option")},
        "legacyEnum": {
            "type": "string",
            "enum": ["opt1", "opt2", "opt3"],
            "enumNames": ["Option One", "Option Two", "Option Three"],
        },
        "untitledMulti": {"type": "array", "items": {"type": "string", "enum": _OPTIONS}},
        "titledMulti": {"type": "array", "items": {"anyOf": _titled("First Choice", "Second Choice", "Third Choice")}},
    },
}
"""A form with each way to write a choice (SEP-1330)."""
