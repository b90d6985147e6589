"""A real MCP server that talks back, as a process: `python -m tests.mcp.talkative_server PORT [GENERATION]`."""

from __future__ import annotations

import asyncio
import sys
from collections import defaultdict
from typing import Any

import uvicorn
from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from mcp.shared.message import ServerMessageMetadata
from mcp_types import (
    Annotations,
    AudioContent,
    CallToolResult,
    EmbeddedResource,
    EmptyResult,
    ImageContent,
    NotificationParams,
    PingRequest,
    ResourceLink,
    SamplingMessage,
    TextContent,
    TextResourceContents,
)
from pydantic import BaseModel
from starlette.types import ASGIApp

from tests.mcp.conformance.reference.generations import Only

IMAGE = "iVBORw0KGgo="
AUDIO = "UklGRiQAAABXQVZFZm10IBAAAAABAAEAQB8AAEAfAAABAAgAZGF0YQAAAAA="


class Answer(BaseModel):
    """What a user is asked for."""

    word: str


def build() -> MCPServer[Any]:
    """Build a server that shows pictures, reports, samples and asks."""
    server: MCPServer[Any] = MCPServer("talkative", instructions="Talk.", log_level="WARNING")

    @server.tool()
    def picture() -> list[ImageContent | TextContent]:
        """Answer with mixed content."""
        return [TextContent(type="text", text="look"), ImageContent(type="image", data=IMAGE, mime_type="image/png")]

    @server.tool()
    async def steps(ctx: Context[Any, Any]) -> str:
        """Report progress twice."""
        await ctx.report_progress(1, 2, "half")
        await ctx.report_progress(2, 2, "whole")
        return "done"

    @server.tool()
    async def ask_model(prompt: str, ctx: Context[Any, Any]) -> str:
        """Let the client's model answer."""
        said = await ctx.session.create_message(
            messages=[SamplingMessage(role="user", content=TextContent(type="text", text=prompt))], max_tokens=10
        )
        return f"model: {getattr(said.content, 'text', '')}"

    @server.tool()
    async def ask_user(question: str, ctx: Context[Any, Any]) -> str:
        """Let the client's user answer."""
        said = await ctx.elicit(question, Answer)
        return f"user: {said.action} {said.data.word if said.action == 'accept' else ''}"

    @server.tool()
    async def ping_client(ctx: Context[Any, Any]) -> str:
        """Ask the client whether it is there."""
        related = ServerMessageMetadata(related_request_id=ctx.request_id)
        await ctx.session.send_request(PingRequest(), EmptyResult, metadata=related)
        return "there"

    @server.tool()
    async def log(ctx: Context[Any, Any]) -> str:
        """Log loudly and quietly."""
        await ctx.session.send_log_message("info", "loud", related_request_id=ctx.request_id)
        await ctx.session.send_log_message("debug", "quiet", related_request_id=ctx.request_id)
        return "logged"

    _add_signals(server)

    @server.tool(structured_output=False)
    def everything() -> CallToolResult:
        """Answer with every kind of content, and with what only programs read."""
        return _everything()

    @server.tool()
    def fails() -> str:
        """Fail."""
        raise RuntimeError("on purpose")

    @server.resource("memo://{name}")
    def memo(name: str) -> str:
        """Return a memo."""
        return f"memo {name}"

    @server.prompt()
    def greet(who: str) -> str:
        """Greet."""
        return f"Greet {who}"

    return server


def _add_signals(server: MCPServer[Any]) -> None:
    """Add tools that tell, when it has happened, what reached the server besides calls."""
    signals: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)

    @server.tool()
    async def until(signal: str) -> str:
        """Wait for a signal."""
        await signals[signal].wait()
        return signal

    @server.tool()
    async def ask_and_work(name: str, ctx: Context[Any, Any]) -> str:
        """Let the client's user answer, and work until that is cancelled."""
        await ctx.elicit(name, Answer)
        signals[f"{name} begun"].set()
        try:
            await asyncio.Event().wait()
        finally:
            signals[f"{name} cancelled"].set()
        return "never"

    @server.tool()
    async def work(name: str, ctx: Context[Any, Any]) -> str:
        """Say that the work has begun, and work until it is cancelled."""
        await ctx.report_progress(0, 1, name)
        try:
            await asyncio.Event().wait()
        finally:
            signals[f"{name} cancelled"].set()
        return "never"

    @server.tool()
    async def ask_until(signal: str, ctx: Context[Any, Any]) -> str:
        """Ask the user, and withdraw the question at a signal."""
        asking = asyncio.create_task(ctx.elicit("Well?", Answer))
        await signals[signal].wait()
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        return "withdrawn"

    @server.tool()
    def give(signal: str) -> str:
        """Give a signal."""
        signals[signal].set()
        return signal

    async def roots_changed(context: Any, params: NotificationParams) -> None:
        signals["roots changed"].set()

    server._lowlevel_server.add_notification_handler(
        "notifications/roots/list_changed", NotificationParams, roots_changed
    )


def _everything() -> CallToolResult:
    embedded = TextResourceContents(uri="memo://a", mime_type="text/plain", text="ä\u2028 \U0001f600", _meta={"x/y": 1})
    return CallToolResult(
        content=[
            TextContent(type="text", text="look", annotations=Annotations(audience=["user"], priority=0.5)),
            ImageContent(type="image", data=IMAGE, mime_type="image/png", _meta={"x/of": "the image"}),
            AudioContent(type="audio", data=AUDIO, mime_type="audio/wav"),
            EmbeddedResource(type="resource", resource=embedded),
            ResourceLink(type="resource_link", uri="memo://b", name="b", size=7),
        ],
        structured_content={"whole": 2**53 + 1, "part": 0.1, "none": None, "deep": [{"a": [1.0, True, ""]}]},
        _meta={"x/trace": {"id": "7", "none": None}},
    )


def main() -> None:
    """Listen until killed."""
    app: ASGIApp = build().streamable_http_app()
    if len(sys.argv) > 2:
        app = Only(app, sys.argv[2])
    config = uvicorn.Config(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")
    uvicorn.Server(config).run()


if __name__ == "__main__":
    main()
