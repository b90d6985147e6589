"""An agent that answers as badly as real ones do, one way per path, and counts who connects and who hangs up."""

from __future__ import annotations

import json
import secrets
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

from tests.support.threaded import serving

SECRET: Final = "/internal-" + secrets.token_hex(6)
"""Below which everything lives: no answer of the gateway may hold it."""

ONE_TASK: Final = "task-" + secrets.token_hex(6)
"""The task of the way `one-task`."""

HAND_OVER_SECONDS: Final = 30.0
"""How long a test waits for another thread before it fails."""


class Scripted(ThreadingHTTPServer):
    """The server; `with scripted() as server`."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.port: int = self.server_address[1]
        self.origin = f"http://127.0.0.1:{self.port}"
        self.connections = 0
        self.requests: list[tuple[str, str, Mapping[str, str]]] = []
        self.holding = 0
        self.left = 0
        self.redirect_to = ""
        """Where `redirect` leads."""
        self.changed = threading.Condition()
        self.closing = threading.Event()

    def url(self, way: str) -> str:
        """Where the agent answers that way."""
        assert way in WAYS or way in CARD_WAYS, way
        return f"{self.origin}{SECRET}/{way}/"

    def card(self, way: str) -> dict[str, Any]:
        """The card to register for it."""
        return {
            "name": way,
            "description": f"Answers: {way}.",
            "version": "1.0.0",
            "supportedInterfaces": [{"url": self.url(way), "protocolBinding": "JSONRPC", "protocolVersion": "1.0"}],
            "capabilities": {"streaming": True},
            "defaultInputModes": ["text/plain"],
            "defaultOutputModes": ["text/plain"],
            "skills": [{"id": "x", "name": "X", "description": "X.", "tags": ["x"]}],
        }

    def await_count(self, name: str, count: int) -> None:
        """Return when `holding` or `left` has reached a count; raises `TimeoutError`."""
        with self.changed:
            if not self.changed.wait_for(lambda: getattr(self, name) >= count, HAND_OVER_SECONDS):
                raise TimeoutError(f"{name} is {getattr(self, name)}, not {count}")

    def count(self, name: str) -> None:
        """Add one to a counter."""
        with self.changed:
            setattr(self, name, getattr(self, name) + 1)
            self.changed.notify_all()

    def seen(self, way: str, method: str = "POST") -> list[Mapping[str, str]]:
        """Headers of each request for a way, names in lower case."""
        return [
            headers for verb, path, headers in self.requests if verb == method and path.startswith(f"{SECRET}/{way}/")
        ]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: clients that hang up are what we are here for."""


@contextmanager
def scripted() -> Iterator[Scripted]:
    """Serve until the end of the block."""
    with serving(Scripted()) as server:
        try:
            yield server
        finally:
            server.closing.set()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Scripted

    def setup(self) -> None:
        super().setup()
        self.server.count("connections")

    def do_GET(self) -> None:
        way = self._begin()
        if way in CARD_WAYS:
            CARD_WAYS[way](self, {})
        elif way in WAYS:
            self.answer(json.dumps(self.server.card(way)).encode())
        else:
            self.answer(b"", status=404)

    def do_POST(self) -> None:
        way = self._begin()
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        WAYS.get(way, good)(self, json.loads(body or b"{}"))

    def _begin(self) -> str:
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.requests.append((self.command, self.path, headers))
        return self.path.removeprefix(SECRET + "/").split("/")[0]

    def answer(self, body: bytes, *, status: int = 200, kind: str = "application/json", **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def begin_stream(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    def chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()

    def stream(self, *chunks: bytes) -> None:
        self.begin_stream()
        for data in chunks:
            self.chunk(data)
        self.wfile.write(b"0\r\n\r\n")

    def hold(self) -> None:
        """Say nothing more until the client hangs up."""
        self.server.count("holding")
        self.close_connection = True
        self.connection.settimeout(0.2)
        while not self.server.closing.is_set():
            try:
                if self.connection.recv(1) == b"":
                    break
            except TimeoutError:
                continue
            except OSError:
                break
        self.server.count("left")

    def log_message(self, format: str, *args: Any) -> None:
        pass


Call = Mapping[str, Any]
Way = Callable[[_Handler, Call], None]


def _reply(call: Call) -> dict[str, Any]:
    said = {"messageId": "m", "role": "ROLE_AGENT", "parts": [{"text": "well behaved"}]}
    return {"jsonrpc": "2.0", "id": call["id"], "result": {"message": said}}


def _event(content: Any) -> bytes:
    return f"data: {json.dumps(content)}\n\n".encode()


def _is_stream(call: Call) -> bool:
    return bool(call.get("method") == "SendStreamingMessage")


def good(to: _Handler, call: Call) -> None:
    if _is_stream(call):
        to.stream(_event(_reply(call)))
    else:
        to.answer(json.dumps(_reply(call)).encode(), Set_Cookie="session=of-the-first-caller; Path=/")


def one_task(to: _Handler, call: Call) -> None:
    """Answer everybody with the same task."""
    task = {"id": ONE_TASK, "contextId": f"{ONE_TASK}-context", "status": {"state": "TASK_STATE_COMPLETED"}}
    answer = {**_reply(call), "result": {"task": task}}
    if _is_stream(call):
        to.stream(_event(answer))
    else:
        to.answer(json.dumps(answer).encode())


def own_error(to: _Handler, call: Call) -> None:
    info = {
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": "TASK_NOT_FOUND",
        "domain": "a2a-protocol.org",
    }
    error = {"code": -32001, "message": "no such task here", "data": [info | {"metadata": {"taskId": "t-1"}}]}
    answer = {"jsonrpc": "2.0", "id": call["id"], "error": error}
    if _is_stream(call):
        to.stream(_event(answer))
    else:
        to.answer(json.dumps(answer).encode())


def _told(to: _Handler) -> bytes:
    return f"Traceback: see {to.server.url('http-500')} on 127.0.0.1:{to.server.port}".encode()


def endless_event(to: _Handler, call: Call) -> None:
    to.begin_stream()
    to.chunk(b"data: ")
    for _ in range(48):
        to.chunk(b"x" * 65_536)
    to.wfile.write(b"0\r\n\r\n")


def _working(call: Call) -> dict[str, Any]:
    task = {"id": "t-1", "contextId": "c-1", "status": {"state": "TASK_STATE_WORKING"}}
    return {"jsonrpc": "2.0", "id": call["id"], "result": {"task": task}}


def cut_stream(to: _Handler, call: Call) -> None:
    to.begin_stream()
    to.chunk(_event(_working(call)))
    to.close_connection = True


def held_stream(to: _Handler, call: Call) -> None:
    to.begin_stream()
    to.chunk(_event(_working(call)))
    to.hold()


def drop(to: _Handler, call: Call) -> None:
    to.close_connection = True


def not_http(to: _Handler, call: Call) -> None:
    to.wfile.write(b"SSH-2.0-OpenSSH_9.6 127.0.0.1\r\n")
    to.close_connection = True


def redirect(to: _Handler, call: Call) -> None:
    to.answer(b"", status=302, Location=to.server.redirect_to)


def _json(content: Any) -> Way:
    return lambda to, call: to.answer(json.dumps(content).encode())


def _result(content: Any) -> Way:
    return lambda to, call: to.answer(json.dumps({"jsonrpc": "2.0", "id": call["id"], "result": content}).encode())


def _stream(*chunks: bytes) -> Way:
    return lambda to, call: to.stream(*chunks)


def card_elsewhere(to: _Handler, call: Call) -> None:
    """Name another host in the card; the path is good."""
    card = to.server.card("good")
    other = to.server.redirect_to.removesuffix("/stolen")
    to.answer(json.dumps(card).replace(to.server.origin, other).encode())


HTML: Final = b"<html><body>It works on 127.0.0.1!</body></html>"

WAYS: Final[Mapping[str, Way]] = {
    "good": good,
    "own-error": own_error,
    "one-task": one_task,
    "http-500": lambda to, call: to.answer(_told(to), status=500, kind="text/plain"),
    "http-401": lambda to, call: to.answer(b'{"error": "no key for 127.0.0.1"}', status=401),
    "http-404": lambda to, call: to.answer(HTML, status=404, kind="text/html"),
    "http-204": lambda to, call: to.answer(b"", status=204),
    "html": lambda to, call: to.answer(HTML, kind="text/html"),
    "html-called-json": lambda to, call: to.answer(HTML),
    "not-utf-8": lambda to, call: to.answer(b'{"jsonrpc": "2.0", "result": "\xff\xfe"}'),
    "empty": lambda to, call: to.answer(b""),
    "deep": lambda to, call: to.answer(b"[" * 200_000),
    "json-array": _json([1, 2]),
    "json-number": _json(5),
    "json-null": _json(None),
    "no-result": _json({"jsonrpc": "2.0", "id": "x"}),
    "error-text": _json({"jsonrpc": "2.0", "id": "x", "error": "at 127.0.0.1"}),
    "result-number": _result(5),
    "result-empty": _result({}),
    "result-of-another-protocol": _result({"choices": []}),
    "task-number": _result({"task": 5}),
    "drop": drop,
    "not-http": not_http,
    "redirect": redirect,
    "too-large": lambda to, call: to.answer(b'{"result": "' + b"x" * 3_000_000 + b'"}'),
    "hang": lambda to, call: to.hold(),
    "held-stream": held_stream,
    "sse-not-json": _stream(b"data: It works on 127.0.0.1!\n\n"),
    "sse-number": _stream(b"data: 5\n\n"),
    "sse-html": _stream(HTML),
    "sse-empty": _stream(),
    "sse-error-event": _stream(b'event: error\ndata: {"told": "by 127.0.0.1"}\n\n'),
    "sse-result-number": _stream(b'data: {"jsonrpc": "2.0", "id": "1", "result": 5}\n\n'),
    "sse-result-empty": _stream(b'data: {"jsonrpc": "2.0", "id": "1", "result": {}}\n\n'),
    "sse-cut": cut_stream,
    "sse-endless-event": endless_event,
}
"""How a call is answered."""

CARD_WAYS: Final[Mapping[str, Way]] = {
    "card-html": lambda to, call: to.answer(HTML, kind="text/html"),
    "card-number": _json(5),
    "card-without-interface": _json({"name": "nothing to call"}),
    "card-of-another-binding": _json(
        {"name": "grpc", "supportedInterfaces": [{"url": "127.0.0.1:1", "protocolBinding": "GRPC"}]}
    ),
    "card-http-500": lambda to, call: to.answer(_told(to), status=500),
    "card-redirect": redirect,
    "card-elsewhere": card_elsewhere,
    "card-too-large": lambda to, call: to.answer(b'{"name": "' + b"x" * 3_000_000 + b'"}'),
    "card-hang": lambda to, call: to.hold(),
}
"""How the card is answered; a call is answered well."""
