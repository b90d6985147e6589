"""A fake LLM provider that uses a tool: it calls the one it is made for, and repeats in its answer what that said."""

from __future__ import annotations

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

MODEL: Final = "tool-user"
TOOL: Final = "test_simple_text"


class ToolUser(ThreadingHTTPServer):
    """Listens on a free loopback port."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}/v1"

    @property
    def deployment(self) -> dict[str, Any]:
        """The model as LiteLLM's config declares it."""
        params = {"model": f"openai/{MODEL}", "api_base": self.url, "api_key": "fake"}
        return {"model_name": MODEL, "litellm_params": params}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        body = json.dumps(_completion(asked)).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Say nothing."""


def _completion(asked: dict[str, Any]) -> dict[str, Any]:
    last = asked["messages"][-1]
    message: dict[str, Any] = {"role": "assistant", "content": f"heard: {_text(last['content'])}"}
    names = [each["function"]["name"] for each in asked.get("tools") or ()]
    wanted = next((each for each in names if each.endswith(TOOL)), None)
    if last["role"] != "tool" and wanted is not None:
        call = {"id": "call_1", "type": "function", "function": {"name": wanted, "arguments": "{}"}}
        message = {"role": "assistant", "content": None, "tool_calls": [call]}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": MODEL,
        "choices": [
            {"index": 0, "message": message, "finish_reason": "tool_calls" if "tool_calls" in message else "stop"}
        ],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
    }


def _text(content: Any) -> str:
    return content if isinstance(content, str) else "".join(each.get("text", "") for each in content or ())
