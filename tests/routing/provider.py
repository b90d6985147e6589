"""A model provider on loopback for any number of models: it says who answers, and fails those it is told to."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from tests.support import processes

_START_SECONDS: Final = 20.0
_USAGE: Final = {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8}


@dataclass
class Provider:
    """A running provider."""

    url: str
    calls: list[Mapping[str, Any]] = field(default_factory=list)
    """Bodies of all requests, oldest first, failed ones included."""
    down: dict[str, int] = field(default_factory=dict)
    """Status with which a model fails."""

    @property
    def models(self) -> list[str]:
        """The models that were asked, oldest first."""
        return [str(call["model"]) for call in self.calls]

    @contextmanager
    def failing(self, status: int, *models: str) -> Iterator[None]:
        """Let models fail until the block ends."""
        self.down |= dict.fromkeys(models, status)
        try:
            yield
        finally:
            for model in models:
                del self.down[model]


@contextmanager
def provider() -> Iterator[Provider]:
    """Run a provider until the block ends."""
    port = processes.free_port()
    running = Provider(f"http://127.0.0.1:{port}/v1")
    server = uvicorn.Server(uvicorn.Config(_app(running), port=port, log_level="error", lifespan="off", ws="none"))
    thread = threading.Thread(target=server.run, name="routing provider", daemon=True)
    thread.start()
    try:
        processes.wait_until(lambda: server.started, _START_SECONDS, "start of the provider")
        yield running
    finally:
        server.should_exit = True
        thread.join(_START_SECONDS)


def _app(running: Provider) -> Starlette:
    async def answer(request: Request) -> Response:
        body = await request.json()
        running.calls.append(body)
        status = running.down.get(body["model"])
        if status is not None:
            error = {"message": f"{body['model']} is down", "type": "server_error", "code": None}
            return JSONResponse({"error": error}, status)
        whole, stream = _KINDS[request.url.path.rpartition("/v1/")[2]]
        if body.get("stream"):
            return StreamingResponse(stream(body), media_type="text/event-stream")
        return JSONResponse(whole(body))

    return Starlette(routes=[Route("/{path:path}", answer, methods=["POST"])])


def said(model: str) -> str:
    """What a model answers."""
    return f"I am {model}"


def _chat(body: Mapping[str, Any]) -> dict[str, Any]:
    message = {"role": "assistant", "content": said(body["model"])}
    choice = {"index": 0, "finish_reason": "stop", "message": message}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": body["model"],
        "choices": [choice],
        "usage": _USAGE,
    }


def _text(body: Mapping[str, Any]) -> dict[str, Any]:
    choice = {"index": 0, "finish_reason": "stop", "text": said(body["model"]), "logprobs": None}
    return {**_chat(body), "object": "text_completion", "choices": [choice]}


def _message(body: Mapping[str, Any]) -> dict[str, Any]:
    content = [{"type": "output_text", "text": said(body["model"]), "annotations": []}]
    return {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": content}


def _response(body: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 1_700_000_000,
        "status": "completed",
        "model": body["model"],
        "output": [_message(body)],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "usage": {"input_tokens": 3, "output_tokens": 5, "total_tokens": 8},
    }


def _events(body: Mapping[str, Any]) -> Iterator[bytes]:
    whole = _response(body)
    started = {**whole, "status": "in_progress", "output": []}
    message = _message(body)
    part = message["content"][0]
    at = {"item_id": message["id"], "output_index": 0, "content_index": 0}
    events: tuple[dict[str, Any], ...] = (
        {"type": "response.created", "response": started},
        {"type": "response.output_item.added", "output_index": 0, "item": {**message, "content": []}},
        {"type": "response.content_part.added", **at, "part": {**part, "text": ""}},
        {"type": "response.output_text.delta", **at, "delta": part["text"]},
        {"type": "response.output_text.done", **at, "text": part["text"]},
        {"type": "response.content_part.done", **at, "part": part},
        {"type": "response.output_item.done", "output_index": 0, "item": message},
        {"type": "response.completed", "response": whole},
    )
    for number, event in enumerate(events):
        data = json.dumps({**event, "sequence_number": number})
        yield f"event: {event['type']}\ndata: {data}\n\n".encode()


def _chunks(body: Mapping[str, Any]) -> Iterator[bytes]:
    base = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1_700_000_000, "model": body["model"]}
    for delta, reason in (({"role": "assistant", "content": said(body["model"])}, None), ({}, "stop")):
        choice = {"index": 0, "delta": delta, "finish_reason": reason}
        yield f"data: {json.dumps({**base, 'choices': [choice]})}\n\n".encode()
    yield b"data: [DONE]\n\n"


def _pieces(body: Mapping[str, Any]) -> Iterator[bytes]:
    yield f"data: {json.dumps(_text(body))}\n\n".encode()
    yield b"data: [DONE]\n\n"


_KINDS: Final = {
    "responses": (_response, _events),
    "chat/completions": (_chat, _chunks),
    "completions": (_text, _pieces),
    "embeddings": (_text, _pieces),
}
