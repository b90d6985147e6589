"""The reference server as an ASGI application: both generations at `/mcp`, sessions that can be resumed."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any, Final

from mcp.server import InitializationOptions, NotificationOptions, Server
from mcp.server.caching import CacheableMethod, CacheHint
from mcp.server.request_state import RequestStateBoundary, RequestStateSecurity
from mcp.server.streamable_http import EventCallback, EventId, EventMessage, EventStore, StreamId
from mcp.shared.exceptions import MCPError
from mcp_types import (
    INVALID_PARAMS,
    CallToolRequestParams,
    CallToolResult,
    CompleteRequestParams,
    CompleteResult,
    Completion,
    EmptyResult,
    GetPromptRequestParams,
    GetPromptResult,
    InputRequiredResult,
    JSONRPCMessage,
    ListPromptsResult,
    ListResourcesResult,
    ListResourceTemplatesResult,
    ListToolsResult,
    PaginatedRequestParams,
    ReadResourceRequestParams,
    ReadResourceResult,
    SetLevelRequestParams,
    Tool,
)
from starlette.applications import Starlette

from tests.mcp.conformance.reference import contents, rounds, talking
from tests.mcp.conformance.reference.changes import Changes
from tests.mcp.conformance.reference.parts import Context, Tools, answered, answered_in_words
from tests.mcp.conformance.reference.schemas import NOTHING, TAKES

NAME: Final = "conformance_reference"
RETRY_MS: Final = 100
_HINT: Final = CacheHint(ttl_ms=1000, scope="private")
_FRESH: Final[Mapping[CacheableMethod, CacheHint]] = {
    "tools/list": _HINT,
    "prompts/list": _HINT,
    "resources/list": _HINT,
    "resources/templates/list": _HINT,
    "resources/read": _HINT,
}


class Events(EventStore):
    """Remembers what was sent, so that a client may come back for it."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._events: dict[EventId, tuple[StreamId, JSONRPCMessage | None]] = {}

    async def store_event(self, stream_id: StreamId, message: JSONRPCMessage | None) -> EventId:
        """Number an event."""
        event_id = str(next(self._numbers))
        self._events[event_id] = (stream_id, message)
        return event_id

    async def replay_events_after(self, last_event_id: EventId, send_callback: EventCallback) -> StreamId | None:
        """Send what came later on the same stream."""
        if last_event_id not in self._events:
            return None
        stream, _ = self._events[last_event_id]
        for event_id, (of_stream, message) in list(self._events.items()):
            if of_stream == stream and int(event_id) > int(last_event_id) and message is not None:
                await send_callback(EventMessage(message, event_id))
        return stream


class Reference(Server[Any]):
    """Says that its lists may change."""

    def create_initialization_options(
        self, notification_options: NotificationOptions | None = None, *args: Any, **kwargs: Any
    ) -> InitializationOptions:
        """Declare list_changed for everything."""
        return super().create_initialization_options(NotificationOptions(True, True, True), *args, **kwargs)


def build() -> Starlette:
    """Build the application."""
    changes = Changes()
    tools: Tools = {**contents.TOOLS, **talking.TOOLS, **rounds.TOOLS, **changes.tools}
    offered = [Tool(name=each, description=each, input_schema=TAKES.get(each, NOTHING)) for each in tools]

    async def list_tools(context: Context, params: PaginatedRequestParams | None) -> ListToolsResult:
        return ListToolsResult(tools=offered)

    async def call_tool(context: Context, params: CallToolRequestParams) -> CallToolResult | InputRequiredResult:
        if params.name not in tools:
            raise MCPError(code=INVALID_PARAMS, message=f"no tool is named {params.name!r}")
        return await answered_in_words(context, params, tools[params.name])

    server = Reference(
        NAME,
        version="1",
        cache_hints=_FRESH,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
        on_list_resources=_resources,
        on_list_resource_templates=_templates,
        on_read_resource=_read,
        on_subscribe_resource=changes.subscribe,
        on_unsubscribe_resource=changes.unsubscribe,
        on_subscriptions_listen=changes.listen,
        on_list_prompts=_prompts,
        on_get_prompt=_prompt,
        on_completion=_complete,
        on_set_logging_level=_set_level,
    )
    server.middleware.append(RequestStateBoundary(RequestStateSecurity.ephemeral(), default_audience=NAME))
    return server.streamable_http_app(event_store=Events(), retry_interval=RETRY_MS)


async def _resources(context: Context, params: PaginatedRequestParams | None) -> ListResourcesResult:
    return ListResourcesResult(resources=list(contents.RESOURCES))


async def _templates(context: Context, params: PaginatedRequestParams | None) -> ListResourceTemplatesResult:
    return ListResourceTemplatesResult(resource_templates=[contents.TEMPLATE])


async def _read(context: Context, params: ReadResourceRequestParams) -> ReadResourceResult:
    return contents.read(str(params.uri))


async def _prompts(context: Context, params: PaginatedRequestParams | None) -> ListPromptsResult:
    return ListPromptsResult(prompts=list(contents.PROMPTS))


async def _prompt(context: Context, params: GetPromptRequestParams) -> GetPromptResult | InputRequiredResult:
    if params.name == "test_input_required_result_prompt":
        prompted: GetPromptResult | InputRequiredResult = await answered(context, params, rounds.prompt)
        return prompted
    return contents.prompt(params.name, params.arguments or {})


async def _complete(context: Context, params: CompleteRequestParams) -> CompleteResult:
    known = [each for each in ("paris", "park", "party") if each.startswith(params.argument.value)]
    return CompleteResult(completion=Completion(values=known, total=len(known), has_more=False))


async def _set_level(context: Context, params: SetLevelRequestParams) -> EmptyResult:
    return EmptyResult()
