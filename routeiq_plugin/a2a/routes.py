"""HTTP of the agent registry: LiteLLM's `/v1/agents` and the gateway's `/a2a/agents`, one handler each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse
from starlette.responses import Response

from routeiq_plugin.a2a import schemas
from routeiq_plugin.a2a.access import Action
from routeiq_plugin.a2a.model import Agent
from routeiq_plugin.a2a.search import ranked
from routeiq_plugin.a2a.service import AgentGateway
from routeiq_plugin.host import agents as host_agents
from routeiq_plugin.host.app import BODY
from routeiq_plugin.host.auth import ANY_KEY, Caller, authenticate
from routeiq_plugin.host.config import base_url
from routeiq_plugin.host.requests import KEY, author_of, json_body, precondition

HEALTH: Final = "x-routeiq-agent-health"
"""Tells how this worker finds the agent's backend: closed (well), open (left alone), half_open (being tried)."""
TAG: Final = "[beta] A2A Agents"

_ADMINS_ONLY: Final = "Only proxy admins can create, update, or delete agents."


def registry_routes(gateway: AgentGateway) -> APIRouter:
    """Build the registry's routes."""
    router = APIRouter(tags=[TAG], dependencies=[KEY])
    _add_reads(router, gateway)
    _add_writes(router, gateway)
    return router


def _add_reads(router: APIRouter, gateway: AgentGateway) -> None:
    @router.get("/v1/agents", response_model=list[host_agents.AgentResponse], summary="List agents")
    @router.get("/a2a/agents", response_model=list[host_agents.AgentResponse], summary="List agents")
    async def list_agents(
        request: Request,
        health_check: Annotated[bool, Query(description="Leave out agents whose backend does not answer")] = False,
        query: Annotated[str | None, Query(min_length=1, description="Rank by the words of a task")] = None,
        top_k: Annotated[int, Query(ge=1, le=100, description="With query: at most so many")] = 10,
    ) -> Response:
        """List the agents that the key may use: admins see all, others the granted and the public ones."""
        caller = await _caller_of(gateway, request)
        agents = await gateway.visible(caller)
        if health_check:
            agents = await gateway.health.answering(agents)
        if query is not None:
            agents = ranked(agents, query, top_k)
        base = base_url(request, gateway.public_url)
        return JSONResponse([schemas.rendered(each, is_admin=caller.is_admin, base_url=base) for each in agents])

    @router.get("/v1/agents/{agent_id}", response_model=host_agents.AgentResponse, summary="Read an agent")
    @router.get("/a2a/agents/{agent_id}", response_model=host_agents.AgentResponse, summary="Read an agent")
    async def get_agent(agent_id: str, request: Request) -> Response:
        """Read an agent by id or name; the `ETag` is what `If-Match` takes, `X-RouteIQ-Agent-Health` its breaker."""
        caller = await _caller_of(gateway, request)
        agent = await gateway.get(caller, agent_id, Action.READ)
        response = _answered(gateway, request, caller, agent)
        response.headers[HEALTH] = gateway.breaker.state(agent.agent_id).value
        return response


def _add_writes(router: APIRouter, gateway: AgentGateway) -> None:
    @router.post("/v1/agents", summary="Register an agent", **_takes(host_agents.AgentConfig, ["agent_name"]))
    @router.post("/a2a/agents", summary="Register an agent", **_takes(host_agents.AgentConfig, ["agent_name"]))
    async def create_agent(request: Request) -> Response:
        """Register an agent durably; proxy admins only."""
        caller = await _admin_of(gateway, request)
        given = host_agents.parse_config(json_body(request.scope[BODY]))
        config = await gateway.discovery.completed(given)
        return _answered(gateway, request, caller, await gateway.directory.create(config, author_of(request, caller)))

    @router.put("/v1/agents/{agent_id}", summary="Replace an agent", **_takes(host_agents.AgentConfig, ["agent_name"]))
    @router.put("/a2a/agents/{agent_id}", summary="Replace an agent", **_takes(host_agents.AgentConfig, ["agent_name"]))
    async def replace_agent(agent_id: str, request: Request) -> Response:
        """Replace an agent; secrets sent back as the redaction marker, or left out, are kept."""
        caller = await _admin_of(gateway, request)
        body = json_body(request.scope[BODY])
        config = host_agents.parse_config(body)
        current = precondition(request.headers.get("if-match"), body)
        agent = await gateway.directory.put(agent_id, config, author_of(request, caller), current)
        gateway.backends.forget(agent.agent_id)
        return _answered(gateway, request, caller, agent)

    @router.patch("/v1/agents/{agent_id}", summary="Change an agent", **_takes(host_agents.PatchAgentRequest))
    @router.patch("/a2a/agents/{agent_id}", summary="Change an agent", **_takes(host_agents.PatchAgentRequest))
    async def patch_agent(agent_id: str, request: Request) -> Response:
        """Merge the named fields into an agent."""
        caller = await _admin_of(gateway, request)
        body = json_body(request.scope[BODY])
        config = host_agents.parse_patch(body)
        current = precondition(request.headers.get("if-match"), body)
        agent = await gateway.directory.patch(agent_id, config, author_of(request, caller), current)
        gateway.backends.forget(agent.agent_id)
        return _answered(gateway, request, caller, agent)

    @router.delete("/v1/agents/{agent_id}", summary="Delete an agent")
    @router.delete("/a2a/agents/{agent_id}", summary="Delete an agent")
    async def delete_agent(agent_id: str, request: Request) -> dict[str, str]:
        """Delete an agent; calls in flight end as they would."""
        caller = await _admin_of(gateway, request)
        current = precondition(request.headers.get("if-match"))
        agent = await gateway.directory.delete(agent_id, author_of(request, caller), current)
        gateway.backends.forget(agent.agent_id)
        return {"message": f"Agent {agent_id} deleted successfully"}


async def _caller_of(gateway: AgentGateway, request: Request) -> Caller:
    caller = await authenticate(request, path=ANY_KEY)
    await gateway.ready()
    await caller.require_feature("agents")
    return caller


async def _admin_of(gateway: AgentGateway, request: Request) -> Caller:
    caller = await _caller_of(gateway, request)
    caller.require_admin(_ADMINS_ONLY)
    return caller


def _answered(gateway: AgentGateway, request: Request, caller: Caller, agent: Agent) -> Response:
    body = schemas.rendered(agent, is_admin=caller.is_admin, base_url=base_url(request, gateway.public_url))
    return JSONResponse(body, headers={"ETag": agent.etag} if agent.etag else None)


def _takes(shape: Any, required: list[str] | None = None) -> Mapping[str, Any]:
    """Describe a body that we parse ourselves: authentication comes first, so FastAPI must not read it."""
    schema = {"type": "object", "properties": {name: {} for name in shape.__annotations__}, "required": required or []}
    return {
        "response_model": host_agents.AgentResponse,
        "openapi_extra": {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}},
    }
