"""HTTP of routing: what an alias would do with a request, for admins."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Security
from fastapi.security import APIKeyHeader

from routeiq_plugin.host.auth import ANY_KEY, authenticate
from routeiq_plugin.routing.explanation import explanation, parse
from routeiq_plugin.routing.service import Routing

KEY = Security(APIKeyHeader(name="Authorization", scheme_name="APIKeyHeader", auto_error=False))


def routing_routes(routing: Routing) -> APIRouter:
    """Build the routes."""
    router = APIRouter(tags=["RouteIQ"], dependencies=[KEY])

    @router.post("/routeiq/routing/explain", summary="Which model an alias would choose, and why")
    async def explain(request: Request) -> dict[str, Any]:
        """Decide about a request body (`model` is the alias) without calling a model; proxy admins only."""
        caller = await authenticate(request, path=ANY_KEY)
        caller.require_admin("Only proxy admins can explain routing decisions.")
        return await explanation(routing, parse(await request.body()), caller.identity)

    return router
