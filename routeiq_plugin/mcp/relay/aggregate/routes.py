"""HTTP of the endpoint over all servers, which loads with the first request: the SDK's types take a moment."""

from __future__ import annotations

import asyncio
import importlib
from typing import TYPE_CHECKING, Final

from fastapi import APIRouter, Request
from starlette.responses import Response

from routeiq_plugin.host.departures import unless_client_leaves
from routeiq_plugin.mcp.http.carrier import Carrier
from routeiq_plugin.mcp.plane import DataPlane
from routeiq_plugin.mcp.relay.aggregate.bells import Bell
from routeiq_plugin.mcp.relay.client_sessions import ClientSessions
from routeiq_plugin.mcp.relay.tickets import Tickets
from routeiq_plugin.mcp.relay.translating import Translating

if TYPE_CHECKING:
    from routeiq_plugin.mcp.relay.aggregate.endpoint import Endpoint

_MODULE: Final = "routeiq_plugin.mcp.relay.aggregate.endpoint"


class Door:
    """Builds the endpoint when somebody comes; one per worker."""

    def __init__(
        self,
        plane: DataPlane,
        carrier: Carrier,
        tickets: Tickets,
        sessions: ClientSessions,
        translating: Translating,
    ) -> None:
        self.bell: Final = Bell()
        """Rung when a list may have changed."""
        self._plane = plane
        self._carrier = carrier
        self._tickets = tickets
        self._sessions = sessions
        self._translating = translating
        self._endpoint: Endpoint | None = None

    async def endpoint(self) -> Endpoint:
        """Return it."""
        if self._endpoint is None:
            bench = await self._translating.bench()
            module = await asyncio.to_thread(importlib.import_module, _MODULE)
            conversations = module.Conversations(
                self._plane, self._carrier, self._sessions, self._translating.generations, bench
            )
            self._endpoint = module.Endpoint(self._plane, self._tickets, self._sessions, conversations, self.bell)
        return self._endpoint


def aggregate_routes(door: Door) -> APIRouter:
    """Build the routes; what they find not to be theirs goes to stock."""
    router = APIRouter(include_in_schema=False)

    @router.api_route("/mcp", methods=["GET", "POST", "DELETE"])
    @router.api_route("/mcp/", methods=["GET", "POST", "DELETE"])
    async def serve(request: Request) -> Response:
        async def answer() -> Response:
            return await (await door.endpoint()).serve(request)

        return await unless_client_leaves(request, answer())

    return router
