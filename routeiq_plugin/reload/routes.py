"""HTTP of reloads: `/config/*` and `/router/reload`."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable
from typing import Any, Final

from fastapi import APIRouter, Request, Security
from fastapi.security import APIKeyHeader

from routeiq_plugin.appliers import Reloads
from routeiq_plugin.host.app import BODY
from routeiq_plugin.host.auth import ANY_KEY, Caller, authenticate
from routeiq_plugin.reload.following import Following
from routeiq_plugin.reload.journal import OnFault
from routeiq_plugin.reload.schemas import (
    Body,
    HistoryAnswer,
    HistoryEntry,
    ReloadAnswer,
    ReloadBody,
    RollbackBody,
    StrategyAnswer,
    StrategyBody,
    parse_body,
)
from routeiq_plugin.reload.service import Order, Outcome, Reloader
from routeiq_plugin.reload.status import SyncStatus
from routeiq_plugin.reload.strategies import reload_strategies, tell_others
from routeiq_plugin.store.generations import GenerationStore
from routeiq_plugin.store.strategies import StrategyNews

KEY: Final = Security(APIKeyHeader(name="Authorization", scheme_name="APIKeyHeader", auto_error=False))
_REFUSED: Final = "Only proxy admins can reload the configuration."


def reload_routes(
    reloader: Reloader,
    following: Following,
    status: SyncStatus,
    generations: GenerationStore,
    *,
    reloads: Reloads,
    news: StrategyNews,
    ready: Callable[[], Awaitable[None]],
    on_fault: OnFault,
) -> APIRouter:
    """Build the routes; `ready` returns when the store is open."""
    router = APIRouter(tags=["RouteIQ"], dependencies=[KEY])

    @router.post("/config/reload", summary="Apply the configuration as it is now", openapi_extra=_takes(ReloadBody))
    async def reload(request: Request) -> ReloadAnswer:
        """Fetch, check and apply the configuration; all of it, or nothing. Proxy admins only."""
        caller = await _admin(request)
        await ready()
        asked = parse_body(ReloadBody, request.scope[BODY])
        order = _order("api", request, caller, dry_run=asked.dry_run, force=asked.force_sync)
        outcome = await reloader.reload(order)
        await following.tell()
        return _answer(outcome)

    @router.post("/config/rollback", summary="Return to an earlier generation", openapi_extra=_takes(RollbackBody))
    async def rollback(request: Request) -> ReloadAnswer:
        """Apply an earlier generation again; what is left is not applied again until it changes. Proxy admins only."""
        caller = await _admin(request)
        await ready()
        asked = parse_body(RollbackBody, request.scope[BODY])
        order = _order("rollback", request, caller, dry_run=asked.dry_run)
        outcome = await reloader.rollback(order, asked.generation)
        await following.tell()
        return _answer(outcome)

    @router.get("/config/history", summary="Which configurations were applied")
    async def history(request: Request) -> HistoryAnswer:
        """List the last generations, newest first, without their content. Proxy admins only."""
        await _admin(request)
        await ready()
        known = await generations.listed()
        current = known[0].generation if known else None
        return HistoryAnswer(
            generations=[
                HistoryEntry(
                    generation=each.generation,
                    origin=each.origin,
                    hash=each.hash,
                    applied_at=each.applied_at,
                    actor=each.actor,
                    source=each.source,
                    worker=each.worker,
                    diff=dict(each.diff),
                    current=each.generation == current,
                )
                for each in known
            ]
        )

    @router.get("/config/sync/status", summary="Where the configuration comes from, and who serves which")
    @router.get("/hot-reload/status", summary="The same")
    async def sync_status(request: Request) -> dict[str, Any]:
        """Tell the source, the last attempts and every worker's generation; places and errors to admins only."""
        caller = await authenticate(request, path=ANY_KEY)
        return await status.rendered(is_admin=caller.is_admin)

    @router.post("/router/reload", summary="Load strategies and artifacts again", openapi_extra=_takes(StrategyBody))
    async def router_reload(request: Request) -> StrategyAnswer:
        """Reload one strategy, or all; the old one serves until the new one has passed its test. Proxy admins only."""
        caller = await _admin(request)
        asked = parse_body(StrategyBody, request.scope[BODY])
        answer = await reload_strategies(reloads.reloadables, asked.strategy, reloader.serving.generation)
        order = _order("api", request, caller, dry_run=False)

        async def tell() -> None:
            await ready()
            await news.tell(asked.strategy, order.actor, order.request_id)

        await tell_others(answer, asked.strategy, tell, on_fault)
        return answer

    return router


def _takes(shape: type[Body]) -> dict[str, Any]:
    """Describe a body that we parse ourselves: authentication comes first, so FastAPI must not read it."""
    content = {"application/json": {"schema": shape.model_json_schema()}}
    return {"requestBody": {"required": False, "content": content}}


async def _admin(request: Request) -> Caller:
    caller = await authenticate(request, path=ANY_KEY)
    caller.require_admin(_REFUSED)
    return caller


def _order(origin: str, request: Request, caller: Caller, *, dry_run: bool, force: bool = False) -> Order:
    return Order(
        origin, caller.actor, request.headers.get("x-request-id") or str(uuid.uuid4()), force=force, dry_run=dry_run
    )


def _answer(outcome: Outcome) -> ReloadAnswer:
    return ReloadAnswer.model_validate(
        {
            "status": outcome.status,
            "message": outcome.message,
            "generation": outcome.generation,
            "hash": outcome.hash,
            "synced_from_remote": outcome.synced_from_remote,
            "diff": outcome.diff.rendered(),
        }
    )
