"""The documents by which MCP clients find out where to log in, and the 401 that sends them there."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import quote

from fastapi import APIRouter, Request
from fastapi.routing import APIRoute
from starlette.responses import JSONResponse, Response
from starlette.routing import Match
from starlette.types import Scope

from routeiq_plugin.host.app import LeaveToStock
from routeiq_plugin.host.auth import is_internal
from routeiq_plugin.host.config import base_url, root_path
from routeiq_plugin.host.keys import shows_a_key
from routeiq_plugin.mcp.model import Server
from routeiq_plugin.mcp.oauth.providers import configured_scopes, wants_login
from routeiq_plugin.mcp.oauth.service import OAuthGateway
from routeiq_plugin.mcp.oauth.tokens import login_required
from routeiq_plugin.mcp.routes import TAG

_KEPT: Final = {"Cache-Control": "public, max-age=300"}


class _WithoutKey(APIRoute):
    """Matches requests that show no key: all others are stock's, untouched."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Match as ever, and look for a key before anything is read."""
        match, child = super().matches(scope)
        return (Match.NONE, {}) if match is not Match.NONE and shows_a_key(scope) else (match, child)


def discovery_routes(oauth: OAuthGateway) -> APIRouter:
    """Build the routes of the documents; they need no key, and stock answers for servers that are not ours."""
    router = APIRouter(tags=[TAG])
    root = root_path()
    resource = f"/.well-known/oauth-protected-resource{root}"
    issuer = f"/.well-known/oauth-authorization-server{root}"

    @router.get(f"{resource}/mcp/{{server_name}}", summary="Read where to log in at an MCP server")
    async def standard_resource(server_name: str, request: Request) -> Response:
        """Name the authorization server of `{base}/mcp/{server}` (RFC 9728)."""
        server = await _found(oauth, server_name, request)
        return _resource(oauth, request, server, server_name, f"/mcp/{quote(server_name)}")

    @router.get(f"{resource}/{{server_name}}/mcp", summary="Read where to log in at an MCP server")
    async def other_resource(server_name: str, request: Request) -> Response:
        """Name the authorization server of `{base}/{server}/mcp` (RFC 9728)."""
        server = await _found(oauth, server_name, request)
        return _resource(oauth, request, server, server_name, f"/{quote(server_name)}/mcp")

    @router.get(f"{issuer}/mcp/{{server_name}}", summary="Read how to log in at an MCP server")
    async def authorization_server(server_name: str, request: Request) -> Response:
        """Describe the gateway as the authorization server of one MCP server (RFC 8414)."""
        server = await _found(oauth, server_name, request)
        return JSONResponse(_metadata(base_url(request, oauth.gateway.public_url), server, server_name), headers=_KEPT)

    return router


def challenge_routes(oauth: OAuthGateway) -> APIRouter:
    """Build the one answer that we give at a server's MCP address: 401 to those who come without a key."""
    router = APIRouter(route_class=_WithoutKey, include_in_schema=False)

    @router.api_route("/mcp/{server_name}", methods=["GET", "POST", "DELETE"])
    @router.api_route("/mcp/{server_name}/", methods=["GET", "POST", "DELETE"])
    @router.api_route("/{server_name}/mcp", methods=["GET", "POST", "DELETE"])
    @router.api_route("/{server_name}/mcp/", methods=["GET", "POST", "DELETE"])
    async def challenge(server_name: str, request: Request) -> Response:
        server = await _found(oauth, server_name, request)
        raise login_required(server, base_url(request, oauth.gateway.public_url))

    return router


async def _found(oauth: OAuthGateway, name: str, request: Request) -> Server:
    """Find a server of ours at which users log in; leaves all others to stock, and those closed to this network."""
    await oauth.gateway.ready()
    server = await oauth.gateway.directory.find(name)
    if server is None or not server.is_ours or not wants_login(server) or _passes_through(server):
        raise LeaveToStock
    if not server.fields.get("available_on_public_internet", True) and not is_internal(request):
        raise LeaveToStock
    return server


def _passes_through(server: Server) -> bool:
    """Tell whether clients log in at the server itself: LiteLLM's modes in which it hands their token on."""
    return bool(server.fields.get("delegate_auth_to_upstream") or server.fields.get("oauth_passthrough"))


def _resource(oauth: OAuthGateway, request: Request, server: Server, name: str, path: str) -> Response:
    base = base_url(request, oauth.gateway.public_url)
    document = {
        "resource": base + path,
        "authorization_servers": [f"{base}/mcp/{quote(name, safe='')}"],
        "scopes_supported": _scopes(server),
        "bearer_methods_supported": ["header"],
    }
    return JSONResponse(document, headers=_KEPT)


def _metadata(base: str, server: Server, name: str) -> dict[str, Any]:
    endpoints = f"{base}/v1/mcp/server/oauth/{quote(name, safe='')}"
    return {
        "issuer": f"{base}/mcp/{quote(name, safe='')}",
        "authorization_endpoint": f"{endpoints}/authorize",
        "token_endpoint": f"{endpoints}/token",
        "registration_endpoint": f"{endpoints}/register",
        "scopes_supported": _scopes(server),
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": ["authorization_code", "refresh_token"],
        "token_endpoint_auth_methods_supported": ["none"],
        "code_challenge_methods_supported": ["S256"],
        "authorization_response_iss_parameter_supported": True,
    }


def _scopes(server: Server) -> list[str]:
    return (configured_scopes(server) or "").split()
