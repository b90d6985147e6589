"""HTTP of operations: `/router/info` for every key, the audit trail for admins."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request

from routeiq_plugin.host.auth import ANY_KEY, authenticate
from routeiq_plugin.host.requests import KEY
from routeiq_plugin.operations.info import Info
from routeiq_plugin.store.audit import AuditLog


def operations_routes(info: Callable[[], Awaitable[Info]], audit: AuditLog) -> APIRouter:
    """Build the routes; `info` gathers what this worker knows of itself."""
    router = APIRouter(tags=["RouteIQ"], dependencies=[KEY])

    @router.get("/router/info", summary="What the plugin is doing")
    async def router_info(request: Request) -> dict[str, Any]:
        """Tell versions, features and their state, the database, our routes and what went wrong."""
        caller = await authenticate(request, path=ANY_KEY)
        return (await info()).rendered(is_admin=caller.is_admin)

    @router.get("/routeiq/audit", summary="Who changed what")
    async def audit_trail(
        request: Request,
        limit: Annotated[int, Query(ge=1, le=500)] = 50,
        before: Annotated[int | None, Query(ge=1, description="Continue below this entry's id")] = None,
        object_id: Annotated[str | None, Query(description="Only this object")] = None,
    ) -> dict[str, Any]:
        """List control-plane writes, newest first; proxy admins only. `next` is the next page's `before`."""
        caller = await authenticate(request, path=ANY_KEY)
        caller.require_admin("Only proxy admins can read the audit trail.")
        entries = await audit.page(limit=limit, before=before, object_id=object_id)
        return {
            "entries": [asdict(entry) for entry in entries],
            "next": entries[-1].id if len(entries) == limit else None,
        }

    return router
