"""HTTP of the relay: the MCP endpoint of each server, at both addresses that LiteLLM gives it."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from routeiq_plugin.host.departures import unless_client_leaves
from routeiq_plugin.mcp.relay.relay import Relay


def relay_routes(relay: Relay) -> APIRouter:
    """Build the routes; what they find not to be theirs goes to stock."""
    router = APIRouter(include_in_schema=False)

    @router.api_route("/mcp/{server_name}", methods=["GET", "POST", "DELETE"])
    @router.api_route("/mcp/{server_name}/", methods=["GET", "POST", "DELETE"])
    @router.api_route("/{server_name}/mcp", methods=["GET", "POST", "DELETE"])
    @router.api_route("/{server_name}/mcp/", methods=["GET", "POST", "DELETE"])
    async def serve(server_name: str, request: Request) -> Response:
        return await unless_client_leaves(request, relay.serve(server_name, request))

    return router
