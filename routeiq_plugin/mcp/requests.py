"""The requests that the gateway sends, as functions of a session; loaded when first needed, with the SDK."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import mcp_types as types
from pydantic import TypeAdapter

from routeiq_plugin.mcp.failures import InputRequired
from routeiq_plugin.mcp.upstream import Request, Session

_CALLED: Final[TypeAdapter[types.CallToolResult | types.InputRequiredResult]] = TypeAdapter(
    types.CallToolResult | types.InputRequiredResult
)
Json = dict[str, Any]


def call_tool(
    name: str, arguments: Mapping[str, Any], input_schema: Mapping[str, Any]
) -> Request[types.CallToolResult]:
    """Call a tool; what it answers is not checked against its output schema, which is the client's to do."""

    async def send(session: Session) -> types.CallToolResult:
        params: Json = {"name": name, "arguments": dict(arguments)}
        if session.posts is not None:
            said = await session.posts.call(session.client.protocol_version, params, input_schema)
            result = _CALLED.validate_python(said, by_name=False)
        else:
            request = types.CallToolRequest(params=types.CallToolRequestParams(**params))
            result = await session.client.send_request(request, _CALLED)
        if isinstance(result, types.InputRequiredResult):
            raise InputRequired
        return result

    return send


def list_tools(cursor: str | None) -> Request[tuple[list[types.Tool], str | None]]:
    """List a page of tools."""

    async def send(session: Session) -> tuple[list[types.Tool], str | None]:
        result = await session.client.list_tools(params=_page(cursor))
        return result.tools, result.next_cursor

    return send


def list_resources(cursor: str | None) -> Request[tuple[list[types.Resource], str | None]]:
    """List a page of resources."""

    async def send(session: Session) -> tuple[list[types.Resource], str | None]:
        result = await session.client.list_resources(params=_page(cursor))
        return result.resources, result.next_cursor

    return send


def list_templates(cursor: str | None) -> Request[tuple[list[types.ResourceTemplate], str | None]]:
    """List a page of resource templates."""

    async def send(session: Session) -> tuple[list[types.ResourceTemplate], str | None]:
        result = await session.client.list_resource_templates(params=_page(cursor))
        return result.resource_templates, result.next_cursor

    return send


def list_prompts(cursor: str | None) -> Request[tuple[list[types.Prompt], str | None]]:
    """List a page of prompts."""

    async def send(session: Session) -> tuple[list[types.Prompt], str | None]:
        result = await session.client.list_prompts(params=_page(cursor))
        return result.prompts, result.next_cursor

    return send


def read_resource(uri: str) -> Request[types.ReadResourceResult]:
    """Read a resource."""

    async def send(session: Session) -> types.ReadResourceResult:
        result = await session.client.read_resource(uri, allow_input_required=True)
        if isinstance(result, types.InputRequiredResult):
            raise InputRequired
        return result

    return send


def get_prompt(name: str, arguments: Mapping[str, str]) -> Request[types.GetPromptResult]:
    """Get a prompt."""

    async def send(session: Session) -> types.GetPromptResult:
        result = await session.client.get_prompt(name, dict(arguments), allow_input_required=True)
        if isinstance(result, types.InputRequiredResult):
            raise InputRequired
        return result

    return send


def complete(params: Mapping[str, Any]) -> Request[types.CompleteResult]:
    """Complete an argument of a prompt or of a resource template."""

    async def send(session: Session) -> types.CompleteResult:
        request = types.CompleteRequest(params=types.CompleteRequestParams.model_validate(params))
        return await session.client.send_request(request, types.CompleteResult)

    return send


def dumped(model: Any) -> Json:
    """Render as MCP writes it, fields without a value left out."""
    rendered: Json = model.model_dump(by_alias=True, mode="json", exclude_none=True)
    return rendered


def _page(cursor: str | None) -> types.PaginatedRequestParams | None:
    return None if cursor is None else types.PaginatedRequestParams(cursor=cursor)
