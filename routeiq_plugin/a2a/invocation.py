"""HTTP of calling an agent: JSON-RPC relayed to its backend."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from starlette.responses import Response

from routeiq_plugin.a2a import headers, tasks
from routeiq_plugin.a2a.access import Action
from routeiq_plugin.a2a.governance import CALL, Invocation, govern
from routeiq_plugin.a2a.model import Agent
from routeiq_plugin.a2a.routes import TAG
from routeiq_plugin.a2a.service import AgentGateway
from routeiq_plugin.errors import (
    BackendError,
    Forbidden,
    InvalidRequest,
    MalformedBody,
    NotFound,
    RouteIQError,
    Unavailable,
    wire,
)
from routeiq_plugin.host.app import BODY, LeaveToStock
from routeiq_plugin.host.auth import Caller, authenticate
from routeiq_plugin.host.config import base_url, key_header
from routeiq_plugin.host.departures import unless_client_leaves
from routeiq_plugin.host.requests import KEY, finite_json

if TYPE_CHECKING:
    from routeiq_plugin.a2a.bindings import Bindings

Answer = Callable[["Bindings"], Awaitable[Response]]
"""Answers a request through one of an agent's bindings."""

_SURROGATE: Final = re.compile(rb"\\u[dD][89a-fA-F]")


def invocation_routes(gateway: AgentGateway) -> APIRouter:
    """Build the routes that call agents."""
    router = APIRouter(tags=[TAG], dependencies=[KEY])

    @router.post("/a2a/{agent_id}", summary="Call an agent (A2A JSON-RPC)")
    @router.post("/a2a/{agent_id}/", include_in_schema=False)
    @router.post("/a2a/{agent_id}/message/send", summary="Send a message to an agent")
    @router.post("/a2a/{agent_id}/message/stream", summary="Stream a message to an agent")
    @router.post("/v1/a2a/{agent_id}/message/send", summary="Send a message to an agent")
    @router.post("/v1/a2a/{agent_id}/message/stream", summary="Stream a message to an agent")
    async def invoke_agent(agent_id: str, request: Request) -> Response:
        """Relay a JSON-RPC call in either protocol version; `method` in the body decides what is done."""
        call = _call(request.scope[BODY])
        # A model would make LiteLLM reserve a budget for it; an agent's cost is another matter.
        checked = {name: value for name, value in (call or {}).items() if name != "model"}
        caller = await authenticate(request, path=f"/a2a/{agent_id}", body=checked)
        await gateway.ready()
        try:
            agent = await callable_agent(gateway, caller, agent_id)
            if call is None:
                raise MalformedBody("The request body is not JSON in UTF-8 of a reasonable depth and size of numbers")
            invocation = Invocation.of_jsonrpc(call)
            method = call.get("method")

            def answer(bindings: Bindings) -> Awaitable[Response]:
                bindings.jsonrpc.assume_version(request, method)
                return bindings.jsonrpc.handle_requests(request)

            return await governed(gateway, caller, agent, request, invocation=invocation, answer=answer)
        except (NotFound, InvalidRequest, BackendError, Unavailable) as error:
            return _jsonrpc_error((call or {}).get("id"), error)

    return router


def _call(body: bytes) -> dict[str, Any] | None:
    """Read what LiteLLM's checks may look at, None for no JSON; other than objects the dispatcher will refuse."""
    try:
        call = finite_json(body)
        if _SURROGATE.search(body):
            json.dumps(call, ensure_ascii=False).encode()  # half a pair is no character, and no parser behind takes it
    except ValueError:
        return None
    return call if isinstance(call, dict) else {}


async def callable_agent(gateway: AgentGateway, caller: Caller, reference: str) -> Agent:
    """Find an agent that can be relayed to; raises `LeaveToStock` for those of LiteLLM's completion bridge."""
    agent = await gateway.get(caller, reference, Action.INVOKE)
    if not agent.fields.get("enabled", True):
        raise Forbidden(f"Agent '{reference}' is disabled")
    if agent.unreadable:
        raise Unavailable(f"Agent '{reference}' was sealed with another key; see `routeiq secrets rotate`", 60)
    if agent.is_bridged:
        raise LeaveToStock(f"/a2a/{agent.agent_id}")  # the one spelling that every LiteLLM serves
    if agent.backend_url is None:
        raise InvalidRequest(f"Agent '{reference}' has no URL configured")
    return agent


async def governed(
    gateway: AgentGateway,
    caller: Caller,
    agent: Agent,
    request: Request,
    *,
    invocation: Invocation | None,
    answer: Answer,
) -> Response:
    """Relay under LiteLLM's limits and hooks; what names no method of A2A goes nowhere and is not governed."""
    if invocation is None:
        return await _relayed(gateway, caller, agent, request, answer)
    call = await govern(gateway.recorder, caller, agent, request, invocation)
    request.scope[CALL] = call
    async with call:
        return await call.sealed(await _relayed(gateway, caller, agent, request, answer))


async def _relayed(gateway: AgentGateway, caller: Caller, agent: Agent, request: Request, answer: Answer) -> Response:
    connection = await gateway.backends.connection(agent)
    key = key_header()
    incoming = {name.lower(): value for name, value in request.headers.items() if name.lower() != key}
    incoming |= headers.repeated(request.headers)
    if CALL in request.scope:
        incoming |= request.scope[CALL].trace
    request.scope[headers.OUTBOUND] = headers.outbound(agent, incoming, user_id=caller.user_id, team_id=caller.team_id)
    request.scope[tasks.CALLER] = tasks.TaskCaller.of(caller)
    request.scope[tasks.BASE_URL] = base_url(request, gateway.public_url)
    return await unless_client_leaves(request, answer(connection.bindings))


def _jsonrpc_error(call_id: Any, error: RouteIQError) -> Response:
    """Answer in JSON-RPC: what the protocol has a code for inside HTTP 200, the gateway's own word with its status."""
    how = wire(error)
    known_id = call_id if isinstance(call_id, str | int) and not isinstance(call_id, bool) else None
    body = {"jsonrpc": "2.0", "id": known_id, "error": {"code": how.jsonrpc, "message": str(error.detail)}}
    status = 200 if isinstance(error, BackendError | MalformedBody) else how.status
    return JSONResponse(body, status, dict(error.headers))
