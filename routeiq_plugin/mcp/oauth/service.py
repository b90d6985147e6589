"""Logging in as the routes see it: which server, for whom, under which address of the gateway."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import quote

from routeiq_plugin.errors import InvalidRequest, Unavailable
from routeiq_plugin.host.app import LeaveToStock
from routeiq_plugin.host.auth import Caller
from routeiq_plugin.host.process import has_own_database
from routeiq_plugin.mcp.access import Action
from routeiq_plugin.mcp.model import Server
from routeiq_plugin.mcp.oauth.clients import ClientRegistry
from routeiq_plugin.mcp.oauth.logins import Logins, Origin
from routeiq_plugin.mcp.oauth.owners import owner_of
from routeiq_plugin.mcp.oauth.providers import OAUTH, is_machine
from routeiq_plugin.mcp.oauth.redemption import Redemption
from routeiq_plugin.mcp.oauth.staging import StagedServers
from routeiq_plugin.mcp.oauth.tokens import UserTokens
from routeiq_plugin.mcp.service import McpGateway

NO_ADDRESS = "logging in needs the address under which browsers reach this proxy: set routeiq.public_url"


@dataclass(frozen=True, slots=True)
class OAuthGateway:
    """What the routes need; built once per worker."""

    gateway: McpGateway
    staged: StagedServers
    clients: ClientRegistry
    logins: Logins
    redemption: Redemption
    tokens: UserTokens
    configured_base: Callable[[], str | None]

    def base_url(self) -> str:
        """Return the configured address of the gateway: authorization servers send browsers there.

        Never what a request's Host header says: that is for its sender to choose. Raises `Unavailable` without one.
        """
        base = self.configured_base()
        if base is None:
            raise Unavailable(NO_ADDRESS, retry_after=60)
        return base

    async def origin(self, caller: Caller, reference: str) -> Origin:
        """Find where a caller may log in: what they staged, else a server that they may use.

        Raises `Forbidden`, `NotFound`, or `InvalidRequest` for a server at which users do not log in.
        """
        owner = owner_of(caller)
        staged = await self.staged.find(reference, owner)
        server = staged or await self.gateway.get(caller, reference, Action.USE)
        if staged is None:
            leave_to_stock_what_it_keeps(server)
        require_logins(server)
        base = self.base_url()
        issuer = f"{base}/mcp/{quote(reference, safe='')}"
        return Origin(server=server, owner=owner, base_url=base, issuer=issuer, staged=staged is not None)


def require_logins(server: Server) -> None:
    """Refuse a server at which users do not log in, in LiteLLM's words."""
    if server.auth_type != OAUTH:
        raise InvalidRequest(
            {
                "error": "server_not_oauth2",
                "message": f"MCP server '{server.name}' does not use OAuth (auth_type={server.auth_type}). "
                "Access is controlled by the server's configured auth_type and access groups",
            }
        )
    if is_machine(server):
        raise InvalidRequest(
            {
                "error": "server_not_oauth2",
                "message": f"MCP server '{server.name}' uses client credentials: the gateway logs in by itself",
            }
        )


def leave_to_stock_what_it_keeps(server: Server) -> None:
    """Leave LiteLLM's own servers to it where it has the database that it keeps their users' tokens in."""
    if not server.is_ours and has_own_database():
        raise LeaveToStock
