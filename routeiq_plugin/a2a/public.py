"""HTTP of public agents: making them so, and the hub that anyone may read."""

from __future__ import annotations

from typing import Any, Final

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.responses import Response

from routeiq_plugin.a2a import schemas
from routeiq_plugin.a2a.routes import TAG
from routeiq_plugin.a2a.service import AgentGateway
from routeiq_plugin.errors import InvalidFields
from routeiq_plugin.host.app import BODY
from routeiq_plugin.host.auth import ANY_KEY, Caller, authenticate
from routeiq_plugin.host.config import base_url
from routeiq_plugin.host.requests import KEY, author_of, json_body

_ADMINS_ONLY: Final = "Only proxy admins can update public model groups."
"""LiteLLM's words, which speak of models."""

_UPDATED: Final = "Successfully updated public agent groups"


class MakePublicAnswer(BaseModel):
    """LiteLLM's `AgentMakePublicResponse`."""

    message: str
    public_agent_groups: list[str]
    updated_by: str


class MakePublicRequest(BaseModel):
    """LiteLLM's `MakeAgentsPublicRequest`: ids, or names."""

    model_config = ConfigDict(strict=True)

    agent_ids: list[str]


def public_routes(gateway: AgentGateway) -> APIRouter:
    """Build the routes."""
    router = APIRouter(tags=[TAG])

    async def admin_of(request: Request) -> Caller:
        caller = await authenticate(request, path=ANY_KEY)
        await gateway.ready()
        caller.require_admin(_ADMINS_ONLY)
        return caller

    @router.post(
        "/v1/agents/make_public",
        summary="Choose the public agents",
        response_model=MakePublicAnswer,
        dependencies=[KEY],
        openapi_extra={
            "requestBody": {
                "required": True,
                "content": {"application/json": {"schema": MakePublicRequest.model_json_schema()}},
            }
        },
    )
    async def make_agents_public(request: Request) -> MakePublicAnswer:
        """Make exactly these agents public, replacing the list; all of them, or none if one is unknown."""
        caller = await admin_of(request)
        wanted = _parsed(json_body(request.scope[BODY]))
        listed = await gateway.directory.publish_only(wanted.agent_ids, author_of(request, caller))
        return MakePublicAnswer(message=_UPDATED, public_agent_groups=list(listed), updated_by=caller.actor)

    @router.post(
        "/v1/agents/{agent_id}/make_public",
        summary="Make an agent public",
        response_model=MakePublicAnswer,
        dependencies=[KEY],
    )
    async def make_agent_public(agent_id: str, request: Request) -> MakePublicAnswer:
        """Add an agent to the public ones: every key may see and call it, and the hub shows it."""
        caller = await admin_of(request)
        listed = await gateway.directory.publish(agent_id, author_of(request, caller))
        return MakePublicAnswer(message=_UPDATED, public_agent_groups=list(listed), updated_by=caller.actor)

    @router.get("/public/agent_hub", summary="Public agents")
    async def agent_hub(request: Request) -> Response:
        """List the cards of the public agents, each with the gateway's address; needs no key."""
        await gateway.ready()
        base = base_url(request, gateway.public_url)
        public = [agent for agent in gateway.directory.all() if agent.is_public and agent.card]
        return JSONResponse([schemas.shown_card(agent, base, is_admin=False) for agent in public])

    return router


def _parsed(body: Any) -> MakePublicRequest:
    try:
        return MakePublicRequest.model_validate(body)
    except ValidationError as invalid:
        found = invalid.errors(include_input=False, include_url=False, include_context=False)
        raise InvalidFields([{**error, "loc": ["body", *error["loc"]]} for error in found]) from None
