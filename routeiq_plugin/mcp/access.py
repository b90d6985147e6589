"""The one authorisation decision of an MCP server: list, read, tools, resources, registry and health all ask here."""

from __future__ import annotations

from enum import StrEnum

from routeiq_plugin.errors import Forbidden
from routeiq_plugin.host.auth import Caller
from routeiq_plugin.host.mcp_grants import McpGrants
from routeiq_plugin.host.mcp_servers import everyone_sees_all
from routeiq_plugin.mcp.model import Server


class Action(StrEnum):
    """What a caller wants of a server."""

    LIST = "list"
    READ = "read"
    USE = "use"
    """List or call its tools, resources and prompts."""
    MANAGE = "manage"


def decide(caller: Caller, grants: McpGrants, server: Server, action: Action) -> bool:
    """Tell whether `caller` may do `action` to `server`.

    Admins manage every server, and read every server as admin viewers do. Who was granted a server, by id, name, access
    group or one of its tools, may see and use it, as may every key that did not opt out where the server allows all
    keys. An administrator's key that names servers lists and uses those alone, as on stock. That a server is published
    in the hub gives nothing. A server that is not available on the public internet is used from internal networks only.
    """
    if action is Action.MANAGE:
        return caller.is_admin
    if action is Action.READ and caller.has_admin_view:
        return True
    granted = grants.cover(server.names, server.access_groups, allow_all_keys=server.allows_all_keys)
    if action is Action.USE:
        return granted and not _only_looks(caller, grants, server) and _is_near(caller, server)
    return granted or (everyone_sees_all() and not caller.is_restricted)


def _only_looks(caller: Caller, grants: McpGrants, server: Server) -> bool:
    """Tell whether an admin viewer reaches a server by that role alone, which is no permission to call it."""
    is_viewer = caller.has_admin_view and not caller.is_admin
    return is_viewer and (grants.unscoped or grants.resolved is not None) and not server.allows_all_keys


def _is_near(caller: Caller, server: Server) -> bool:
    return caller.is_internal or server.is_public or bool(server.fields.get("available_on_public_internet", True))


def refusal(reference: str) -> Forbidden:
    """Build LiteLLM's own refusal; unknown and forbidden servers read the same to those who may not know."""
    return Forbidden(
        {
            "error": f"User does not have permission to view mcp server with id {reference}. "
            "You can only view mcp servers that you have access to."
        }
    )
