"""HTTP of daily activity: LiteLLM's `/agent/daily/activity`."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse
from starlette.responses import Response

from routeiq_plugin.a2a import activity
from routeiq_plugin.a2a.service import AgentGateway
from routeiq_plugin.host.activity import SpendAnalyticsPaginatedResponse
from routeiq_plugin.host.auth import ANY_KEY, authenticate
from routeiq_plugin.host.requests import KEY


def activity_routes(gateway: AgentGateway, activities: activity.Activity) -> APIRouter:
    """Build the route."""
    router = APIRouter(tags=["Agent Management"], dependencies=[KEY])

    @router.get(
        "/agent/daily/activity", response_model=SpendAnalyticsPaginatedResponse, summary="What agents did, by day"
    )
    async def daily_activity(request: Request, query: Annotated[activity.Query, Query()]) -> Response:
        """Sum up calls by day, agent, key and method; days are YYYY-MM-DD in UTC, first and last included."""
        caller = await authenticate(request, path=ANY_KEY)
        await gateway.ready()
        await caller.require_feature("agents")
        return JSONResponse(await activities.report(caller, query))

    return router
