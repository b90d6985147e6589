"""LiteLLM's own machinery around one call of an MCP tool: checks, limits, guardrails, cost, and one event at its end.

What `POST /mcp-rest/tools/call` does on stock, step by step, around a call that goes over our own session.
"""

from __future__ import annotations

import contextvars
import importlib
import inspect
import traceback
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache, partial
from typing import Any, Final, Self
from urllib.parse import urlsplit

from fastapi import HTTPException
from litellm.litellm_core_utils.logging_worker import GLOBAL_LOGGING_WORKER
from litellm.proxy._types import ProxyException
from litellm.proxy.common_request_processing import ProxyBaseLLMRequestProcessing
from starlette.requests import Request

from routeiq_plugin.errors import NotFound, RouteIQError, wire
from routeiq_plugin.host.auth import Caller
from routeiq_plugin.host.behind import do_behind
from routeiq_plugin.host.calls import capabilities
from routeiq_plugin.host.departures import CLIENT_LEFT
from routeiq_plugin.host.mcp_manager import manager
from routeiq_plugin.host.process import proxy_server

CALL_TYPE: Final = "call_mcp_tool"
ROUTE: Final = "/mcp/call_tool"
"""What LiteLLM calls the route in its failure hooks."""
DEFAULT_SECONDS: Final = 60.0

_CONTEXT: Final = "litellm.responses.mcp.request_context"
_EXCEPTIONS: Final = "litellm.proxy._experimental.mcp_server.exceptions"
_TRACEBACK_LINES: Final = 100
_OF_GUARDRAILS: Final = (
    "guardrails",
    "guardrail_config",
    "_guardrail_pipelines",
    "_pipeline_managed_guardrails",
    "applied_policies",
    "policy_sources",
    "tags",
)
"""What LiteLLM reads for guardrails, of a request or its metadata."""
_NEVER_SHOWN: Final = (b"x-mcp-",)

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ToolSubject:
    """What is called, as LiteLLM logs it; `hidden_headers` (lower case) are the caller's secrets."""

    server_id: str
    tool: str
    """As the server calls it, without prefix."""
    definition: Any
    """The SDK's `Tool`; guardrails look at its description and schema."""
    hidden_headers: frozenset[str] = frozenset()
    body: Mapping[str, Any] = field(default_factory=dict)
    """The request as its caller wrote it."""


@dataclass(frozen=True, slots=True)
class Checked:
    """What LiteLLM's hooks let out."""

    arguments: Json
    headers: Mapping[str, str]
    """Headers that a guardrail adds to this one call."""


class ToolFailed(Exception):
    """How a call failed, as LiteLLM's events show it."""

    def __init__(self, message: str, status_code: int) -> None:
        super().__init__(message)
        self.message = message
        self.status_code = status_code


class HostedToolCall:
    """A call that LiteLLM let through; `begin` makes one, and exactly one of `answered` and the failures ends it."""

    def __init__(
        self, caller: Caller, subject: ToolSubject, server: Any, data: Json, logging: Any, *, request: Request
    ) -> None:
        self._request = request
        self._identity = caller.identity
        self._subject = subject
        self._server = server
        self._data = data
        self._logging = logging
        self._began = datetime.now()  # naive, as LiteLLM's own times, from which it is subtracted
        self._open = True
        self._guardrails = _guardrail_context(data)

    @classmethod
    async def begin(cls, caller: Caller, request: Request, subject: ToolSubject, arguments: Json) -> Self:
        """Run LiteLLM's checks of the request: limits, budgets, and what hooks do before a call.

        Raises LiteLLM's own refusal (`HTTPException`, `ProxyException`), whose failure event is sent by then.
        """
        module = proxy_server()
        server = _server(subject.server_id)
        data = _data(subject, arguments)
        processor = ProxyBaseLLMRequestProcessing(data=data)
        began = datetime.now()
        try:
            data, logging = await processor.common_processing_pre_call_logic(
                request=_loggable(request, subject),
                general_settings=module.general_settings,
                user_api_key_dict=caller.identity,
                proxy_logging_obj=module.proxy_logging_obj,
                proxy_config=module.proxy_config,
                route_type=CALL_TYPE,
                # Guardrails look at the tool call itself, a step later.
                **_accepted(processor.common_processing_pre_call_logic, skip_guardrails=True),
            )
        except Exception as refused:
            await _fail(processor.data.get("litellm_logging_obj"), refused, began, caller.identity, processor.data)
            raise told(refused) from refused
        call = cls(caller, subject, server, data, logging, request=request)
        call._describe(arguments)
        return call

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """End the call with what stopped it; leaves the error to the caller."""
        if isinstance(error, Exception):
            await self.fail(error)
        elif error is not None:
            self.abandon()

    async def check(self, arguments: Json) -> Checked:
        """Run what LiteLLM does before a tool call: permissions, parameters, guardrails, the server's own limit.

        Raises LiteLLM's own refusal.
        """
        check = manager().pre_call_tool_check
        found = await check(
            name=self._subject.tool,
            arguments=arguments,
            server_name=self._server.name,
            user_api_key_auth=self._identity,
            proxy_logging_obj=proxy_server().proxy_logging_obj,
            server=self._server,
            raw_headers=_shown_headers(self._data),
            litellm_logging_obj=self._logging,
            guardrail_context=self._guardrails,
            **_accepted(check, tool=self._subject.definition),
        )
        return Checked(found.get("arguments", arguments), found.get("extra_headers") or {})

    @property
    def moderates(self) -> bool:
        """Tell whether any callback may judge the request while the server works."""
        found = capabilities()
        return bool(found.has_guardrail or found.has_moderation_override)

    def moderate(self, arguments: Json) -> Coroutine[Any, Any, Any]:
        """Return the hooks that judge the request while the server works; they raise when one refuses."""
        hooks = proxy_server().proxy_logging_obj
        types = importlib.import_module("litellm.types.mcp")
        base = importlib.import_module("litellm.types.llms.base")
        asked = types.MCPDuringCallRequestObject(
            tool_name=self._subject.tool,
            arguments=arguments,
            server_name=self._server.name,
            start_time=self._began.timestamp(),
            hidden_params=base.HiddenParams(),
        )
        told = {
            "guardrail_context": self._guardrails,
            "name": self._subject.tool,
            "arguments": arguments,
            "server_name": self._server.name,
            "user_api_key_auth": self._identity,
        }
        convert = getattr(hooks, "convert_mcp_to_llm_format", None) or hooks._convert_mcp_to_llm_format
        data = convert(asked, told)
        data["litellm_logging_obj"] = self._logging
        work: Coroutine[Any, Any, Any] = hooks.during_call_hook(
            user_api_key_dict=self._identity, data=data, call_type=CALL_TYPE
        )
        return work

    async def answered(self, result: Any) -> Any:
        """Show a `CallToolResult` to guardrails and hooks and return it as they leave it; its event follows.

        A tool's own error counts as a failure. Raises what a guardrail refuses with.
        """
        hooks = proxy_server().proxy_logging_obj
        details = self._logging.model_call_details
        result = await hooks.post_mcp_call_hook(response=result, request_data=details, user_api_key_dict=self._identity)
        ended = datetime.now()
        self._logging.post_call(original_response=result)
        changed = await self._logging.async_post_mcp_tool_call_hook(
            kwargs=details, response_obj=result, start_time=self._began, end_time=ended
        )
        result = result if changed is None else changed
        self._logging.call_type = CALL_TYPE
        self._open = False
        if result.is_error:
            await self._tool_error(_error_text(result), ended)
        else:
            succeed = partial(contextvars.copy_context().run, self._succeed, result, ended)
            do_behind(self._request, succeed)
        return result

    async def fail(self, error: Exception) -> None:
        """Send the failure event and run the failure hooks, once."""
        if self._ends():
            await _fail(self._logging, _shown(error), self._began, self._identity, self._data)

    def abandon(self) -> None:
        """End a call whose caller left, in LiteLLM's own queue: nothing may be awaited any more."""
        if self._ends():
            left = ToolFailed("the client left before the tool had answered", CLIENT_LEFT)
            self._enqueue(_fail(self._logging, left, self._began, self._identity, self._data))

    async def delegate(self, arguments: Json, incoming: Mapping[str, str]) -> Any:
        """Let LiteLLM call the tool over a connection of its own, its hooks before and during the call included."""
        return await manager().call_tool(
            server_name=self._server.name,
            name=self._subject.tool,
            arguments=arguments,
            user_api_key_auth=self._identity,
            proxy_logging_obj=proxy_server().proxy_logging_obj,
            raw_headers=dict(incoming),
            litellm_logging_obj=self._logging,
            guardrail_context=self._guardrails,
        )

    async def _tool_error(self, message: str, ended: datetime) -> None:
        failure = importlib.import_module(_EXCEPTIONS).MCPToolResultError(message)
        mark = getattr(self._logging, "mark_logging_complete", None) or self._logging.has_run_logging
        for kind in ("sync_success", "async_success"):
            mark(event_type=kind)
        self._logging.failure_handler(failure, "", self._began, ended)
        await self._logging.async_failure_handler(failure, "", self._began, ended)
        await proxy_server().proxy_logging_obj.post_call_failure_hook(
            request_data=self._data, original_exception=failure, user_api_key_dict=self._identity, route=ROUTE
        )

    def _succeed(self, result: Any, ended: datetime) -> None:
        self._enqueue(self._logging.async_success_handler(result=result, start_time=self._began, end_time=ended))

    def _describe(self, arguments: Json) -> None:
        server, details = self._server, self._logging.model_call_details
        info = server.mcp_info or {}
        details["mcp_tool_call_metadata"] = {
            "name": self._subject.tool,
            "arguments": arguments,
            "mcp_server_name": info.get("server_name"),
            "mcp_server_logo_url": info.get("logo_url"),
            "namespaced_tool_name": f"{server.name}/{self._subject.tool}",
            "mcp_session_id": None,
            "mcp_auth_mode": server.auth_type,
            "mcp_server_resource": _origin(server.url),
            "mcp_server_cost_info": info.get("mcp_server_cost_info"),
        }
        self._logging.model = details["model"] = f"MCP: {self._subject.tool}"

    def _ends(self) -> bool:
        was_open, self._open = self._open, False
        return was_open

    def _enqueue(self, work: Any) -> None:
        contextvars.copy_context().run(GLOBAL_LOGGING_WORKER.ensure_initialized_and_enqueue, work)


async def listed(server_id: str, caller: Caller, incoming: Mapping[str, str]) -> list[Any]:
    """List the tools of a server that LiteLLM connects to, as the SDK's types, without prefix."""
    known = manager()
    look = getattr(known, "get_tools_from_server", None) or known._get_tools_from_server
    found: list[Any] = await look(
        _server(server_id), add_prefix=False, raw_headers=dict(incoming), user_api_key_auth=caller.identity
    )
    return found


def _server(server_id: str) -> Any:
    found = manager().get_mcp_server_by_id(server_id)
    if found is None:
        raise NotFound({"error": "server_not_found", "message": f"MCP server '{server_id}' is not active"})
    return found


def _data(subject: ToolSubject, arguments: Json) -> Json:
    """Lay the request out as LiteLLM's own handler does."""
    model = f"MCP: {subject.tool}"
    given = subject.body.get("metadata")
    return {
        **subject.body,
        "server_id": subject.server_id,
        "name": subject.tool,
        "arguments": arguments,
        "model": model,
        "metadata": {**(given if isinstance(given, Mapping) else {}), "model_group": model},
    }


def _loggable(request: Request, subject: ToolSubject) -> Request:
    """Show LiteLLM the request without query string and without secret headers."""
    scope = dict(request.scope)
    scope["query_string"] = b""
    scope["headers"] = [
        (name, value)
        for name, value in scope["headers"]
        if name.decode("latin-1").lower() not in subject.hidden_headers and not name.lower().startswith(_NEVER_SHOWN)
    ]
    return Request(scope, request.receive)


def _shown_headers(data: Json) -> dict[str, str]:
    asked = data.get("proxy_server_request") or {}
    return {str(name): str(value) for name, value in (asked.get("headers") or {}).items()}


def _guardrail_context(data: Json) -> Mapping[str, Any]:
    """Return what guardrails read of the request; LiteLLM's own reading takes milliseconds, also for a plain one."""
    metadata = data.get("metadata") or {}
    holders = (data, metadata, data.get("litellm_metadata") or {})
    if any(holder.get(name) for holder in holders for name in _OF_GUARDRAILS):
        context = importlib.import_module(_CONTEXT).MCPRequestContext
        resolved: Mapping[str, Any] = context.resolve_guardrail_context(data)
        return resolved
    return {"model": data["model"], "metadata": {"guardrails": (), "guardrail_config": {}}}


def _accepted(function: Any, **arguments: Any) -> Mapping[str, Any]:
    """Leave out arguments that LiteLLM's oldest supported version does not know."""
    known = _parameters(getattr(function, "__func__", function))
    return {name: value for name, value in arguments.items() if name in known}


@cache
def _parameters(function: Any) -> frozenset[str]:
    return frozenset(inspect.signature(function).parameters)


async def _fail(logging: Any, error: Exception, began: datetime, identity: Any, data: Json) -> None:
    told = "".join(traceback.format_exception(error, limit=_TRACEBACK_LINES))
    if logging is not None:
        ended = datetime.now()
        logging.failure_handler(error, told, began, ended)
        await logging.async_failure_handler(error, told, began, ended)
    await proxy_server().proxy_logging_obj.post_call_failure_hook(
        request_data=data, original_exception=error, user_api_key_dict=identity, route=ROUTE, traceback_str=told
    )


def _shown(error: Exception) -> Exception:
    """What events show of an error of ours; LiteLLM reads a status off it."""
    return ToolFailed(str(error.detail), wire(error).status) if isinstance(error, RouteIQError) else error


def told(refused: Exception) -> Exception:
    """Say how a refusal is answered: LiteLLM's own exceptions as they are, guardrails' in the words of stock."""
    if isinstance(refused, HTTPException | ProxyException | RouteIQError):
        return refused
    kind = {"BlockedPiiEntityError": "blocked_pii_entity", "GuardrailRaisedException": "guardrail_violation"}.get(
        type(refused).__name__
    )
    if kind is None and type(refused).__name__ != "ModifyResponseException":
        return refused
    detail = {
        "error": kind or "guardrail_violation",
        "message": str(refused),
        "guardrail_name": getattr(refused, "guardrail_name", None),
    }
    if kind == "blocked_pii_entity":
        detail["entity_type"] = getattr(refused, "entity_type", None)
    return HTTPException(400, detail)


def _error_text(result: Any) -> str:
    texts = (getattr(part, "text", None) for part in result.content)
    return next((text for text in texts if isinstance(text, str) and text), "MCP tool call returned isError=true")


def _origin(url: str | None) -> str | None:
    """Cut an address down to its origin: hosted servers have credentials in their paths."""
    try:
        parts = urlsplit(url or "")
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return None
    return f"{parts.scheme}://{parts.hostname}{port}" if parts.hostname else None
