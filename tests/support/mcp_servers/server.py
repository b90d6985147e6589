"""An MCP server of the official SDK, as a process of its own; what its tools do is what tests ask of them.

GET  /_seen                               every request so far: method, path, headers, body
GET  /_calls?cancelled=n&timeout=s        executions per tool, and how many were cancelled once there are n
POST /_release {"gate": name}             let one call that waits at that gate go
POST /_misbehave {"with": kind}           from now on answer POSTs with nonsense; null for the truth again
POST /_redefine {"description": text}     change what `echo` says of itself, and tell the clients
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections import Counter, defaultdict
from collections.abc import Mapping, MutableMapping
from typing import Any, Final
from urllib.parse import parse_qs

from mcp.server.mcpserver import Context, MCPServer
from mcp.server.subscriptions import InMemorySubscriptionBus, ToolsListChanged
from pydantic import BaseModel, Field
from starlette.applications import Starlette

from tests.support.agents.controls import App, Receive, Send, answer, listen, read, serve
from tests.support.mcp_servers.options import Options, Speaks

HUGE: Final = 24 * 1024 * 1024
PAGE: Final = 100


class Confirmation(BaseModel):
    """What `ask` wants to know."""

    sure: bool


class State:
    """What the control routes show and steer."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.seen: list[dict[str, Any]] = []
        self.calls: Counter[str] = Counter()
        self.cancelled = 0
        self.misbehaves: str | None = None
        self.description = "Says it again."
        self.bus = InMemorySubscriptionBus()
        self.sessions: list[Any] = []
        self.gates: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self.changed = asyncio.Condition()


def build(options: Options, state: State) -> MCPServer:
    """Build the server."""

    async def watch(ctx: Any, call_next: Any) -> Any:
        if ctx.session not in state.sessions:
            state.sessions.append(ctx.session)
        result = await call_next(ctx)
        return _page(result, ctx.params) if ctx.method == "tools/list" else result

    server = MCPServer(options.name, log_level="CRITICAL", subscriptions=state.bus, middleware=[watch])

    @server.tool(description="Adds two numbers.")
    def add(a: int, b: int) -> int:
        state.calls["add"] += 1
        return a + b

    def echo(text: str) -> str:
        state.calls["echo"] += 1
        return text

    server.add_tool(echo, name="echo", description=state.description)

    @server.tool()
    def boom() -> str:
        """Fails."""
        state.calls["boom"] += 1
        raise ValueError("the tool went boom")

    @server.tool()
    async def wait(gate: str) -> str:
        """Waits until the test lets it go."""
        state.calls["wait"] += 1
        try:
            await state.gates[gate].wait()
        except asyncio.CancelledError:
            async with state.changed:
                state.cancelled += 1
                state.changed.notify_all()
            raise
        return gate

    @server.tool()
    async def ask(ctx: Context, gate: str | None = None) -> str:
        """Asks the user, and may then wait until the test lets it go."""
        state.calls["ask"] += 1
        answer = await ctx.elicit("Are you sure?", Confirmation)
        if gate is not None:
            await wait(gate)
        return str(answer)

    @server.tool()
    def huge() -> str:
        """Says more than anyone wants to hear."""
        return "x" * HUGE

    @server.tool()
    def environment() -> dict[str, str]:
        """Tells what the process sees."""
        return dict(os.environ)

    @server.tool()
    def complain(text: str) -> int:
        """Writes to standard error."""
        print(text, file=sys.stderr, flush=True)
        return os.getpid()

    @server.tool()
    def picky(count: int = Field(ge=1, le=5), kind: str = Field(default="a", pattern="^(a+)+$")) -> str:
        """Takes few numbers."""
        state.calls["picky"] += 1
        return kind * count

    for number in range(options.many):
        server.add_tool(many, name=f"tool_{number + 1}", description="One of many.")

    @server.resource("note://" + options.name)
    def note() -> str:
        """A note."""
        return f"the note of {options.name}"

    @server.resource(options.name + "://{chapter}/{verse}")
    def verse(chapter: str, verse: str) -> str:
        """A verse."""
        return f"{options.name} {chapter}:{verse}"

    @server.prompt()
    def greet(who: str, tone: str = "kind") -> str:
        """Greets."""
        return f"Say something {tone} to {who}."

    return server


def _page(result: Any, params: Any) -> Any:
    """Cut a list into pages, which the SDK's own server does not do."""
    tools = result["tools"]
    begins = int((params or {}).get("cursor") or 0)
    ends = begins + PAGE
    following = {"nextCursor": str(ends)} if ends < len(tools) else {}
    return {**result, "tools": tools[begins:ends], **following}


def many() -> str:
    """One of many."""
    return "many"


class Controlled:
    """ASGI wrapper: control routes first, then what was asked of it, then the server."""

    def __init__(self, app: App, state: State, server: MCPServer) -> None:
        self._app = app
        self._state = state
        self._server = server

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if scope["path"].startswith("/_"):
            await answer(send, 200, await self._control(scope, await read(receive)))
            return
        body = await read(receive) if scope["method"] == "POST" else b""
        headers = {name.decode(): value.decode("latin-1") for name, value in scope["headers"]}
        text = body.decode(errors="replace")
        self._state.seen.append({"method": scope["method"], "path": scope["path"], "headers": headers, "body": text})
        if not await self._refused(scope, headers, body, send):
            await self._app(self._of_its_time(scope), _replay(body, receive) if body else receive, send)

    def _of_its_time(self, scope: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        """Hide a version that a server of 2025-11-25 has never heard of: it looks for a session instead."""
        if self._state.options.speaks is not Speaks.SESSIONS:
            return scope
        kept = [(name, value) for name, value in scope["headers"] if not _is_new(name, value)]
        return {**scope, "headers": kept}

    async def _refused(self, scope: Mapping[str, Any], headers: Mapping[str, str], body: bytes, send: Send) -> bool:
        missing = [name for name, value in self._state.options.require.items() if headers.get(name.lower()) != value]
        if missing:
            await answer(send, 401, {"error": f"wrong or missing: {', '.join(missing)}"})
            return True
        kind = self._state.misbehaves
        if kind is None or scope["method"] != "POST" or b'"tools/call"' not in body:
            return False
        await _MISBEHAVIOUR[kind](send)
        return True

    async def _control(self, scope: Mapping[str, Any], body: bytes) -> Any:
        state = self._state
        match scope["method"], scope["path"]:
            case "GET", "/_seen":
                return state.seen
            case "GET", "/_calls":
                query = parse_qs(scope["query_string"].decode())
                await self._until_cancelled(int(query["cancelled"][0]), float(query["timeout"][0]))
                return {"calls": state.calls, "cancelled": state.cancelled}
            case "POST", "/_release":
                state.gates[json.loads(body)["gate"]].set()
            case "POST", "/_misbehave":
                state.misbehaves = json.loads(body)["with"]
            case "POST", "/_redefine":
                await self._redefine(json.loads(body)["description"])
            case other:
                raise ValueError(f"no such control: {other}")
        return {}

    async def _until_cancelled(self, count: int, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds), self._state.changed:
                await self._state.changed.wait_for(lambda: self._state.cancelled >= count)
        except TimeoutError:
            return  # the counts that follow tell the test

    async def _redefine(self, description: str) -> None:
        manager = self._server._tool_manager
        known = manager.get_tool("echo")
        assert known is not None
        known.description = description
        await notify(self._state)


async def notify(state: State) -> None:
    """Tell every client, each in the way of its generation, that the tools have changed."""
    await state.bus.publish(ToolsListChanged())
    if state.options.speaks in (Speaks.SESSIONS, Speaks.SSE):
        for session in state.sessions:
            await session.send_tool_list_changed()


def _replay(body: bytes, receive: Receive) -> Receive:
    told = False

    async def channel() -> MutableMapping[str, Any]:
        nonlocal told
        if told:
            return await receive()
        told = True
        return {"type": "http.request", "body": body, "more_body": False}

    return channel


def _is_new(name: bytes, value: bytes) -> bool:
    return name == b"mcp-protocol-version" and value >= b"2026"


async def _raw(send: Send, status: int, kind: str, body: bytes, headers: Mapping[str, str] | None = None) -> None:
    fields = {"content-type": kind, **(headers or {})}
    raw = [(name.encode(), value.encode()) for name, value in fields.items()]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": body})


async def _hang(_send: Send) -> None:
    await asyncio.Event().wait()


SECRET: Final = "hunter2-in-the-answer"

_MISBEHAVIOUR: Final[Mapping[str, Any]] = {
    "malformed": lambda send: _raw(send, 200, "application/json", b'{"jsonrpc": "2.0", ' + SECRET.encode()),
    "page": lambda send: _raw(send, 200, "text/html", b"<html>" + SECRET.encode()),
    "nonsense": lambda send: _raw(
        send, 200, "application/json", b'{"jsonrpc":"2.0","id":999999,"result":{"content":7}}'
    ),
    "oversized": lambda send: _raw(send, 200, "application/json", b" " * HUGE),
    "redirect": lambda send: _raw(send, 307, "text/plain", b"", {"location": "http://127.0.0.1:1/elsewhere"}),
    "crash": lambda send: _raw(send, 500, "text/plain", SECRET.encode()),
    "unauthorized": lambda send: _raw(send, 401, "text/plain", SECRET.encode()),
    "hang": _hang,
}


def main(options: Options) -> None:
    """Serve until the parent ends us."""
    state = State(options)
    server = build(options, state)
    if options.speaks is Speaks.STDIO:
        asyncio.run(server.run_stdio_async())
        return
    if options.speaks is Speaks.SSE:
        app: Starlette = server.sse_app()
    else:
        app = server.streamable_http_app()
    listener, url = listen(options.port)
    serve(Controlled(app, state, server), listener, url, lifespan="on")


if __name__ == "__main__":
    main(Options.from_json(sys.argv[1]))
