"""HTTP of the server registry: LiteLLM's `/v1/mcp/server` and the gateway's `/mcp/servers`, one handler each."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse
from starlette.responses import Response

from routeiq_plugin.errors import InvalidRequest
from routeiq_plugin.host import mcp_servers as host_servers
from routeiq_plugin.host.app import BODY, LeaveToStock
from routeiq_plugin.host.auth import ANY_KEY, Caller, authenticate
from routeiq_plugin.host.process import has_own_database
from routeiq_plugin.host.requests import KEY, author_of, json_body, precondition
from routeiq_plugin.mcp import schemas
from routeiq_plugin.mcp.access import Action
from routeiq_plugin.mcp.configuration import PATH_WORDS
from routeiq_plugin.mcp.model import Server
from routeiq_plugin.mcp.service import McpGateway
from routeiq_plugin.store.mcp_health import McpCondition

TAG: Final = "mcp"
STOCK: Final = "/v1/mcp/server"

_CREATE: Final = (
    "User does not have permission to create mcp servers. You can only create mcp servers if you are a PROXY_ADMIN."
)
_UPDATE: Final = "Call not allowed to update MCP server. User is not a proxy admin. route=PUT /v1/mcp/server"
_DELETE: Final = "Call not allowed to delete MCP server. User is not a proxy admin. route=DELETE /v1/mcp/server"
_SCOPES: Final = ("team_id", "user_id", "connected_app_view")
"""Views of LiteLLM's dashboard, which only its own database can answer."""

Table = host_servers.LiteLLM_MCPServerTable
_TABLES: Any = list[Table]  # type: ignore[valid-type]  # LiteLLM is not followed by mypy
_NEW: Final = host_servers.NewMCPServerRequest
_CHANGE: Final = host_servers.UpdateMCPServerRequest


def registry_routes(gateway: McpGateway) -> APIRouter:
    """Build the registry's routes; those with a word in the place of an id come before those with any id."""
    router = APIRouter(tags=[TAG], dependencies=[KEY])
    _add_lists(router, gateway)
    _add_writes(router, gateway)
    _add_one(router, gateway)
    return router


def _add_lists(router: APIRouter, gateway: McpGateway) -> None:
    @router.get("/v1/mcp/server", response_model=_TABLES, summary="List MCP servers")
    @router.get("/mcp/servers", response_model=_TABLES, summary="List MCP servers")
    async def list_servers(request: Request) -> Response:
        """List the servers that the key may see, by name: ours, and those of LiteLLM's config and database."""
        caller = await caller_of(gateway, request)
        _leave_scopes_to_stock(request)
        servers = await gateway.listed(caller)
        known = await gateway.health.last()
        published = gateway.directory.public_ids()
        shown = [
            schemas.rendered(
                each, caller, known.get(each.server_id), published=published, flags=gateway.integrity.flags(each)
            )
            for each in sorted(servers, key=_display_order)
        ]
        return JSONResponse(shown)

    @router.get("/v1/mcp/server/health", summary="Check MCP servers")
    @router.get("/mcp/servers/health", summary="Check MCP servers")
    async def check_servers(
        request: Request,
        server_ids: Annotated[list[str] | None, Query(description="Ids; else every server of the key")] = None,
        include_reachability: Annotated[bool, Query(description="Tell `reachable` from `unknown`")] = False,
    ) -> list[dict[str, Any]]:
        """Ask servers whether they are well; an answer of the last 30 seconds is used again. Unknown ids are absent."""
        caller = await caller_of(gateway, request)
        servers = await gateway.listed(caller)
        if server_ids:
            servers = [each for each in servers if each.server_id in server_ids]
        conditions = await gateway.health.check(servers)
        return [
            schemas.health_entry(each, conditions[each.server_id], include_reachability)
            for each in sorted(servers, key=_display_order)
        ]

    @router.get("/v1/mcp/access_groups", summary="List access groups of MCP servers")
    @router.get("/mcp/access_groups", summary="List access groups of MCP servers")
    async def list_access_groups(request: Request) -> dict[str, list[str]]:
        """List the access groups that servers are members of: admins see all, others those of their key and team."""
        caller = await caller_of(gateway, request)
        return {"access_groups": list(await gateway.access_groups(caller))}


def _add_one(router: APIRouter, gateway: McpGateway) -> None:
    @router.get("/v1/mcp/server/{server_id}", response_model=Table, summary="Read an MCP server")
    @router.get("/mcp/servers/{server_id}", response_model=Table, summary="Read an MCP server")
    async def get_server(
        server_id: str,
        request: Request,
        include_reachability: Annotated[bool, Query(description="Tell `reachable` from `unknown`")] = False,
    ) -> Response:
        """Read a server by id, alias or name, with its condition; the `ETag` is what `If-Match` takes."""
        if server_id in PATH_WORDS:
            raise LeaveToStock  # a route of LiteLLM's, such as its review queue: no server has that name
        caller = await caller_of(gateway, request)
        server = await gateway.get(caller, server_id, Action.READ)
        condition = (await gateway.health.check([server]))[server.server_id]
        return _answered(gateway, caller, server, condition, include_reachability=include_reachability)

    @router.put("/v1/mcp/server/{server_id}", summary="Change an MCP server", **_takes(_CHANGE, 202))
    @router.put("/mcp/servers/{server_id}", summary="Change an MCP server", **_takes(_CHANGE, 202))
    async def change_server(server_id: str, request: Request) -> Response:
        """Merge the named fields into a server; null clears, a secret sent back as the marker is kept."""
        return await _change(gateway, request, server_id)

    @router.delete("/v1/mcp/server/{server_id}", status_code=202, summary="Delete an MCP server")
    @router.delete("/mcp/servers/{server_id}", status_code=202, summary="Delete an MCP server")
    async def delete_server(server_id: str, request: Request) -> Response:
        """Delete a server, with its health, approved tools and logins."""
        caller = await admin_of(gateway, request, _DELETE)
        current = precondition(request.headers.get("if-match"))
        try:
            await gateway.directory.delete(server_id, author_of(request, caller), current)
        except LeaveToStock:
            raise LeaveToStock(f"{STOCK}/{server_id}") from None
        return Response(status_code=202)


def _add_writes(router: APIRouter, gateway: McpGateway) -> None:
    @router.post("/v1/mcp/server", summary="Register an MCP server", **_takes(_NEW, 201))
    @router.post("/mcp/servers", summary="Register an MCP server", **_takes(_NEW, 201))
    async def create_server(request: Request) -> Response:
        """Register a server durably; proxy admins only."""
        caller = await admin_of(gateway, request, _CREATE)
        config = host_servers.parse_new(json_body(request.scope[BODY]))
        server = await gateway.directory.create(config, author_of(request, caller))
        return _answered(gateway, caller, server, None, status=201)

    @router.put("/v1/mcp/server", summary="Change an MCP server", **_takes(_CHANGE, 202))
    async def change_named_server(request: Request) -> Response:
        """Merge the named fields into the server that the body names."""
        return await _change(gateway, request, None)


async def _change(gateway: McpGateway, request: Request, server_id: str | None) -> Response:
    caller = await admin_of(gateway, request, _UPDATE)
    body = json_body(request.scope[BODY])
    reference, change = schemas.changed(body, server_id)
    current = precondition(request.headers.get("if-match"), body)
    try:
        server = await gateway.directory.update(reference, change, author_of(request, caller), current)
    except LeaveToStock:
        # LiteLLM has one path for all changes, and the id in the body.
        request.scope[BODY] = json.dumps({**body, "server_id": reference}).encode()
        raise LeaveToStock(STOCK) from None
    return _answered(gateway, caller, server, None, status=202)


async def caller_of(gateway: McpGateway, request: Request) -> Caller:
    """Authenticate any key, and wait for the registry."""
    caller = await authenticate(request, path=ANY_KEY)
    await gateway.ready()
    return caller


async def admin_of(gateway: McpGateway, request: Request, refused: str) -> Caller:
    """Authenticate an administrator; all others are refused in LiteLLM's words."""
    caller = await caller_of(gateway, request)
    caller.require_role(refused)
    return caller


def _leave_scopes_to_stock(request: Request) -> None:
    asked = [name for name in _SCOPES if name in request.query_params]
    if not asked:
        return
    if has_own_database():
        raise LeaveToStock(STOCK)
    if asked != ["connected_app_view"]:
        raise InvalidRequest(
            {"error": f"{asked[0]}: teams and users live in LiteLLM's database, which this proxy does not have"}
        )


def _display_order(server: Server) -> tuple[str, str]:
    fields = server.fields
    return (str(fields.get("server_name") or fields.get("alias") or server.server_id).lower(), server.server_id)


def _answered(
    gateway: McpGateway,
    caller: Caller,
    server: Server,
    condition: McpCondition | None,
    *,
    status: int = 200,
    include_reachability: bool = False,
) -> Response:
    published = gateway.directory.public_ids()
    flags = gateway.integrity.flags(server)
    body = schemas.rendered(
        server, caller, condition, published=published, flags=flags, include_reachability=include_reachability
    )
    return JSONResponse(body, status, headers={"ETag": server.etag} if server.etag else None)


def _takes(shape: Any, status: int) -> Mapping[str, Any]:
    """Describe a body that we parse ourselves: authentication comes first, so FastAPI must not read it."""
    schema = {"type": "object", "properties": {name: {} for name in shape.model_fields}}
    return {
        "response_model": Table,
        "status_code": status,
        "openapi_extra": {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}},
    }
