"""HTTP of agent cards: with the gateway in the backend's place, and as a backend to be registered shows them."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from typing import Any, Final, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, ValidationError
from starlette.responses import Response

from routeiq_plugin.a2a import cards, schemas
from routeiq_plugin.a2a.access import Action
from routeiq_plugin.a2a.routes import TAG
from routeiq_plugin.a2a.service import AgentGateway
from routeiq_plugin.errors import BackendError, InvalidFields, InvalidRequest, NotFound
from routeiq_plugin.host.app import BODY, LeaveToStock
from routeiq_plugin.host.auth import ANY_KEY, authenticate
from routeiq_plugin.host.config import base_url, callback_base
from routeiq_plugin.host.requests import KEY, json_body

MAX_AGE: Final = 60
"""Seconds that a client may go by a card without asking again."""

VERSION: Final = "A2A-Version"

_STARTED: Final = datetime.now(UTC)
"""Age of what has none of its own, such as an agent of LiteLLM's config."""

_ADMINS_ONLY: Final = "Only proxy admins can discover agent cards."


class DiscoverRequest(BaseModel):
    """LiteLLM's `DiscoverAgentRequest`."""

    url: str
    discovery_mode: Literal["well_known_fallback", "langgraph_platform"] = "well_known_fallback"
    params: dict[str, Any] | None = None


class DiscoverAnswer(BaseModel):
    """LiteLLM's `DiscoverAgentResponse`."""

    url: str
    agent_card: dict[str, Any]


def card_routes(gateway: AgentGateway) -> APIRouter:
    """Build the routes."""
    router = APIRouter(tags=[TAG], dependencies=[KEY])

    @router.get("/a2a/agents/{agent_id}/card", summary="Agent card")
    @router.get("/a2a/{agent_id}/.well-known/agent-card.json", summary="Agent card")
    @router.get("/a2a/{agent_id}/.well-known/agent.json", summary="Agent card", include_in_schema=False)
    async def agent_card(agent_id: str, request: Request) -> Response:
        """Serve the agent's card with the gateway in the backend's place, for clients of both protocol versions.

        A caller that says `A2A-Version: 1.0` gets the card of that version alone.
        """
        caller = await authenticate(request, path=ANY_KEY)
        await gateway.ready()
        agent = await gateway.get(caller, agent_id, Action.READ)
        if not agent.card:
            raise NotFound(f"Agent '{agent_id}' has no agent card configured")
        own, _ = await gateway.backends.cards.of(agent)
        base = base_url(request, gateway.public_url)
        # The first card loads the SDK, which takes too long for the loop.
        card = await asyncio.to_thread(
            cards.public,
            agent.card,
            own.document if own is not None else None,
            name=agent.name,
            gateway_url=schemas.gateway_url(agent, base),
            provider_url=base,
            hidden=schemas.hidden_hosts(agent, own.document if own is not None else None),
            pure=request.headers.get(VERSION, "").strip().startswith("1."),
            push=callback_base(gateway.public_url) is not None,
        )
        changed = max(agent.fields.get("updated_at") or _STARTED, own.changed_at if own is not None else _STARTED)
        return _conditional(request, card, changed, shared=agent.is_public and _names_itself(gateway))

    @router.post(
        "/v1/a2a/discover",
        summary="Fetch the card of an agent to register",
        response_model=DiscoverAnswer,
        openapi_extra={
            "requestBody": {
                "required": True,
                "content": {"application/json": {"schema": DiscoverRequest.model_json_schema()}},
            }
        },
    )
    async def discover_card(request: Request) -> DiscoverAnswer:
        """Fetch an agent's card from its backend, through the outbound guard; proxy admins only."""
        caller = await authenticate(request, path=ANY_KEY)
        caller.require_admin(_ADMINS_ONLY, wrapped=False)
        wanted = _parsed(json_body(request.scope[BODY]))
        if wanted.discovery_mode != "well_known_fallback":
            raise LeaveToStock
        try:
            card = await gateway.discovery.discover(wanted.url)
        except BackendError as failed:
            raise InvalidRequest(
                f"Could not fetch agent card from {wanted.url} (mode={wanted.discovery_mode}). "
                f"Last error: {failed.detail}"
            ) from failed
        return DiscoverAnswer(url=wanted.url, agent_card=dict(card))

    return router


def _parsed(body: Any) -> DiscoverRequest:
    try:
        return DiscoverRequest.model_validate(body)
    except ValidationError as invalid:
        found = invalid.errors(include_input=False, include_url=False, include_context=False)
        raise InvalidFields([{**error, "loc": ["body", *error["loc"]]} for error in found]) from None


def _names_itself(gateway: AgentGateway) -> bool:
    """Tell whether the card's address is the operator's word; one from a Host header must not be shared."""
    return bool(gateway.public_url or os.environ.get("PROXY_BASE_URL"))


def _conditional(request: Request, card: Mapping[str, Any], changed: datetime, *, shared: bool) -> Response:
    """Answer with the card, or with 304 to a caller that has it (RFC 9110 13.2.2)."""
    body = json.dumps(card, separators=(",", ":"), ensure_ascii=False).encode()
    tag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    headers = {
        "ETag": tag,
        "Last-Modified": format_datetime(changed.astimezone(UTC), usegmt=True),
        "Cache-Control": f"{'public' if shared else 'private'}, max-age={MAX_AGE}",
        "Vary": f"{VERSION}, Authorization",
    }
    if _has(request, tag, changed):
        return Response(status_code=304, headers=headers)
    return Response(body, media_type="application/json", headers=headers)


def _has(request: Request, tag: str, changed: datetime) -> bool:
    tags = request.headers.getlist("if-none-match")
    if tags:
        known = [each.strip().removeprefix("W/") for each in ",".join(tags).split(",")]
        return "*" in known or tag in known
    since = request.headers.get("if-modified-since")
    if since is None:
        return False
    try:
        return parsedate_to_datetime(since) >= changed.astimezone(UTC).replace(microsecond=0)
    except (TypeError, ValueError):
        return False  # RFC 9110 13.1.3: what is no date is no condition; without a zone it is none either
