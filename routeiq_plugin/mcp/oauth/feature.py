"""Logging in, put together for one worker."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Final

from fastapi import APIRouter

from routeiq_plugin.errors import RouteIQError
from routeiq_plugin.host.config import callback_base
from routeiq_plugin.mcp.credentials import Credentials
from routeiq_plugin.mcp.oauth.clients import ClientRegistry
from routeiq_plugin.mcp.oauth.credentials import OAuthCredentials
from routeiq_plugin.mcp.oauth.discovery import Discovery
from routeiq_plugin.mcp.oauth.discovery_routes import challenge_routes, discovery_routes
from routeiq_plugin.mcp.oauth.exchanges import Exchanges
from routeiq_plugin.mcp.oauth.grants import Grants
from routeiq_plugin.mcp.oauth.leases import Leases
from routeiq_plugin.mcp.oauth.logins import Logins
from routeiq_plugin.mcp.oauth.machines import MachineTokens
from routeiq_plugin.mcp.oauth.redemption import Redemption
from routeiq_plugin.mcp.oauth.registration import Registrations
from routeiq_plugin.mcp.oauth.routes import oauth_routes
from routeiq_plugin.mcp.oauth.service import OAuthGateway
from routeiq_plugin.mcp.oauth.staging import StagedServers
from routeiq_plugin.mcp.oauth.tokens import UserTokens
from routeiq_plugin.mcp.oauth.user_routes import user_routes
from routeiq_plugin.mcp.service import McpGateway
from routeiq_plugin.outbound import Clients, Guard
from routeiq_plugin.store.engine import Database
from routeiq_plugin.store.feed import Change, Resync
from routeiq_plugin.store.oauth_flows import FlowStore
from routeiq_plugin.store.oauth_tokens import TokenStore
from routeiq_plugin.store.sealing import Sealer

PRUNE_SECONDS: Final = 300.0

logger = logging.getLogger(__name__)

OnFault = Callable[[str, BaseException], None]


class OAuthFeature:
    """Builds it and lets it live."""

    def __init__(
        self,
        gateway: McpGateway,
        database: Database,
        sealer: Sealer,
        clients: Clients,
        guard: Guard,
        *,
        on_fault: OnFault,
    ) -> None:
        self._on_fault = on_fault
        self._flows = FlowStore(database, sealer)
        self._tokens = TokenStore(database, sealer)
        exchanges = Exchanges(clients)
        discovery = Discovery(exchanges, guard, time.monotonic)
        grants = Grants(exchanges)
        registrations = Registrations(self._tokens, exchanges)
        registry = ClientRegistry(self._flows)
        self._base = partial(callback_base, gateway.public_url)
        self._users = UserTokens(self._tokens, Leases(self._flows), discovery, registrations, grants)
        self._machines = MachineTokens(discovery, registrations, grants)
        self._oauth = OAuthGateway(
            gateway=gateway,
            staged=StagedServers(self._flows, gateway.directory.find, guard),
            clients=registry,
            logins=Logins(self._flows, registry, discovery, registrations),
            redemption=Redemption(self._flows, self._users, grants, registrations),
            tokens=self._users,
            configured_base=self._base,
        )

    def routers(self) -> Sequence[APIRouter]:
        """Build the routes that come before the registry's."""
        return [oauth_routes(self._oauth), user_routes(self._oauth), discovery_routes(self._oauth)]

    def last_routers(self) -> Sequence[APIRouter]:
        """Build the routes that come after all others: their paths are names of servers."""
        return [challenge_routes(self._oauth)]

    def credentials(self, other: Credentials) -> OAuthCredentials:
        """Find tokens for the servers that want OAuth, and leave the others to `other`."""
        return OAuthCredentials(other, self._users, self._machines, self._base)

    async def run(self) -> None:
        """Forget what has expired until cancelled."""
        while True:
            try:
                now = datetime.now(UTC)
                await self._flows.prune(now)
                await self._tokens.prune(now)
            except RouteIQError as away:
                logger.info("routeiq: expired logins are forgotten later: %s", away)
            except Exception as error:  # noqa: BLE001  recorded; what else runs must go on
                self._on_fault("forgetting expired logins", error)
            await asyncio.sleep(PRUNE_SECONDS)

    def follow(self, news: Sequence[Change] | Resync) -> None:
        """Take over what some worker stored or dropped."""
        self._users.memory.follow(news)

    async def forget(self, server_id: str) -> None:
        """Look again at the logins of a server that was changed or deleted."""
        self._users.memory.forget(server_id)

    async def aclose(self) -> None:
        """Let refreshes end; call it before clients and database are closed."""
        await self._users.aclose()
