"""Rules that need no server: schemas, templates of addresses, canonical JSON, credentials."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import mcp_types as types
import pytest

from routeiq_plugin.errors import InvalidRequest
from routeiq_plugin.mcp.integrity import canonical, definition_hash
from routeiq_plugin.mcp.resources import matches
from routeiq_plugin.mcp.validation import Schemas


@pytest.mark.requirement("MCP-09")
@pytest.mark.parametrize(
    ("template", "uri", "fits"),
    [
        ("note://{id}", "note://7", True),
        ("note://{id}", "note://7/8", False),
        ("note://{+path}", "note://7/8", True),
        ("a://{x}/{y}", "a://1/2", True),
        ("a://{x}/{y}", "a://1", False),
        ("a://{x}/end", "a://1/end", True),
        ("a://{x}/end", "a://end", False),
        ("a://fixed", "a://fixed", True),
        ("a://fixed", "a://fixed/more", False),
        ("a://{x}{y}", "a://12", True),
        ("b://{x}", "a://1", False),
    ],
)
def test_an_address_comes_of_a_template_or_not(template: str, uri: str, fits: bool) -> None:
    assert matches(template, uri) is fits


@pytest.mark.requirement("MCP-09")
def test_a_template_cannot_make_matching_expensive() -> None:
    template = "a://" + "{x}a" * 400 + "b"
    assert matches(template, "a://" + "a" * 8000) is False


@pytest.mark.requirement("MCP-22")
def test_equal_definitions_have_equal_hashes_and_others_have_not() -> None:
    def tool(**fields: Any) -> types.Tool:
        schema = {"type": "object", "properties": {"a": {"type": "integer", "minimum": 1.0}, "b": {}}}
        return types.Tool(**{"name": "add", "description": "Adds.", "input_schema": schema, **fields})

    turned = {"properties": {"b": {}, "a": {"minimum": 1, "type": "integer"}}, "type": "object"}
    assert definition_hash(tool()) == definition_hash(tool(input_schema=turned))
    assert definition_hash(tool()) == definition_hash(tool(_meta={"of": "the transport"}))
    for change in (
        {"description": "Adds!"},
        {"name": "sum"},
        {"title": "Sum"},
        {"annotations": types.ToolAnnotations(destructive_hint=True)},
        {"output_schema": {"type": "object"}},
        {"input_schema": {"type": "object"}},
    ):
        assert definition_hash(tool()) != definition_hash(tool(**change))


@pytest.mark.requirement("MCP-22")
def test_canonical_json_is_that_of_the_standard() -> None:
    value = {"\u20ac": 1, "\r": 2, "\ufb33": 3, "1": 4, "\U0001f600": 5, "\x80": 6, "\u00f6": 7}
    assert canonical(value) == '{"\\r":2,"1":4,"\x80":6,"\u00f6":7,"\u20ac":1,"\U0001f600":5,"\ufb33":3}'
    assert canonical([1.0, 0.5, True, None, "a/b"]) == '[1,0.5,true,null,"a/b"]'


@pytest.mark.requirement("MCP-08")
@pytest.mark.parametrize(
    ("schema", "arguments", "field"),
    [
        ({"required": ["a"]}, {}, "arguments.a"),
        ({"properties": {"a": {"type": "integer"}}}, {"a": "1"}, "arguments.a"),
        ({"properties": {"a": {"items": {"type": "integer"}}}}, {"a": [1, "2"]}, "arguments.a[1]"),
        ({"properties": {"a": {"required": ["b"]}}}, {"a": {}}, "arguments.a.b"),
        ({"additionalProperties": False}, {"a": 1}, "arguments"),
        ({"properties": {"a": {"$ref": "#/$defs/n"}}, "$defs": {"n": {"type": "null"}}}, {"a": 1}, "arguments.a"),
        ({"$schema": "http://json-schema.org/draft-07/schema#", "required": ["a"]}, {}, "arguments.a"),
    ],
)
async def test_the_first_wrong_argument_is_named(
    schema: Mapping[str, Any], arguments: Mapping[str, Any], field: str
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        await Schemas().check("tool", schema, arguments)
    assert refused.value.detail["field"] == field


@pytest.mark.requirement("MCP-08")
@pytest.mark.parametrize(
    "schema",
    [
        {"type": "no such type"},
        {"properties": {"a": {"$ref": "http://127.0.0.1:1/schema.json"}}},
        {"properties": {"a": {"$ref": "#"}}, "$ref": "#"},
        {"properties": {"a": {"pattern": "^(a+)+$"}}},
        {"patternProperties": {"^(a+)+$": {"type": "null"}}, "additionalProperties": False},
    ],
)
async def test_what_a_schema_cannot_say_safely_is_left_to_the_server(schema: Mapping[str, Any]) -> None:
    await Schemas().check("tool", schema, {"a": "a" * 40 + "b", "a" * 40 + "b": 1})
