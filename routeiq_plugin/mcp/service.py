"""The tool gateway as its routes see it: one place that finds a server for a caller, or says why not."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from routeiq_plugin.errors import NotFound
from routeiq_plugin.host.auth import Caller
from routeiq_plugin.host.mcp_grants import allowed_tools
from routeiq_plugin.mcp.access import Action, decide, refusal
from routeiq_plugin.mcp.directory import ServerDirectory
from routeiq_plugin.mcp.health import Health
from routeiq_plugin.mcp.integrity import Integrity
from routeiq_plugin.mcp.model import Server


@dataclass(frozen=True, slots=True)
class McpGateway:
    """What the routes need; built once per worker by the composition root."""

    directory: ServerDirectory
    health: Health
    integrity: Integrity
    public_url: str | None
    ready: Callable[[], Awaitable[None]]
    """Returns when the registry is loaded; raises `Unavailable` when that takes too long."""

    async def listed(self, caller: Caller) -> Sequence[Server]:
        """List the servers that the caller may see."""
        return await self._those(caller, Action.LIST)

    async def visible(self, caller: Caller) -> Sequence[Server]:
        """List the servers that the caller may use."""
        return await self._those(caller, Action.USE)

    async def _those(self, caller: Caller, action: Action) -> Sequence[Server]:
        await self.directory.restore()
        grants = await caller.mcp_grants()
        return [server for server in self.directory.all() if decide(caller, grants, server, action)]

    async def get(self, caller: Caller, reference: str, action: Action) -> Server:
        """Find a server by id, alias or name for a caller.

        Raises:
            Forbidden: not theirs. Who may not see every server hears the same of one that does not exist.
            NotFound: there is none.
        """
        server = await self.directory.find(reference)
        if server is None:
            if caller.has_admin_view:
                raise NotFound({"error": f"MCP Server with id {reference} not found"})
            raise refusal(reference)
        if not decide(caller, await caller.mcp_grants(), server, action):
            raise refusal(reference)
        return server

    async def tool_filter(self, caller: Caller, server: Server) -> Callable[[str], bool]:
        """Return what tells, of a tool's unprefixed name, whether the caller may use it on a server that is theirs."""
        granted = await allowed_tools(caller.identity, server.server_id, server.names)
        limits = [limit for limit in (server.allowed_tools, granted) if limit is not None]
        return lambda name: all(name in limit for limit in limits)

    async def access_groups(self, caller: Caller) -> Sequence[str]:
        """List the access groups of servers: all of them to those who see everything, else the caller's own."""
        grants = await caller.mcp_grants()
        servers = self.directory.all()
        if caller.has_admin_view:
            return sorted({group for server in servers for group in server.access_groups})
        visible = [server for server in servers if decide(caller, grants, server, Action.LIST)]
        groups = {group for server in visible for group in server.access_groups}
        return sorted(groups if grants.resolved is not None else groups & grants.groups)
