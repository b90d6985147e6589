"""What the gateway has a say in: tools that are listed, and calls of them, under LiteLLM's own machinery."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from pydantic import ValidationError
from starlette.requests import Request

from routeiq_plugin.errors import BackendError, BackendTimeout, Forbidden, InvalidRequest
from routeiq_plugin.host import mcp_calls
from routeiq_plugin.host.mcp_calls import HostedToolCall
from routeiq_plugin.mcp.failures import ServerRefused
from routeiq_plugin.mcp.model import Server
from routeiq_plugin.mcp.offers import Asked
from routeiq_plugin.mcp.tools import Target, ToolCall, Tools

Json = dict[str, Any]
COMPLETE: Final = "complete"
INTRODUCTIONS: Final = frozenset({"initialize", "server/discover"})


class Rule(Protocol):
    """Hears the answer to one request."""

    async def answered(self, message: Json) -> Json | None:
        """Return the message to pass on in place of this one; None where it stays as it is, to the byte."""
        ...

    async def aclose(self, error: BaseException | None) -> None:
        """Hear that the exchange is over, and how."""
        ...


class Untouched:
    """The answer is between client and server."""

    async def answered(self, message: Json) -> Json | None:
        """Leave it."""
        return None

    async def aclose(self, error: BaseException | None) -> None:
        """Hear that it is over."""


class Cancelling:
    """Tells a server to stop that did not answer in time, besides what a rule does then."""

    def __init__(self, rule: Rule, cancel: Callable[[], None]) -> None:
        self._rule = rule
        self._cancel = cancel

    async def answered(self, message: Json) -> Json | None:
        """Do what the rule does."""
        return await self._rule.answered(message)

    async def aclose(self, error: BaseException | None) -> None:
        """Do what the rule does, and cancel after a timeout."""
        try:
            await self._rule.aclose(error)
        finally:
            if isinstance(error, BackendTimeout):
                self._cancel()


class ListedTools(Untouched):
    """Leaves out tools that the caller may not use, or that changed since they were approved."""

    def __init__(self, tools: Tools, asked: Asked, server: Server) -> None:
        self._tools = tools
        self._asked = asked
        self._server = server

    async def answered(self, message: Json) -> Json | None:
        """Filter a page of tools."""
        result = message.get("result")
        listed = result.get("tools") if isinstance(result, Mapping) else None
        if not isinstance(listed, list):
            return None
        kept = await self._tools.usable(self._asked, self._server, listed)
        return None if len(kept) == len(listed) else {**message, "result": {**message["result"], "tools": kept}}


class Instructed(Untouched):
    """Puts the operator's instructions in the place of the server's own, as LiteLLM does."""

    def __init__(self, instructions: str) -> None:
        self._instructions = instructions

    async def answered(self, message: Json) -> Json | None:
        """Change what a server says of itself."""
        result = message.get("result")
        if not isinstance(result, Mapping):
            return None
        return {**message, "result": {**result, "instructions": self._instructions}}


class GovernedCall:
    """One call of a tool: `begin` runs what comes before it, `answered` what comes after."""

    def __init__(self, tools: Tools, target: Target, hosted: HostedToolCall, stack: AsyncExitStack) -> None:
        self.arguments: Json = {}
        self.headers: Mapping[str, str] = {}
        self._tools = tools
        self._target = target
        self._hosted = hosted
        self._stack = stack
        self._began = time.monotonic()
        self._outcome = "error"
        self._judging: asyncio.Future[Any] | None = None

    @classmethod
    async def begin(cls, tools: Tools, asked: Asked, request: Request, target: Target, call: ToolCall) -> GovernedCall:
        """Check permissions, limits and guardrails, and wait for a slot; raises what LiteLLM, or we, refuse with."""
        began = time.monotonic()
        try:
            return await cls._begun(tools, asked, request, target, call)
        except Exception as refused:
            outcome = "rejected" if isinstance(refused, Forbidden | InvalidRequest) else "error"
            tools.finished(target.server, outcome, time.monotonic() - began)
            raise

    @classmethod
    async def _begun(cls, tools: Tools, asked: Asked, request: Request, target: Target, call: ToolCall) -> GovernedCall:
        stack = AsyncExitStack()
        pool = tools.offers.sessions
        async with stack:
            subject = tools.subject(asked, request, call, target)
            begun = await HostedToolCall.begin(asked.caller, request, subject, call.arguments)
            hosted = await stack.enter_async_context(begun)
            await tools.require(asked, target)
            try:
                checked = await hosted.check(call.arguments)
            except Exception as refused:
                raise mcp_calls.told(refused) from refused
            await stack.enter_async_context(pool.slots.taken(target.server, pool.policy.seconds(target.server)))
            governed = cls(tools, target, hosted, stack.pop_all())
            governed.arguments, governed.headers = checked.arguments, checked.headers
            if hosted.moderates:
                governed._judging = asyncio.ensure_future(hosted.moderate(checked.arguments))
            return governed
        raise AssertionError("a stack that swallows nothing")

    async def answered(self, message: Json) -> Json | None:
        """Show the result to hooks; raises what a guardrail refuses with."""
        if "result" not in message:
            self._outcome = "refused"
            await self._hosted.fail(_refusal(message.get("error")))
            return None
        try:
            if self._judging is not None:
                await self._judging
            raw = message["result"]
            # What only asks for input (2026-07-28) has no content yet: hooks and events see an empty result.
            is_whole = not isinstance(raw, dict) or raw.get("resultType", COMPLETE) == COMPLETE
            result = _read(raw if is_whole else {"content": []})
            before = _dumped(result)
            shown = await self._hosted.answered(result)
        except Exception as refused:
            self._outcome = "rejected"
            await self._hosted.fail(refused)
            raise mcp_calls.told(refused) from refused
        self._outcome = "tool_error" if shown.is_error else "ok"
        after = _dumped(shown)
        return None if after == before or not is_whole else {**message, "result": after}

    async def aclose(self, error: BaseException | None) -> None:
        """End the call in LiteLLM's books, if it has not ended: as failed, or as left by its client."""
        if self._judging is not None:
            self._judging.cancel()
            await asyncio.gather(self._judging, return_exceptions=True)
        if isinstance(error, BackendTimeout):
            self._outcome = "timeout"
        ended = error or BackendError("the MCP server ended the stream without a result")
        await self._stack.__aexit__(type(ended), ended, ended.__traceback__)
        self._tools.finished(self._target.server, self._outcome, time.monotonic() - self._began)


def instructions_of(server: Server) -> str:
    """Return the operator's own instructions for a server's users, '' for none."""
    return str(server.fields.get("instructions") or "").strip()


@dataclass(frozen=True, slots=True)
class Ruling:
    """What applies to one message, and how it goes on to the server."""

    rule: Rule
    message: Json
    """As the client wrote it, unless a hook changed its arguments or its tool was named with the server's prefix."""
    is_changed: bool = False
    has_new_arguments: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)
    """What hooks add; names in lower case."""
    tool: Any = None
    """The SDK's `Tool`, for a call of one."""

    @property
    def input_schema(self) -> Mapping[str, Any]:
        """What the tool called wants; nothing where none is."""
        return {} if self.tool is None else self.tool.input_schema


async def rule_on(tools: Tools, asked: Asked, request: Request, server: Server, message: Json) -> Ruling:
    """Find what applies to a client's message, and begin a call where it is one; raises what refuses it."""
    method = message.get("method")
    if method == "tools/list":
        return Ruling(ListedTools(tools, asked, server), message)
    if method in INTRODUCTIONS and (instructions := instructions_of(server)):
        return Ruling(Instructed(instructions), message)
    if method != "tools/call":
        return Ruling(Untouched(), message)
    params = message.get("params")
    call = ToolCall.read(params)
    target = await tools.on_server(asked, server, call.name)
    governed = await GovernedCall.begin(tools, asked, request, target, call)
    headers = {name.lower(): value for name, value in governed.headers.items()}
    is_new = governed.arguments != call.arguments
    if not is_new and target.tool.name == call.name:
        return Ruling(governed, message, headers=headers, tool=target.tool)
    changed = {**message, "params": {**call.body, "name": target.tool.name, "arguments": governed.arguments}}
    return Ruling(governed, changed, True, is_new, headers, target.tool)


def _refusal(error: Any) -> ServerRefused:
    """Read a server's error, which may be anything: it is the client's to make sense of."""
    told = error if isinstance(error, Mapping) else {"message": error}
    code = told.get("code")
    return ServerRefused(code if isinstance(code, int) else 0, str(told.get("message") or ""))


def _read(result: Any) -> Any:
    """Read a result of a call as the SDK's `CallToolResult`; raises `BackendError`."""
    from mcp_types import CallToolResult

    try:
        return CallToolResult.model_validate(result)
    except ValidationError:
        raise BackendError("the MCP server's result is not what the protocol says it must be") from None


def _dumped(result: Any) -> Json:
    dumped: Json = result.model_dump(by_alias=True, mode="json", exclude_none=True)
    return dumped
