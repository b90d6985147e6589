"""Who is told of what changes: subscribers of a resource by session, and the listeners of 2026-07-28."""

from __future__ import annotations

import weakref
from collections.abc import MutableMapping
from typing import Any

from mcp.server.subscriptions import (
    InMemorySubscriptionBus,
    ListenHandler,
    PromptsListChanged,
    ResourceUpdated,
    ToolsListChanged,
)
from mcp_types import (
    CallToolRequestParams,
    CallToolResult,
    EmptyResult,
    SubscribeRequestParams,
    UnsubscribeRequestParams,
)

from tests.mcp.conformance.reference.contents import WATCHED
from tests.mcp.conformance.reference.parts import STATELESS, Context, Tools, said


class Changes:
    """Keeps the subscriptions of one server."""

    def __init__(self) -> None:
        self._bus = InMemorySubscriptionBus()
        self._watchers: MutableMapping[Any, set[str]] = weakref.WeakKeyDictionary()
        self.listen = ListenHandler(self._bus)
        self.tools: Tools = {
            "test_trigger_tool_change": self._tools,
            "test_trigger_prompt_change": self._prompts,
            "test_trigger_resource_update": self._resource,
        }

    async def subscribe(self, context: Context, params: SubscribeRequestParams) -> EmptyResult:
        """Tell this session of changes."""
        self._watchers.setdefault(_connection(context), set()).add(str(params.uri))
        return EmptyResult()

    async def unsubscribe(self, context: Context, params: UnsubscribeRequestParams) -> EmptyResult:
        """Tell it no more."""
        self._watchers.get(_connection(context), set()).discard(str(params.uri))
        return EmptyResult()

    async def _tools(self, context: Context, params: CallToolRequestParams) -> CallToolResult:
        await self._bus.publish(ToolsListChanged())
        if context.protocol_version < STATELESS:
            await context.session.send_tool_list_changed()
        return said("The list of tools is said to have changed.")

    async def _prompts(self, context: Context, params: CallToolRequestParams) -> CallToolResult:
        await self._bus.publish(PromptsListChanged())
        if context.protocol_version < STATELESS:
            await context.session.send_prompt_list_changed()
        return said("The list of prompts is said to have changed.")

    async def _resource(self, context: Context, params: CallToolRequestParams) -> CallToolResult:
        await self._bus.publish(ResourceUpdated(uri=WATCHED))
        watching = [each for each, uris in self._watchers.items() if WATCHED in uris]
        for connection in watching:
            await connection.send_resource_updated(WATCHED)
        return said(f"{len(watching)} sessions were told.")


def _connection(context: Context) -> Any:
    """The session itself: what the SDK hands to handlers lives as long as one request."""
    return context.session._connection
