"""The data plane of one worker, put together: sessions, lists, and what is done with tools, resources and prompts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from routeiq_plugin.host.metrics import McpMetrics
from routeiq_plugin.mcp.approval import Approvals
from routeiq_plugin.mcp.catalog import Catalog
from routeiq_plugin.mcp.credentials import Credentials
from routeiq_plugin.mcp.model import Server
from routeiq_plugin.mcp.offers import Offers
from routeiq_plugin.mcp.prompts import Prompts
from routeiq_plugin.mcp.resources import Resources
from routeiq_plugin.mcp.service import McpGateway
from routeiq_plugin.mcp.sessions import Sessions
from routeiq_plugin.mcp.slots import Policy
from routeiq_plugin.mcp.static_credentials import StaticCredentials
from routeiq_plugin.mcp.tools import Tools
from routeiq_plugin.outbound import Clients
from routeiq_plugin.settings import MCPSettings
from routeiq_plugin.store.feed import Change, Resync
from routeiq_plugin.store.mcp_tools import KIND


class DataPlane:
    """What the data routes need; built once per worker."""

    def __init__(
        self,
        gateway: McpGateway,
        settings: MCPSettings,
        clients: Clients,
        credentials: Credentials,
        *,
        timeout: float,
        key_header: Callable[[], str | None],
    ) -> None:
        policy = Policy(timeout, settings.max_concurrent_per_server, settings.stdio)
        self.integrity: Final = gateway.integrity
        self.sessions: Final = Sessions(clients, policy, self.changed)
        self.catalog: Final = Catalog(self.sessions)
        self._metrics: Final = McpMetrics(lambda server_id: gateway.directory.in_memory(server_id) is not None)
        self.offers: Final = Offers(gateway, self.sessions, self.catalog, credentials, key_header=key_header)
        self.approvals: Final = Approvals(self.integrity, self.catalog, StaticCredentials(key_header))
        self.tools: Final = Tools(self.offers, self._finished)
        self.resources: Final = Resources(self.offers)
        self.prompts: Final = Prompts(self.offers)
        self.listeners: Final[list[Callable[[], None]]] = []
        """Hear that some server says that one of its lists has changed."""

    async def run(self) -> None:
        """Close sessions that nobody needs, until cancelled."""
        await self.sessions.run()

    async def follow(self, news: Sequence[Change] | Resync) -> None:
        """Take over approvals that some worker wrote."""
        if isinstance(news, Resync):
            await self.integrity.load()
            self._metrics.refresh_all()
            return
        await self.integrity.refresh({change.object_id for change in news if change.kind == KIND})

    async def forget(self, server_id: str) -> None:
        """Begin anew with a server that was written or deleted."""
        self.catalog.forget(server_id)
        self._metrics.refresh([server_id])
        await self.sessions.forget(server_id)

    async def aclose(self) -> None:
        """Close every session, within seconds."""
        await self.approvals.aclose()
        await self.sessions.aclose()

    def facts(self) -> Mapping[str, Any]:
        """Tell what any key may know, of this worker."""
        return {**self.sessions.facts(), "pin_tools": self.integrity.enforced}

    def changed(self, server_id: str, identity: str, kind: str) -> None:
        """Hear which list (`tools`, `resources` or `prompts`) a server says has changed, on a credential's session."""
        self.catalog.changed(server_id, identity, kind)
        for listener in self.listeners:
            listener()

    def _finished(self, server: Server, outcome: str, seconds: float) -> None:
        self._metrics.finished(server.server_id, server.name, "tools/call", outcome, seconds)
