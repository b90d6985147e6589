"""The MCP endpoints of one worker, put together: what they share, and what has to run beside their requests."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from fastapi import APIRouter

from routeiq_plugin.errors import Unavailable
from routeiq_plugin.mcp.feeding import OnFault
from routeiq_plugin.mcp.http.carrier import Carrier
from routeiq_plugin.mcp.plane import DataPlane
from routeiq_plugin.mcp.relay.aggregate.routes import Door, aggregate_routes
from routeiq_plugin.mcp.relay.client_sessions import ClientSessions
from routeiq_plugin.mcp.relay.mailbox import Mailbox
from routeiq_plugin.mcp.relay.relay import Relay
from routeiq_plugin.mcp.relay.routes import relay_routes
from routeiq_plugin.mcp.relay.tickets import Tickets
from routeiq_plugin.mcp.relay.translating import Translating
from routeiq_plugin.outbound import Clients
from routeiq_plugin.store.engine import Database
from routeiq_plugin.store.feed import Change, Resync
from routeiq_plugin.store.mcp_relay import RelayStore
from routeiq_plugin.store.sealing import Sealer

PRUNE_SECONDS: Final = 300.0

logger = logging.getLogger(__name__)


class RelayFeature:
    """Builds the endpoint of each server, and that of all of them."""

    def __init__(
        self, plane: DataPlane, database: Database, clients: Clients, sealer: Sealer, *, on_fault: OnFault
    ) -> None:
        self._on_fault = on_fault
        self._store: Final = RelayStore(database, sealer)
        self.mailbox: Final = Mailbox(self._store)
        self.sessions: Final = ClientSessions(self._store, self.mailbox)
        self._carrier: Final = Carrier(clients)
        tickets = Tickets(sealer)
        self.translating: Final = Translating(plane, self._carrier, tickets, self.sessions, sealer)
        self.relay: Final = Relay(plane, self._carrier, tickets, self.translating)
        self._aggregate: Final = Door(plane, self._carrier, tickets, self.sessions, self.translating)
        plane.listeners.append(self._aggregate.bell.ring)

    def routers(self) -> Sequence[APIRouter]:
        """Build the routes."""
        return [aggregate_routes(self._aggregate), relay_routes(self.relay)]

    async def run(self) -> None:
        """Forget sessions and letters that have expired, until cancelled."""
        while True:
            await asyncio.sleep(PRUNE_SECONDS)
            try:
                self.translating.sweep()
                await self._store.prune(datetime.now(UTC))
            except Unavailable as away:
                logger.debug("routeiq: expired sessions of MCP clients are forgotten later (%s)", away)
            except Exception as error:  # noqa: BLE001  recorded; what else runs must go on
                self._on_fault("forgetting sessions of MCP clients", error)

    async def server_changed(self, server_id: str) -> None:
        """Hear that a server was registered, changed or deleted; lists of it are forgotten by then."""
        self._aggregate.bell.ring()

    def follow(self, news: Sequence[Change] | Resync) -> None:
        """Hear what some worker stored."""
        self.mailbox.follow(news)

    async def aclose(self) -> None:
        """Stop; call it before clients and database are closed."""
        await self.translating.aclose()
        await self.mailbox.aclose()
        await self._carrier.aclose()
