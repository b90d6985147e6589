"""A real MCP server that talks back, as a process: `python -m tests.mcp.talkative_server PORT`."""

from __future__ import annotations

import sys
from typing import Any

import uvicorn
from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from mcp_types import ImageContent, SamplingMessage, TextContent
from pydantic import BaseModel

IMAGE = "iVBORw0KGgo="


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


def main() -> None:
    """Listen until killed."""
    config = uvicorn.Config(build().streamable_http_app(), host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")
    uvicorn.Server(config).run()


if __name__ == "__main__":
    main()
