"""Many servers at once, as other software writes them down (`mcpServers`, `mcp_servers`): HTTP and result."""

from __future__ import annotations

from typing import Any, Final

from fastapi import APIRouter, Request

from routeiq_plugin.errors import RouteIQError, Unavailable
from routeiq_plugin.host import mcp_servers as host_servers
from routeiq_plugin.host.app import BODY
from routeiq_plugin.host.requests import KEY, Author, author_of, json_body
from routeiq_plugin.mcp.directory import ServerDirectory
from routeiq_plugin.mcp.routes import TAG, admin_of
from routeiq_plugin.mcp.service import McpGateway

_ADMINS_ONLY: Final = (
    "User does not have permission to import mcp servers. You can only import mcp servers if you are a PROXY_ADMIN."
)

Entries = list[dict[str, str]]


def import_routes(gateway: McpGateway) -> APIRouter:
    """Build the route."""
    router = APIRouter(tags=[TAG], dependencies=[KEY])

    @router.post("/v1/mcp/server/import", summary="Import MCP servers", response_model=host_servers.IMPORT_ANSWER)
    async def import_servers(request: Request) -> dict[str, Entries]:
        """Register each entry by itself; tells which were imported, which were there already and what was wrong."""
        caller = await admin_of(gateway, request, _ADMINS_ONLY)
        entries = host_servers.parse_import(json_body(request.scope[BODY]))
        return await import_all(gateway.directory, entries, author_of(request, caller))

    return router


async def import_all(
    directory: ServerDirectory, entries: list[host_servers.ImportEntry], author: Author
) -> dict[str, Entries]:
    """Register entries in their order; each succeeds or fails by itself.

    Raises `Unavailable` when the database is away: what was imported by then stays, and is skipped the next time.
    """
    told: dict[str, Entries] = {"imported": [], "skipped": [], "errors": []}
    seen: set[str] = set()
    for entry in entries:
        alias = str((entry.fields or {}).get("alias") or "")
        if entry.fields is None:
            told["errors"].append({"name": entry.name, "error": str(entry.error)})
        elif alias.casefold() in seen:
            reason = f"Duplicate connector name '{alias}' in the import payload."
            told["skipped"].append({"name": entry.name, "reason": reason})
        elif await directory.find(alias) is not None:
            told["skipped"].append({"name": entry.name, "reason": f"An MCP server named '{alias}' already exists."})
        else:
            await _import_one(directory, entry.name, dict(entry.fields), author, told)
        seen.add(alias.casefold())
    return told


async def _import_one(
    directory: ServerDirectory, name: str, fields: dict[str, Any], author: Author, told: dict[str, Entries]
) -> None:
    try:
        server = await directory.create(fields, author)
    except Unavailable:
        raise
    except RouteIQError as refused:
        told["errors"].append({"name": name, "error": _text(refused.detail)})
    else:
        told["imported"].append({"name": name, "server_id": server.server_id, "alias": server.name})


def _text(detail: Any) -> str:
    if isinstance(detail, dict):
        return str(detail.get("error", detail))
    if isinstance(detail, list):
        return "; ".join(f"{'.'.join(map(str, each['loc'][1:]))}: {each['msg']}" for each in detail)
    return str(detail)
