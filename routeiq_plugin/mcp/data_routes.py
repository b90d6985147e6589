"""HTTP of what servers offer: tools, resources and prompts, listed and used; every answer is JSON, at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse
from starlette.responses import Response

from routeiq_plugin.errors import Forbidden
from routeiq_plugin.host.app import BODY
from routeiq_plugin.host.auth import Caller, authenticate
from routeiq_plugin.host.behind import answer_first
from routeiq_plugin.host.departures import unless_client_leaves
from routeiq_plugin.host.requests import KEY, author_of, json_body
from routeiq_plugin.mcp.access import Action
from routeiq_plugin.mcp.catalog import FRESH_SECONDS, Offer
from routeiq_plugin.mcp.failures import worded
from routeiq_plugin.mcp.offers import Asked, ServerOffer, described, prefix_of
from routeiq_plugin.mcp.plane import DataPlane
from routeiq_plugin.mcp.prompts import PromptGet
from routeiq_plugin.mcp.resources import ResourceRead
from routeiq_plugin.mcp.tools import ToolCall

TAG: Final = "mcp"
PATH: Final = "/mcp-rest/tools/list"
"""A path of LiteLLM's with the same meaning, open to every key that may use MCP."""

ServerId = Annotated[str | None, Query(description="Id, alias or name of one server")]


def data_routes(plane: DataPlane) -> APIRouter:
    """Build the routes."""
    router = APIRouter(tags=[TAG], dependencies=[KEY])
    _add_tools(router, plane)
    _add_resources(router, plane)
    _add_prompts(router, plane)
    _add_approval(router, plane)
    return router


def _add_tools(router: APIRouter, plane: DataPlane) -> None:
    @router.get("/v1/mcp/tools", summary="List tools of all MCP servers")
    async def list_prefixed(request: Request, server_id: ServerId = None) -> Response:
        """List the tools that the key may use, each name behind its server's prefix."""
        asked = await _asked(plane, request)
        found = await plane.tools.listed(asked, await plane.offers.servers(asked, server_id))
        tools = [{**_dumped(tool), "name": prefix_of(each.server) + tool.name} for each in found for tool in each.items]
        return JSONResponse({"tools": tools})

    @router.get("/mcp/tools", summary="List tools of all MCP servers")
    @router.get("/mcp/tools/list", summary="List tools of all MCP servers")
    async def list_tools(request: Request, server_id: ServerId = None, mcp_server_name: ServerId = None) -> Response:
        """List the tools that the key may use, each with its server, and how each server fared."""
        asked = await _asked(plane, request)
        named = server_id or mcp_server_name
        found = await plane.tools.listed(asked, await plane.offers.servers(asked, named))
        return JSONResponse(_listing("tools", found, named))

    @router.post("/mcp/tools/call", summary="Call a tool of an MCP server")
    async def call_tool(request: Request) -> Response:
        """Call a tool: `{server_id?, name, arguments}`; without server by prefixed name, or by one that is unique."""
        asked = await _asked(plane, request)
        call = ToolCall.read(json_body(request.scope[BODY]))

        async def answer() -> Response:
            result = await plane.tools.call(asked, request, call)
            return JSONResponse(result.model_dump(by_alias=True, mode="json"))

        return await answer_first(request, unless_client_leaves(request, answer()))


def _add_resources(router: APIRouter, plane: DataPlane) -> None:
    @router.get("/mcp/resources", summary="List resources of all MCP servers")
    async def list_resources(request: Request, server_id: ServerId = None) -> Response:
        """List the resources and resource templates of the key's servers."""
        asked = await _asked(plane, request)
        resources, templates = await plane.resources.listed(asked, await plane.offers.servers(asked, server_id))
        listed = _listing("resources", resources, server_id)
        return JSONResponse({**listed, "resourceTemplates": _items(templates)})

    @router.post("/mcp/resources/read", summary="Read a resource of an MCP server")
    async def read_resource(request: Request) -> Response:
        """Read a resource: `{uri, server_id?}`; without server from the one that lists it or has a template for it."""
        asked = await _asked(plane, request)
        wanted = ResourceRead.parse(json_body(request.scope[BODY]))

        async def answer() -> Response:
            return JSONResponse(_dumped(await plane.resources.read(asked, wanted)))

        return await unless_client_leaves(request, answer())


def _add_prompts(router: APIRouter, plane: DataPlane) -> None:
    @router.get("/mcp/prompts", summary="List prompts of all MCP servers")
    async def list_prompts(request: Request, server_id: ServerId = None) -> Response:
        """List the prompts of the key's servers."""
        asked = await _asked(plane, request)
        found = await plane.prompts.listed(asked, await plane.offers.servers(asked, server_id))
        return JSONResponse(_listing("prompts", found, server_id))

    @router.post("/mcp/prompts/get", summary="Get a prompt of an MCP server")
    async def get_prompt(request: Request) -> Response:
        """Get a prompt: `{name, arguments, server_id?}`; names as for tools."""
        asked = await _asked(plane, request)
        wanted = PromptGet.parse(json_body(request.scope[BODY]))

        async def answer() -> Response:
            return JSONResponse(_dumped(await plane.prompts.get(asked, wanted)))

        return await unless_client_leaves(request, answer())


def _add_approval(router: APIRouter, plane: DataPlane) -> None:
    @router.post("/v1/mcp/server/{server_id}/tools/approve", summary="Approve the tools of an MCP server")
    @router.post("/mcp/servers/{server_id}/tools/approve", summary="Approve the tools of an MCP server")
    async def approve_tools(server_id: str, request: Request) -> Response:
        """Take the server's tools as they are now for what they should be; proxy admins only."""
        asked = await _asked(plane, request)
        if not asked.caller.is_admin:
            raise Forbidden({"error": "Only proxy admins can approve the tools of MCP servers."})
        server = await plane.offers.gateway.get(asked.caller, server_id, Action.MANAGE)
        tools = await plane.offers.of(asked, server, Offer.TOOLS, max_age=FRESH_SECONDS)
        flags = await plane.approvals.approve(server, tools, author_of(request, asked.caller))
        return JSONResponse({"server_id": server.server_id, **flags.rendered()})


async def _asked(plane: DataPlane, request: Request) -> Asked:
    caller: Caller = await authenticate(request, path=PATH)
    await plane.offers.gateway.ready()
    return plane.offers.asked(caller, dict(request.headers))


def _listing(name: str, found: Sequence[ServerOffer], named: str | None) -> Mapping[str, Any]:
    """Render as `/mcp-rest/tools/list`: what could be had, and of each server how it fared.

    Of a single server that was named the failure itself is raised.
    """
    failed = [each for each in found if each.error is not None]
    if named is not None and failed and failed[0].error is not None:
        raise worded(failed[0].error, failed[0].server.name)
    items = _items(found)
    told = "; ".join(f"{each.server.name}: {each.outcome['status']}" for each in failed)
    is_empty = bool(failed) and not items
    return {
        name: items,
        "error": "partial_failure" if is_empty else None,
        "message": f"Failed to get {name} from servers: {told}" if is_empty else f"Successfully retrieved {name}",
        "server_outcomes": {each.server.name: each.outcome for each in found},
    }


def _items(found: Sequence[ServerOffer]) -> list[Mapping[str, Any]]:
    return [{**_dumped(item), "mcp_info": described(each.server)} for each in found for item in each.items]


def _dumped(model: Any) -> dict[str, Any]:
    rendered: dict[str, Any] = model.model_dump(by_alias=True, mode="json", exclude_none=True)
    return rendered
