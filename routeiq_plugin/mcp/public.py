"""HTTP of what others may know: publishing servers in the hub, and the registry for discovery."""

from __future__ import annotations

from typing import Any, Final

from fastapi import APIRouter, Request
from pydantic import BaseModel

from routeiq_plugin.errors import NotFound
from routeiq_plugin.host import mcp_servers as host_servers
from routeiq_plugin.host.app import BODY
from routeiq_plugin.host.auth import names_a_key
from routeiq_plugin.host.config import base_url
from routeiq_plugin.host.requests import KEY, author_of, json_body
from routeiq_plugin.mcp.registry import registry
from routeiq_plugin.mcp.routes import TAG, caller_of
from routeiq_plugin.mcp.service import McpGateway

_ADMINS_ONLY: Final = "Only proxy admins can update public mcp servers."
_UPDATED: Final = "Successfully updated public mcp servers"
_REGISTRY_OFF: Final = "MCP registry is not enabled"
"""LiteLLM's words."""


class MakePublicAnswer(BaseModel):
    """LiteLLM's answer."""

    message: str
    public_mcp_servers: list[str]
    updated_by: str


def public_routes(gateway: McpGateway) -> APIRouter:
    """Build the routes."""
    router = APIRouter(tags=[TAG])

    @router.post(
        "/v1/mcp/make_public",
        summary="Choose the public MCP servers",
        status_code=202,
        response_model=MakePublicAnswer,
        dependencies=[KEY],
        openapi_extra={
            "requestBody": {
                "required": True,
                "content": {
                    "application/json": {"schema": host_servers.MakeMCPServersPublicRequest.model_json_schema()}
                },
            }
        },
    )
    async def make_public(request: Request) -> MakePublicAnswer:
        """Publish exactly these servers in the hub, replacing the list; all of them, or none if one is unknown."""
        caller = await caller_of(gateway, request)
        caller.require_admin(_ADMINS_ONLY)
        wanted = host_servers.parse_published(json_body(request.scope[BODY]))
        listed = await gateway.directory.publish_only(wanted, author_of(request, caller))
        return MakePublicAnswer(message=_UPDATED, public_mcp_servers=list(listed), updated_by=caller.actor)

    @router.get("/v1/mcp/registry.json", summary="MCP servers for discovery")
    async def registry_document(request: Request) -> dict[str, Any]:
        """List servers for other software: without a key those that are published, with one those that it may use."""
        if not host_servers.registry_is_enabled():
            raise NotFound(_REGISTRY_OFF)
        if await names_a_key(request):
            servers = await gateway.visible(await caller_of(gateway, request))
        else:
            await gateway.ready()
            servers = [server for server in gateway.directory.all() if server.is_public]
        return registry(servers, base_url(request, gateway.public_url))

    return router
