"""Requests to servers that messages are not carried to: over the pool of sessions, or by LiteLLM."""

from __future__ import annotations

from typing import Any

from routeiq_plugin.errors import BackendError, InvalidRequest
from routeiq_plugin.mcp.failures import worded
from routeiq_plugin.mcp.plane import DataPlane
from routeiq_plugin.mcp.prompts import PromptGet
from routeiq_plugin.mcp.relay.aggregate.targets import COMPLETE, Target
from routeiq_plugin.mcp.relay.aggregate.visits import Visit
from routeiq_plugin.mcp.requests import complete, dumped
from routeiq_plugin.mcp.resources import ResourceRead
from routeiq_plugin.mcp.tools import ToolCall

Json = dict[str, Any]


async def pooled(plane: DataPlane, visit: Visit, target: Target) -> Json:
    """Send a request and return its result, without what a server says or asks on the way.

    Raises what the plane's calls raise, and `InvalidRequest` for what only messages that are carried can do.
    """
    server_id, params = target.server.server_id, target.message["params"]
    method = target.message["method"]
    if method == "tools/call":
        call = ToolCall.read({**params, "server_id": server_id})
        return dumped(await plane.tools.call(visit.asked, visit.request, call))
    if method == "prompts/get":
        return dumped(await plane.prompts.get(visit.asked, PromptGet.parse({**params, "server_id": server_id})))
    if method == "resources/read":
        return dumped(await plane.resources.read(visit.asked, ResourceRead(params["uri"], server_id)))
    if method == COMPLETE:
        return await _completed(plane, visit, target)
    raise InvalidRequest(f"MCP server '{target.server.name}' cannot tell of changes of its resources here")


async def _completed(plane: DataPlane, visit: Visit, target: Target) -> Json:
    credential = await plane.offers.credential(visit.asked, target.server)
    send = complete(target.message["params"])
    try:
        return dumped(await plane.sessions.call(target.server, credential, send))
    except BackendError as error:
        raise worded(error, target.server.name) from error
