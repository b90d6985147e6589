"""Where agents call back: no key but the token in the path, which the gateway made for one webhook."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from routeiq_plugin.a2a.deliveries import PushDeliveries
from routeiq_plugin.a2a.push import PATH
from routeiq_plugin.host.app import BODY


def push_routes(deliveries: PushDeliveries) -> APIRouter:
    """Build the route."""
    router = APIRouter(tags=["A2A push notifications"])

    @router.post(f"{PATH}{{token}}", status_code=204, summary="Notify a client of its task (for agents)")
    async def notify_client(token: str, request: Request) -> Response:
        """Keep a notification durably, to be delivered to the webhook that the token stands for."""
        await deliveries.receive(token, request.scope[BODY])
        return Response(status_code=204)

    return router
