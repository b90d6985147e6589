"""The tool gateway of one worker, put together: what follows the store, keeps LiteLLM fed, and is told of itself."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

from fastapi import APIRouter

from routeiq_plugin.host.config import key_header
from routeiq_plugin.host.mcp_manager import Manager
from routeiq_plugin.host.mcp_servers import public_servers
from routeiq_plugin.mcp.data_routes import data_routes
from routeiq_plugin.mcp.directory import ServerDirectory
from routeiq_plugin.mcp.feeding import OnFault
from routeiq_plugin.mcp.health import Health
from routeiq_plugin.mcp.imports import import_routes
from routeiq_plugin.mcp.integrity import Integrity
from routeiq_plugin.mcp.oauth.feature import OAuthFeature
from routeiq_plugin.mcp.plane import DataPlane
from routeiq_plugin.mcp.probing import SessionProber
from routeiq_plugin.mcp.public import public_routes
from routeiq_plugin.mcp.relay.feature import RelayFeature
from routeiq_plugin.mcp.routes import registry_routes
from routeiq_plugin.mcp.service import McpGateway
from routeiq_plugin.mcp.static_credentials import StaticCredentials
from routeiq_plugin.outbound import Clients, Guard
from routeiq_plugin.settings import MCPSettings
from routeiq_plugin.store.engine import Database
from routeiq_plugin.store.feed import Change, Resync
from routeiq_plugin.store.mcp_health import McpHealthStore
from routeiq_plugin.store.mcp_servers import KIND, McpServerStore
from routeiq_plugin.store.mcp_tools import ToolPins
from routeiq_plugin.store.public import MCP_SERVERS, PublicObjects
from routeiq_plugin.store.sealing import Sealer

RESTORE_SECONDS: Final = 2.0
"""How soon we notice that LiteLLM replaced its servers, also when nobody asks for a list."""

logger = logging.getLogger(__name__)


class McpFeature:
    """Builds the registry and lets it live."""

    def __init__(
        self,
        settings: MCPSettings,
        database: Database,
        sealer: Sealer,
        clients: Clients,
        guard: Guard,
        *,
        timeout: float,
        public_url: str | None,
        ready: Callable[[], Awaitable[None]],
        on_fault: OnFault,
    ) -> None:
        self._on_fault = on_fault
        manager = Manager()
        self.directory: Final = ServerDirectory(
            McpServerStore(database, sealer),
            manager,
            guard,
            PublicObjects(database, MCP_SERVERS),
            public_servers(),
            stdio=settings.stdio,
            on_fault=on_fault,
        )
        self.health: Final = Health(
            SessionProber(clients, manager.health),
            manager.health,
            McpHealthStore(database),
            now=partial(datetime.now, UTC),
            clock=time.monotonic,
            on_fault=on_fault,
        )
        self.directory.listeners.append(self.health.forget)
        self.gateway: Final = McpGateway(
            self.directory, self.health, Integrity(ToolPins(database), enforced=settings.pin_tools), public_url, ready
        )
        self.oauth: Final = OAuthFeature(self.gateway, database, sealer, clients, guard, on_fault=on_fault)
        self.plane: Final = DataPlane(
            self.gateway,
            settings,
            clients,
            self.oauth.credentials(StaticCredentials(key_header)),
            timeout=timeout,
            key_header=key_header,
        )
        self._relay: Final = (
            RelayFeature(self.plane, database, clients, sealer, on_fault=on_fault) if settings.relay else None
        )
        self.directory.listeners.append(self.oauth.forget)
        self.directory.listeners.append(self.plane.forget)
        if self._relay is not None:
            self.directory.listeners.append(self._relay.server_changed)
        self.directory.written.append(self.plane.approvals.written)

    def routers(self) -> Sequence[APIRouter]:
        """Build the routes; those with a word in the place of an id come first."""
        return [
            *self.oauth.routers(),
            public_routes(self.gateway),
            import_routes(self.gateway),
            registry_routes(self.gateway),
            data_routes(self.plane),
            *self.oauth.last_routers(),
            *(self._relay.routers() if self._relay is not None else ()),
        ]

    async def run(self) -> None:
        """Keep LiteLLM fed, and what is kept for a while small, until cancelled."""
        async with asyncio.TaskGroup() as keeping:
            keeping.create_task(self._keep_fed())
            keeping.create_task(self.plane.run())
            keeping.create_task(self.oauth.run())
            if self._relay is not None:
                keeping.create_task(self._relay.run())

    async def _keep_fed(self) -> None:
        while True:
            await asyncio.sleep(RESTORE_SECONDS)
            try:
                restored = await self.directory.restore()
            except Exception as error:  # noqa: BLE001  recorded; following the store must go on
                self._on_fault("feeding MCP servers", error)
            else:
                if restored:
                    logger.info("routeiq: gave LiteLLM %d MCP servers back after it had replaced its own", restored)

    async def follow(self, news: Sequence[Change] | Resync) -> None:
        """Take over what some worker changed."""
        self.oauth.follow(news)
        if self._relay is not None:
            self._relay.follow(news)
        await self.plane.follow(news)
        if isinstance(news, Resync):
            await self.directory.load()
            return
        await self.directory.refresh([change.object_id for change in news if change.kind == KIND])
        if any(change.kind == MCP_SERVERS.kind for change in news):
            await self.directory.refresh_public()

    async def aclose(self) -> None:
        """Stop asking servers; call it before clients and database are closed."""
        if self._relay is not None:
            await self._relay.aclose()
        await self.oauth.aclose()
        await self.health.aclose()
        await self.plane.aclose()

    def facts(self) -> Mapping[str, Any]:
        """Tell what any key may know, of this worker."""
        return {
            "servers": self.directory.count,
            "unreadable_servers": len(self.directory.unreadable),
            "servers_not_served": len(self.directory.held_back),
            **self.plane.facts(),
        }

    def admin_facts(self) -> Mapping[str, Any]:
        """Tell why servers are not served, by id."""
        return {"not_served": dict(self.directory.held_back)}
