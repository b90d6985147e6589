"""The tester's side of an agent: what it received, who hung up, and when its events may leave.

    GET  /_seen                                every request so far: method, path, headers, body
    POST /_release {"gate": name, "count": n}  let n events held at that gate go
    GET  /_cancelled?disconnects=n&timeout=s   counts, once n clients have hung up or s seconds are over

Imports the standard library and uvicorn alone, so that it runs under both SDK generations.
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys
import threading
from collections import defaultdict
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Literal
from urllib.parse import parse_qs

import uvicorn

from tests.support.agents.scenario import Options, Scenario

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]


class Controls:
    """State that the control routes show and steer; lives on the agent's event loop."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.seen: list[dict[str, Any]] = []
        self.disconnects = 0
        self.cancelled_tasks = 0
        # One gate per text: what an abandoned task still waits for must not take the events of the next test.
        self._gates: defaultdict[str, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(0))
        self._hung_up = asyncio.Condition()

    async def admit(self, scenario: Scenario) -> None:
        """Wait until the next step may be emitted."""
        if scenario.gate is not None:
            await self._gates[scenario.gate].acquire()

    def release(self, gate: str, count: int) -> None:
        """Let so many events go, now or when they come."""
        for _ in range(count):
            self._gates[gate].release()

    async def hang_up(self) -> None:
        """Count a client that left before its answer was complete."""
        async with self._hung_up:
            self.disconnects += 1
            self._hung_up.notify_all()

    async def await_disconnects(self, count: int, seconds: float) -> None:
        """Return when so many clients have hung up, or when the time is over."""
        try:
            async with asyncio.timeout(seconds), self._hung_up:
                await self._hung_up.wait_for(lambda: self.disconnects >= count)
        except TimeoutError:
            return  # the counts that follow tell the caller


class Controlled:
    """ASGI wrapper: control routes first, then what the options ask, then the agent, watched."""

    def __init__(self, app: App, controls: Controls) -> None:
        self._app = app
        self._controls = controls

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body = await read(receive)
        if scope["path"].startswith("/_"):
            await answer(send, 200, await self._control(scope, body))
            return
        headers = {name.decode(): value.decode("latin-1") for name, value in scope["headers"]}
        self._controls.seen.append(
            {
                "method": scope["method"],
                "path": scope["path"],
                "headers": headers,
                "body": body.decode(errors="replace"),
            }
        )
        await self._serve(scope, headers, _Exchange(body, receive, send, self._controls))

    async def _serve(self, scope: MutableMapping[str, Any], headers: dict[str, str], exchange: _Exchange) -> None:
        options = self._controls.options
        if options.redirect_to is not None:
            await answer(exchange.send, 302, {}, {"location": options.redirect_to})
            return
        required = (options.require or {}) if scope["method"] == "POST" else {}
        missing = [name for name, value in required.items() if headers.get(name.lower()) != value]
        if missing:
            await answer(exchange.send, 401, {"error": f"wrong or missing: {', '.join(missing)}"})
            return
        await exchange.run(self._app, scope)

    async def _control(self, scope: MutableMapping[str, Any], body: bytes) -> Any:
        match scope["method"], scope["path"]:
            case "GET", "/_seen":
                return self._controls.seen
            case "POST", "/_release":
                self._controls.release(**json.loads(body))
            case "GET", "/_cancelled":
                query = parse_qs(scope["query_string"].decode())
                await self._controls.await_disconnects(
                    int(query.get("disconnects", ["0"])[0]), float(query.get("timeout", ["0"])[0])
                )
            case other:
                raise ValueError(f"no such control: {other}")
        return {"disconnects": self._controls.disconnects, "tasks": self._controls.cancelled_tasks}


class _Exchange:
    """One request and its answer; notices a client that leaves in between, whether or not the agent listens for it."""

    def __init__(self, body: bytes, receive: Receive, send: Send, controls: Controls) -> None:
        self._pending_body: bytes | None = body
        self._receive = receive
        self._send = send
        self._controls = controls
        self._answered = False
        self._left = asyncio.Event()

    async def run(self, app: App, scope: MutableMapping[str, Any]) -> None:
        """Let the agent answer."""
        watch = asyncio.create_task(self._watch())
        try:
            await app(scope, self.receive, self.send)
        finally:
            watch.cancel()

    async def receive(self) -> Message:
        """Replay the body, then wait for the client to leave."""
        if self._pending_body is not None:
            body, self._pending_body = self._pending_body, None
            return {"type": "http.request", "body": body, "more_body": False}
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        """Pass on, noting the end of the answer."""
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            self._answered = True
        await self._send(message)

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        if not self._answered:
            await self._controls.hang_up()
        self._left.set()


async def read(receive: Receive) -> bytes:
    body = b""
    while True:
        message = await receive()
        chunk: bytes = message.get("body", b"")
        body += chunk
        if not message.get("more_body", False):
            return body


async def answer(send: Send, status: int, content: Any, headers: dict[str, str] | None = None) -> None:
    fields = {"content-type": "application/json", **(headers or {})}
    raw = [(name.encode(), value.encode()) for name, value in fields.items()]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": json.dumps(content).encode()})


def listen(port: int) -> tuple[socket.socket, str]:
    """Open the agent's socket, port 0 meaning any, and return it with the URL that a card can name."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    listener.listen(128)
    return listener, f"http://127.0.0.1:{listener.getsockname()[1]}/"


def serve(app: App, listener: socket.socket, url: str, *, lifespan: Literal["on", "off"] = "off") -> None:
    """Say on standard output where we are, then serve until SIGTERM or until standard input is closed."""
    server = uvicorn.Server(uvicorn.Config(app, lifespan=lifespan, log_level="warning", timeout_graceful_shutdown=1))
    threading.Thread(target=_end_with_parent, args=(server,), daemon=True).start()
    print(json.dumps({"url": url}), flush=True)
    server.run(sockets=[listener])


def _end_with_parent(server: uvicorn.Server) -> None:
    sys.stdin.buffer.read()
    server.should_exit = True
