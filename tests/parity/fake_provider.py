"""A model provider on loopback, in a thread of the test process: it answers every API that the proxy calls."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from tests.parity import answers
from tests.support import processes

Events = Iterator[tuple[str | None, Mapping[str, Any]]]

_STREAMS: Final[tuple[tuple[str, Callable[[], Events], bool], ...]] = (
    ("/chat/completions", answers.chat_events, True),
    ("/completions", answers.completion_events, True),
    ("/messages", answers.anthropic_events, False),
    (":streamGenerateContent", answers.gemini_events, False),
)
"""End of the path, its events, and whether `[DONE]` follows them."""

_START_SECONDS: Final = 20.0


@dataclass(frozen=True)
class Received:
    """One request as the provider saw it; header names are lower case."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]


@dataclass(frozen=True)
class FakeProvider:
    """A running provider."""

    url: str
    received: list[Received] = field(default_factory=list)
    """Every request, oldest first."""

    def last(self, operation: str) -> Received:
        """Return the newest request whose path ends so; raises `LookupError` when there was none."""
        for request in reversed(self.received):
            if request.path.endswith(operation):
                return request
        raise LookupError(f"the provider saw no request to {operation}")


@contextmanager
def fake_provider() -> Iterator[FakeProvider]:
    """Run the provider until the block ends."""
    port = processes.free_port()
    provider = FakeProvider(f"http://127.0.0.1:{port}")
    server = uvicorn.Server(
        uvicorn.Config(_app(provider.received), port=port, log_level="error", lifespan="off", ws="none")
    )
    thread = threading.Thread(target=server.run, name="fake provider", daemon=True)
    thread.start()
    try:
        processes.wait_until(lambda: server.started, _START_SECONDS, "start of the fake provider")
        yield provider
    finally:
        server.should_exit = True
        thread.join(_START_SECONDS)


def _app(received: list[Received]) -> Starlette:
    async def handle(request: Request) -> Response:
        query, headers = dict(request.query_params), dict(request.headers)
        received.append(Received(request.method, request.url.path, query, headers))
        return _answer(request.method, request.url.path, await request.body())

    methods = ["GET", "POST", "PUT", "PATCH", "DELETE"]
    return Starlette(routes=[Route("/{path:path}", handle, methods=methods)])


def _answer(method: str, path: str, body: bytes) -> Response:
    for end, events, done in _STREAMS:
        if path.endswith(end) and (end.startswith(":") or _asks_for_stream(body)):
            return StreamingResponse(_sse(events(), done=done), media_type="text/event-stream")
    found = answers.answer(method, path)
    if found is None:
        error = {"message": f"no operation {method} {path}", "type": "invalid_request_error", "code": "not_found"}
        return JSONResponse({"error": error}, 404)
    if isinstance(found, bytes):
        return Response(found, media_type="audio/mpeg")
    return JSONResponse(found)


def _asks_for_stream(body: bytes) -> bool:
    try:
        return bool(json.loads(body).get("stream"))
    except (ValueError, AttributeError):  # a form, or no object: neither asks for a stream
        return False


def _sse(events: Events, *, done: bool) -> Iterator[bytes]:
    for name, event in events:
        yield (f"event: {name}\n" if name else "").encode() + f"data: {json.dumps(event)}\n\n".encode()
    if done:
        yield b"data: [DONE]\n\n"
