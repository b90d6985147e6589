"""An MCP server that says what a test makes it say, of either generation, over plain HTTP."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

from tests.mcp.conformance.reference.generations import SESSIONS, STATELESS
from tests.support.threaded import serving

SESSION: Final = "session-of-the-server"
"""What clients of the gateway must never see."""

_CAPABILITIES: Final = {
    "tools": {"listChanged": True},
    "resources": {"subscribe": True},
    "prompts": {},
    "logging": {},
}
_WHO: Final = {"name": "scripted", "version": "1"}
_VERSION: Final = "2026-07-28"

Json = dict[str, Any]


@dataclass(frozen=True)
class Seen:
    """One request."""

    method: str
    headers: Mapping[str, str]
    message: Json


class Exchange(BaseHTTPRequestHandler):
    """One request and the ways to answer it; `message` is what was sent, {} where that is nothing."""

    protocol_version = "HTTP/1.1"
    server: Scripted
    message: Json

    def do_POST(self) -> None:
        """Answer as the script says, else as any server would."""
        self._read(self.rfile.read(int(self.headers["content-length"])))
        is_modern = self.headers.get("mcp-protocol-version") == _VERSION
        if is_modern != (self.server.generation == STATELESS):
            self.server.script.get("refusal", refuse)(self)
            return
        self.server.script.get(self.message.get("method", "answer"), usual)(self)

    def do_GET(self) -> None:
        """Have nothing to say, unless there is a script for it."""
        self._read(b"{}")
        self.server.script.get("GET", _no_stream)(self)

    def do_DELETE(self) -> None:
        """End a session."""
        self._read(b"{}")
        self.nothing(200)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def body(self, body: bytes, status: int = 200, **headers: str) -> None:
        """Answer with JSON, right or wrong; headers are named with underscores."""
        self.send_response(status)
        described = {"content-type": "application/json", "content-length": str(len(body))}
        for name, value in {**described, **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def answer(self, result: Any = None, status: int = 200, **rest: Any) -> None:
        """Answer a request with a result, or with whatever else an answer has."""
        told = {"jsonrpc": "2.0", "id": self.message.get("id"), **({} if result is None else {"result": result})}
        headers = rest.pop("headers", {})
        self.body(json.dumps({**told, **rest}).encode(), status, **headers)

    def nothing(self, status: int) -> None:
        """Answer without a body."""
        self.send_response(status)
        self.send_header("content-length", "0")
        self.end_headers()

    def stream(self, length: int | None = None) -> None:
        """Begin a stream of events, which `event` goes on with and the end of the script ends."""
        self.begin(200, "text/event-stream", length)

    def begin(self, status: int, kind: str, length: int | None = None) -> None:
        """Send headers; the body is whatever the script writes, however long it was said to be."""
        self.close_connection = True
        self.send_response(status)
        self.send_header("content-type", kind)
        if length is not None:
            self.send_header("content-length", str(length))
        self.end_headers()

    def event(self, data: Any) -> None:
        """Send one event: bytes as they are, anything else as JSON."""
        told = data if isinstance(data, bytes) else json.dumps(data).encode()
        self.wfile.write(b"data: " + told + b"\n\n")

    def _read(self, body: bytes) -> None:
        self.message = json.loads(body)
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.seen.append(Seen(self.command, headers, self.message))


Say = Callable[[Exchange], None]


@dataclass(eq=False)
class Scripted(ThreadingHTTPServer):
    """It; `script` says how methods are answered, and what has none: "answer", "GET", "refusal" of a generation."""

    generation: str
    script: dict[str, Say] = field(default_factory=dict)
    seen: list[Seen] = field(default_factory=list)

    daemon_threads = True

    def __post_init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Exchange)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Think nothing of clients that leave."""

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.server_address[1]}/mcp"


@contextmanager
def scripted(generation: str) -> Iterator[Scripted]:
    """Run one until the end of the block."""
    with serving(Scripted(generation)) as running:
        yield running


def refuse(exchange: Exchange) -> None:
    """Refuse the other generation."""
    exchange.answer(status=400, error={"code": -32600, "message": "Bad Request: Unsupported protocol version"})


def _no_stream(exchange: Exchange) -> None:
    exchange.nothing(405)


def usual(exchange: Exchange) -> None:
    """Answer as any server would."""
    message, generation = exchange.message, exchange.server.generation
    if "id" not in message or "method" not in message:
        exchange.nothing(202)
    elif message["method"] == "initialize" and generation == SESSIONS:
        said = {"protocolVersion": "2025-11-25", "capabilities": _CAPABILITIES, "serverInfo": _WHO}
        exchange.answer(said, headers={"mcp_session_id": SESSION})
    elif message["method"] == "server/discover" and generation == STATELESS:
        meta = {"io.modelcontextprotocol/serverInfo": _WHO}
        said = {"supportedVersions": [_VERSION], "capabilities": _CAPABILITIES, "_meta": meta}
        exchange.answer({"resultType": "complete", "ttlMs": 0, "cacheScope": "private", **said})
    elif message["method"] == "tools/list":
        tools = [{"name": each, "inputSchema": {"type": "object"}} for each in ("one", "other")]
        modern = {"resultType": "complete", "ttlMs": 0, "cacheScope": "private"} if generation == STATELESS else {}
        exchange.answer({"tools": tools, **modern})
    else:
        exchange.answer(error={"code": -32601, "message": "Method not found"})
