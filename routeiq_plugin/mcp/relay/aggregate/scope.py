"""Which of the caller's servers a request is about: all, or those that its headers name, as on LiteLLM's endpoint."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from routeiq_plugin.errors import Forbidden
from routeiq_plugin.mcp.model import Server
from routeiq_plugin.mcp.offers import Asked, Headers
from routeiq_plugin.mcp.service import McpGateway

SERVERS: Final = "x-mcp-servers"
"""Names servers, by id, alias or name, and access groups; separated by commas."""
GROUPS: Final = "x-mcp-access-groups"


async def in_scope(gateway: McpGateway, asked: Asked) -> Sequence[Server]:
    """Return the servers that the caller may use and asks for; raises `Forbidden` when it names none of those."""
    visible = await gateway.visible(asked.caller)
    wanted, groups = _listed(asked.incoming, SERVERS), _listed(asked.incoming, GROUPS)
    if wanted is None and groups is None:
        return visible
    names = {each.casefold() for each in wanted or ()}
    of_groups = {*(wanted or ()), *(groups or ())}
    found = [each for each in visible if _is_named(each, names) or not each.access_groups.isdisjoint(of_groups)]
    if not found and of_groups:
        raise Forbidden(f"none of the servers and access groups that {SERVERS} and {GROUPS} name may be used")
    return found


def names_servers(incoming: Headers) -> bool:
    """Tell whether a request says which servers it is about."""
    return bool(_listed(incoming, SERVERS) or _listed(incoming, GROUPS))


def _listed(incoming: Headers, header: str) -> Sequence[str] | None:
    value = incoming.get(header)
    return None if value is None else [each.strip() for each in value.split(",") if each.strip()]


def _is_named(server: Server, names: set[str]) -> bool:
    return any(each.casefold() in names for each in server.names)
