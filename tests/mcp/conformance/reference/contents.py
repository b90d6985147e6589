"""Tools that only answer, and what the reference server offers to read."""

from __future__ import annotations

import json
from typing import Any, Final

from mcp.shared.exceptions import MCPError
from mcp_types import (
    INVALID_PARAMS,
    AudioContent,
    BlobResourceContents,
    CallToolRequestParams,
    CallToolResult,
    EmbeddedResource,
    GetPromptResult,
    ImageContent,
    Prompt,
    PromptArgument,
    PromptMessage,
    ReadResourceResult,
    Resource,
    ResourceTemplate,
    TextContent,
    TextResourceContents,
)

from tests.mcp.conformance.reference.parts import AUDIO, IMAGE, Context, Tools, said

WATCHED: Final = "test://watched-resource"

RESOURCES: Final = (
    Resource(uri="test://static-text", name="static-text", description="Words", mime_type="text/plain"),
    Resource(uri="test://static-binary", name="static-binary", description="A pixel", mime_type="image/png"),
    Resource(uri=WATCHED, name="watched-resource", description="Something to subscribe to", mime_type="text/plain"),
)
TEMPLATE: Final = ResourceTemplate(
    uri_template="test://template/{id}/data", name="template", description="By number", mime_type="application/json"
)

PROMPTS: Final = (
    Prompt(name="test_simple_prompt", description="Without arguments"),
    Prompt(
        name="test_prompt_with_arguments",
        description="With two",
        arguments=[PromptArgument(name="arg1", required=True), PromptArgument(name="arg2", required=True)],
    ),
    Prompt(
        name="test_prompt_with_embedded_resource",
        description="With a resource",
        arguments=[PromptArgument(name="resourceUri", required=True)],
    ),
    Prompt(name="test_prompt_with_image", description="With a picture"),
    Prompt(name="test_input_required_result_prompt", description="Asks first (2026-07-28)"),
)


def read(uri: str) -> ReadResourceResult:
    """Read a resource; raises `MCPError` for one that is not there."""
    begin, end = TEMPLATE.uri_template.split("{id}")
    if uri == "test://static-binary":
        return ReadResourceResult(contents=[BlobResourceContents(uri=uri, mime_type="image/png", blob=IMAGE)])
    if uri == "test://static-text":
        return _text(uri, "text/plain", "Words that stay as they are.")
    if uri == WATCHED:
        return _text(uri, "text/plain", "Words that could change.")
    if uri.startswith(begin) and uri.endswith(end):
        number = uri.removeprefix(begin).removesuffix(end)
        told = {"id": number, "templateTest": True, "data": f"Data for ID: {number}"}
        return _text(uri, "application/json", json.dumps(told))
    raise MCPError(code=INVALID_PARAMS, message="Resource not found", data={"uri": uri})


def prompt(name: str, arguments: dict[str, str]) -> GetPromptResult:
    """Fill in a prompt; raises `MCPError` for one that is not there, or lacks an argument."""
    try:
        return GetPromptResult(messages=[PromptMessage(role="user", content=each) for each in _said(name, arguments)])
    except KeyError as missing:
        raise MCPError(code=INVALID_PARAMS, message=f"{name}: {missing} is missing") from None


def _said(name: str, arguments: dict[str, str]) -> list[Any]:
    if name == "test_simple_prompt":
        return [_words("This is a simple prompt for testing.")]
    if name == "test_prompt_with_arguments":
        return [_words(f"Prompt with arguments: arg1='{arguments['arg1']}', arg2='{arguments['arg2']}'")]
    if name == "test_prompt_with_embedded_resource":
        return [_embedded(arguments["resourceUri"], "text/plain", "An embedded resource."), _words("Look at it.")]
    if name == "test_prompt_with_image":
        return [_image(), _words("Look at it.")]
    raise MCPError(code=INVALID_PARAMS, message=f"no prompt is named {name!r}")


async def _simple_text(context: Context, params: CallToolRequestParams) -> CallToolResult:
    return said("This is a simple text response for testing.")


async def _shows_image(context: Context, params: CallToolRequestParams) -> CallToolResult:
    return CallToolResult(content=[_image()])


async def _shows_audio(context: Context, params: CallToolRequestParams) -> CallToolResult:
    return CallToolResult(content=[AudioContent(type="audio", data=AUDIO, mime_type="audio/wav")])


async def _shows_resource(context: Context, params: CallToolRequestParams) -> CallToolResult:
    return CallToolResult(content=[_embedded("test://embedded-resource", "text/plain", "An embedded resource.")])


async def _shows_everything(context: Context, params: CallToolRequestParams) -> CallToolResult:
    mixed = _embedded("test://mixed-content-resource", "application/json", '{"test": "data", "value": 123}')
    return CallToolResult(content=[_words("Multiple content types test:"), _image(), mixed])


async def _fails(context: Context, params: CallToolRequestParams) -> CallToolResult:
    return said("This tool intentionally returns an error for testing", is_error=True)


async def _repeats(context: Context, params: CallToolRequestParams) -> CallToolResult:
    return said(json.dumps(params.arguments))


TOOLS: Final[Tools] = {
    "test_simple_text": _simple_text,
    "test_image_content": _shows_image,
    "test_audio_content": _shows_audio,
    "test_embedded_resource": _shows_resource,
    "test_multiple_content_types": _shows_everything,
    "test_error_handling": _fails,
    "json_schema_2020_12_tool": _repeats,
    "test_header_parameter": _repeats,
}


def _text(uri: str, mime_type: str, text: str) -> ReadResourceResult:
    return ReadResourceResult(contents=[TextResourceContents(uri=uri, mime_type=mime_type, text=text)])


def _words(text: str) -> TextContent:
    return TextContent(type="text", text=text)


def _image() -> ImageContent:
    return ImageContent(type="image", data=IMAGE, mime_type="image/png")


def _embedded(uri: str, mime_type: str, text: str) -> EmbeddedResource:
    contents = TextResourceContents(uri=uri, mime_type=mime_type, text=text)
    return EmbeddedResource(type="resource", resource=contents)
