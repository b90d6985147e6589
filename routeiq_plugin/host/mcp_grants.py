"""Which MCP servers and tools LiteLLM says that a caller was given.

LiteLLM's rule (1.108.7, `MCPRequestHandler.get_mcp_server_access` and `get_allowed_tools_for_server`): a holder, key or
team, names servers by id or name, access groups of servers, and tools by server. A holder that names none is no limit;
where both name some, both have to cover the server. `no-mcp-servers` on the key shuts out everything, and servers with
`allow_all_keys` are open to all others. Where a holder names tools of a server, no others of it are given; where two
do, both have to name one.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from litellm.constants import MCP_ALL_TOOLS_WILDCARD
from litellm.proxy._experimental.mcp_server.auth.user_api_key_auth_mcp import MCPRequestHandler
from litellm.proxy._types import SpecialMCPServerName, SpecialMCPServerNames, user_api_key_has_admin_view

from routeiq_plugin.host.mcp_manager import manager
from routeiq_plugin.host.process import has_own_database, proxy_server

NONE: Final = str(SpecialMCPServerNames.no_mcp_servers.value)
"""Named by a key, it opts out of every server."""
ALL: Final = str(SpecialMCPServerName.all_proxy_servers.value)
"""Named by a team, it stands for every server."""


@dataclass(frozen=True, slots=True)
class McpGrant:
    """What one holder was given."""

    servers: frozenset[str] = frozenset()
    """Ids, aliases or names."""
    groups: frozenset[str] = frozenset()
    tools: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """By id, alias or name of the server."""

    def covers(self, names: Collection[str], groups: Collection[str]) -> bool:
        """Tell whether a server of these names, member of these groups, is given; a tool of it is enough."""
        return (
            ALL in self.servers
            or not self.servers.isdisjoint(names)
            or not self.groups.isdisjoint(groups)
            or any(name in self.tools for name in names)
        )

    def tools_of(self, names: Collection[str]) -> frozenset[str] | None:
        """Return the tools that are given of a server, None for all of them."""
        named = frozenset().union(*(self.tools[name] for name in names if name in self.tools))
        is_limit = any(name in self.tools for name in names)
        return named if is_limit and MCP_ALL_TOOLS_WILDCARD not in named else None


@dataclass(frozen=True, slots=True)
class McpGrants:
    """What a caller's key and team were given together."""

    holders: tuple[McpGrant, ...] = ()
    opted_out: bool = False
    """The key wants no server at all, not even those that are open to all keys."""
    unscoped: bool = False
    """An administrator, or one who may look at everything, whose key names no servers: every server."""
    open_to_all: bool = True
    """Servers with `allow_all_keys` come on top of the grants."""
    resolved: frozenset[str] | None = None
    """Ids of all servers that LiteLLM itself resolved, where it was asked; then nothing else of this counts."""

    def cover(self, names: Collection[str], groups: Collection[str], *, allow_all_keys: bool) -> bool:
        """Tell whether a server of these names (its id among them), member of these groups, may be reached."""
        if self.resolved is not None:
            return not self.resolved.isdisjoint(names)
        if self.opted_out:
            return False
        if self.unscoped or (allow_all_keys and self.open_to_all):
            return True
        return bool(self.holders) and all(holder.covers(names, groups) for holder in self.holders)

    def tools(self, names: Collection[str]) -> frozenset[str] | None:
        """Return the tools that may be used of a server, None for all of them."""
        limits = [limit for holder in self.holders if (limit := holder.tools_of(names)) is not None]
        return frozenset.intersection(*limits) if limits else None

    @property
    def groups(self) -> frozenset[str]:
        """Access groups that every holder with grants names."""
        named = [holder.groups for holder in self.holders]
        return frozenset.intersection(*named) if named else frozenset()


async def mcp_grants(identity: Any) -> McpGrants:
    """Read a caller's grants of servers: LiteLLM resolves them where it has a database, or for an agent's key."""
    if _litellm_knows_more(identity):
        return McpGrants(resolved=frozenset(await manager().get_allowed_mcp_servers(identity)))
    return _declared(identity)


async def allowed_tools(identity: Any, server_id: str, names: Collection[str]) -> frozenset[str] | None:
    """Return the tools of a server that a caller may use, None for all of them."""
    if _litellm_knows_more(identity):
        allowed = await MCPRequestHandler.get_allowed_tools_for_server(server_id=server_id, user_api_key_auth=identity)
        return None if allowed is None else frozenset(allowed)
    return _declared(identity).tools(names)


def _litellm_knows_more(identity: Any) -> bool:
    return has_own_database() or bool(getattr(identity, "agent_id", None))


def _declared(identity: Any) -> McpGrants:
    """Read what the auth object itself says of the key and of its team."""
    permission = identity.object_permission
    named = getattr(permission, "mcp_servers", None)
    if NONE in (named or ()):
        return McpGrants(opted_out=True)
    key, team = _grant(permission), _grant(identity.team_object_permission) if identity.team_id else None
    settings = proxy_server().general_settings
    if team is not None and key is None and settings.get("require_key_mcp_access_defined"):
        key = McpGrant()  # the team is a ceiling there, which nobody inherits
    holders = tuple(grant for grant in (key, team) if grant is not None)
    scoped = bool(holders) or named is not None
    return McpGrants(
        holders,
        unscoped=named is None and bool(user_api_key_has_admin_view(identity)),
        open_to_all=not (settings.get("mcp_allow_all_keys_respects_mcp_scope") and scoped and identity.via_virtual_key),
    )


def _grant(permission: Any) -> McpGrant | None:
    """Read one holder's grants; None when it was given none, which is no limit."""
    tools = getattr(permission, "mcp_tool_permissions", None) or {}
    grant = McpGrant(
        frozenset(getattr(permission, "mcp_servers", None) or ()),
        frozenset(getattr(permission, "mcp_access_groups", None) or ()),
        {name: frozenset(allowed or ()) for name, allowed in tools.items()},
    )
    return grant if grant.servers or grant.groups or grant.tools else None
