"""The way to translation between generations of the protocol, which is loaded when somebody needs it first."""

from __future__ import annotations

import asyncio
import importlib
import time
from typing import TYPE_CHECKING, Any

from routeiq_plugin.mcp.http.carrier import Carrier
from routeiq_plugin.mcp.model import Server
from routeiq_plugin.mcp.plane import DataPlane
from routeiq_plugin.mcp.relay.client_sessions import ClientSessions
from routeiq_plugin.mcp.relay.generations import Generation, Generations
from routeiq_plugin.mcp.relay.tickets import Tickets
from routeiq_plugin.store.sealing import Sealer

if TYPE_CHECKING:
    from routeiq_plugin.mcp.relay.translation.downward import Bench
    from routeiq_plugin.mcp.relay.translation.endpoint import TranslatingEndpoint

_PACKAGE = "routeiq_plugin.mcp.relay.translation"


class Translating:
    """Holds what it needs; one per worker."""

    def __init__(
        self, plane: DataPlane, carrier: Carrier, tickets: Tickets, sessions: ClientSessions, sealer: Sealer
    ) -> None:
        self.generations = Generations()
        self._plane = plane
        self._carrier = carrier
        self._tickets = tickets
        self._sessions = sessions
        self._sealer = sealer
        self._bench: Bench | None = None
        self._endpoint: TranslatingEndpoint | None = None

    def speaks(self, server: Server, generation: Generation) -> bool | None:
        """Tell whether a server is known to speak a generation, or not to."""
        return self.generations.speaks(server, generation)

    async def endpoint(self) -> TranslatingEndpoint:
        """Return the part that answers requests."""
        if self._endpoint is None:
            bench = await self.bench()
            module = await _loaded("endpoint")
            self._endpoint = module.TranslatingEndpoint(
                self._plane, self._carrier, self._tickets, self._sessions, bench=bench, generations=self.generations
            )
        return self._endpoint

    async def bench(self) -> Bench:
        """Return what conversations with servers that need sessions share."""
        if self._bench is None:
            downward, sessions, parking = [await _loaded(name) for name in ("downward", "server_sessions", "parking")]
            if self._bench is None:
                self._bench = downward.Bench(
                    sessions.ServerSessions(self._sessions.mailbox),
                    parking.Parking(),
                    self._sessions.mailbox,
                    self._sealer,
                )
        return self._bench

    def sweep(self) -> None:
        """Close sessions with servers that nobody needs."""
        if self._bench is not None:
            self._bench.sessions.sweep(time.monotonic())

    async def aclose(self) -> None:
        """Cancel what waits, and close sessions with servers."""
        if self._bench is not None:
            await self._bench.parking.aclose()
            await self._bench.sessions.aclose()


async def _loaded(name: str) -> Any:
    """The SDK takes a moment to load where nobody has loaded it, too long for the loop."""
    return await asyncio.to_thread(importlib.import_module, f"{_PACKAGE}.{name}")
