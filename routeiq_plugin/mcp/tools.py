"""Tools of all servers of a caller: listed, found by name, and called once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from starlette.requests import Request

from routeiq_plugin.errors import BackendError, BackendTimeout, Forbidden, InvalidRequest, NotFound, RouteIQError
from routeiq_plugin.host import mcp_calls
from routeiq_plugin.host.mcp_calls import HostedToolCall, ToolSubject
from routeiq_plugin.mcp.catalog import FRESH_SECONDS, TTL_SECONDS, Offer
from routeiq_plugin.mcp.failures import ServerRefused, worded
from routeiq_plugin.mcp.model import Server
from routeiq_plugin.mcp.offers import Asked, Offers, ServerOffer, is_delegated, prefix_of, server_named, without_prefix
from routeiq_plugin.mcp.validation import Schemas
from routeiq_plugin.outbound.headers import CREDENTIALS, added

MAX_NAME: Final = 512
"""Characters of a tool's name that a caller may send."""

Finished = Callable[[Server, str, float], None]
"""Hears of each call's server, outcome and seconds."""


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call as its caller wrote it."""

    name: str
    arguments: dict[str, Any]
    server: str | None
    body: Mapping[str, Any]

    @classmethod
    def read(cls, body: Any) -> ToolCall:
        """Read a request's body; raises `InvalidRequest` in LiteLLM's words."""
        if not isinstance(body, dict):
            raise InvalidRequest({"error": "invalid_request", "message": "the request body must be a JSON object"})
        name, arguments = body.get("name"), body.get("arguments")
        if not isinstance(name, str) or not name or len(name) > MAX_NAME:
            raise InvalidRequest({"error": "missing_parameter", "message": "name is required in request body"})
        if arguments is not None and not isinstance(arguments, dict):
            raise InvalidRequest(
                {"error": "invalid_arguments", "message": "arguments must be a JSON object", "field": "arguments"}
            )
        return cls(name, dict(arguments or {}), server_named(body), body)


@dataclass(frozen=True, slots=True)
class Target:
    """The tool that a call means."""

    server: Server
    tool: Any
    """The SDK's `Tool`."""


class Tools:
    """Lists and calls tools."""

    def __init__(self, offers: Offers, finished: Finished) -> None:
        self.offers = offers
        self._schemas = Schemas()
        self.finished = finished

    async def listed(self, asked: Asked, servers: Sequence[Server]) -> Sequence[ServerOffer]:
        """List what the caller may use of each server's tools."""
        found = await self.offers.gather(asked, servers, Offer.TOOLS)
        return [ServerOffer(each.server, await self._usable(asked, each), each.error) for each in found]

    async def call(self, asked: Asked, request: Request, call: ToolCall) -> Any:
        """Call a tool under LiteLLM's hooks; returns the SDK's `CallToolResult`, a tool's own error included.

        Raises:
            NotFound: no such server or tool, or none that this caller may know of.
            Forbidden: known, and not theirs to use.
            InvalidRequest: the arguments do not fit, or the name fits several tools.
            BackendError: the server, or the way to it, failed.
        """
        began = time.monotonic()
        target = await self._target(asked, call)
        outcome = "error"
        try:
            result = await self._governed(asked, request, call, target)
            outcome = "tool_error" if result.is_error else "ok"
            return result
        except BackendTimeout as error:
            outcome = "timeout"
            seconds = self.offers.sessions.policy.seconds(target.server)
            detail = {"error": "timeout", "message": f"MCP tool call timed out after {seconds}s"}
            raise BackendTimeout(detail) from error
        except BackendError as error:
            outcome = "refused" if isinstance(error, ServerRefused) else "error"
            raise worded(error, target.server.name) from error
        except (Forbidden, InvalidRequest):
            outcome = "rejected"
            raise
        finally:
            self.finished(target.server, outcome, time.monotonic() - began)

    async def _governed(self, asked: Asked, request: Request, call: ToolCall, target: Target) -> Any:
        tool = target.tool
        subject = self.subject(asked, request, call, target)
        async with await HostedToolCall.begin(asked.caller, request, subject, call.arguments) as hosted:
            await self.require(asked, target)
            await self._schemas.check(tool.name, tool.input_schema, call.arguments)
            try:
                result = await self._carried_out(asked, hosted, call, target)
                return await hosted.answered(result)
            except RouteIQError:
                raise
            except Exception as refused:
                raise mcp_calls.told(refused) from refused

    def subject(self, asked: Asked, request: Request, call: ToolCall, target: Target) -> ToolSubject:
        """Describe a call for LiteLLM, and which of the caller's headers are secrets."""
        server, tool = target.server, target.tool
        hidden = CREDENTIALS | {str(name).lower() for name in server.fields.get("extra_headers") or ()}
        shown = hidden | (frozenset(dict(request.headers)) - frozenset(asked.incoming))
        return ToolSubject(server.server_id, tool.name, tool, frozenset(shown), call.body)

    async def usable(self, asked: Asked, server: Server, listed: Sequence[Any]) -> Sequence[Any]:
        """Choose of tools, as JSON that the server sent, those that the caller may use."""
        from mcp_types import Tool

        allowed = await self.offers.gateway.tool_filter(asked.caller, server)
        kept = []
        for raw in listed:
            if not isinstance(raw, dict) or not allowed(str(raw.get("name"))):
                continue
            if not self.offers.integrity.enforced or self.offers.integrity.may_use(server, Tool.model_validate(raw)):
                kept.append(raw)
        return kept

    async def _carried_out(self, asked: Asked, hosted: HostedToolCall, call: ToolCall, target: Target) -> Any:
        if is_delegated(target.server):
            return await hosted.delegate(call.arguments, asked.incoming)
        checked = await hosted.check(call.arguments)
        credential = await self.offers.credential(asked, target.server)
        from routeiq_plugin.mcp.requests import call_tool

        send = call_tool(target.tool.name, checked.arguments, target.tool.input_schema)
        token = added.set(checked.headers)
        try:
            calling = self.offers.sessions.call(target.server, credential, send)
            if not hosted.moderates:
                return await calling
            return await _together(calling, hosted.moderate(checked.arguments))
        finally:
            added.reset(token)

    async def require(self, asked: Asked, target: Target) -> None:
        """Raise `Forbidden` for a tool that is not this caller's to use, or that changed since it was approved."""
        allowed = await self.offers.gateway.tool_filter(asked.caller, target.server)
        if not allowed(target.tool.name):
            name = target.server.name
            text = f"Tool {target.tool.name} is not allowed for server {name}. Contact proxy admin to allow this tool."
            raise Forbidden({"error": text})
        self.offers.integrity.require(target.server, target.tool)

    async def _usable(self, asked: Asked, offer: ServerOffer) -> Sequence[Any]:
        allowed = await self.offers.gateway.tool_filter(asked.caller, offer.server)
        integrity = self.offers.integrity
        return [tool for tool in offer.items if allowed(tool.name) and integrity.may_use(offer.server, tool)]

    # Names

    async def _target(self, asked: Asked, call: ToolCall) -> Target:
        """Find the tool: on the server that is named, by its server's prefix, or the only one of that name."""
        if call.server is not None:
            (server,) = await self.offers.servers(asked, call.server)
            return await self.on_server(asked, server, call.name)
        servers = await self.offers.servers(asked, None)
        candidates = [(server, name) for server in servers if (name := without_prefix(server, call.name)) is not None]
        candidates = candidates or [(server, call.name) for server in servers]
        found = await asyncio.gather(*(self._found(asked, server, name) for server, name in candidates))
        targets = [each for each in found if isinstance(each, Target)]
        if len(targets) == 1:
            return targets[0]
        if targets:
            raise _ambiguous(call.name, targets)
        errors = [each for each in found if isinstance(each, RouteIQError)]
        if errors and len(candidates) == 1:
            raise errors[0]
        raise NotFound({"error": "tool_not_found", "message": f"Tool '{call.name}' not found"})

    async def on_server(self, asked: Asked, server: Server, name: str) -> Target:
        """Find a tool of one server, with or without its prefix; raises `NotFound`, or what the server said."""
        for each in dict.fromkeys((name, without_prefix(server, name) or name)):
            found = await self._found(asked, server, each)
            if isinstance(found, Target):
                return found
            if found is not None:
                raise found
        message = f"Tool '{name}' not found on MCP server '{server.name}'"
        raise NotFound({"error": "tool_not_found", "message": message})

    async def _found(self, asked: Asked, server: Server, name: str) -> Target | RouteIQError | None:
        """Look into the kept list, and into a fresh one where the name is not in it."""
        for max_age in (TTL_SECONDS, FRESH_SECONDS):
            try:
                tools = await self.offers.of(asked, server, Offer.TOOLS, max_age=max_age)
            except RouteIQError as error:
                return worded(error, server.name)
            tool = next((each for each in tools if each.name == name), None)
            if tool is not None:
                return Target(server, tool)
        return None


def _ambiguous(name: str, targets: Sequence[Target]) -> InvalidRequest:
    names = ", ".join(f"'{prefix_of(each.server)}{each.tool.name}'" for each in targets)
    message = f"Tool '{name}' is offered by several MCP servers; send server_id, or one of {names}"
    return InvalidRequest({"error": "ambiguous_tool", "message": message, "field": "name"})


async def _together(calling: Awaitable[Any], moderating: Awaitable[Any]) -> Any:
    """Call while the hooks judge; what either raises ends the other."""
    tasks = (asyncio.ensure_future(calling), asyncio.ensure_future(moderating))
    try:
        return (await asyncio.gather(*tasks))[0]
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
