"""A real MCP server as a process: `python -m tests.mcp.echo_server '{"port": 1, "transport": "http"}'`."""

from __future__ import annotations

import json
import sys
from typing import Any

import uvicorn
from mcp.server import MCPServer
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send


def build(name: str) -> MCPServer[Any]:
    """Build a server with two tools and a resource."""
    server: MCPServer[Any] = MCPServer(name, log_level="WARNING")

    @server.tool()
    def echo(text: str) -> str:
        """Say it again."""
        return f"echo: {text}"

    @server.tool()
    def add(a: int, b: int) -> int:
        """Add two numbers."""
        return a + b

    return server


class Watching:
    """Writes down what requests carried, refuses those without the headers that it wants, and may fail on demand."""

    def __init__(self, app: Starlette, require: dict[str, str], status: int | None) -> None:
        self.app = app
        self._require = require
        self._status = status
        self._seen: list[dict[str, Any]] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        if scope["path"] == "/_seen":
            await JSONResponse(self._seen)(scope, receive, send)
            return
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        self._seen.append({"method": scope["method"], "path": scope["path"], "headers": headers})
        if self._status is not None or any(headers.get(key) != value for key, value in self._require.items()):
            await JSONResponse({"error": "no"}, self._status or 401)(scope, receive, send)
            return
        await self.app(scope, receive, send)


def main() -> None:
    """Listen until killed; the first line on standard output says where."""
    options = json.loads(sys.argv[1])
    server = build(options["name"])
    if options["transport"] == "stdio":
        server.run(transport="stdio")
        return
    app = server.sse_app() if options["transport"] == "sse" else server.streamable_http_app()
    watching = Watching(app, options.get("require") or {}, options.get("status"))
    config = uvicorn.Config(watching, host="127.0.0.1", port=options["port"], log_level="warning")
    uvicorn.Server(config).run()


if __name__ == "__main__":
    main()
