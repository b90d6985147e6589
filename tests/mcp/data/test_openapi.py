"""Servers that LiteLLM makes of an OpenAPI document: listed and called through LiteLLM, under the same rules."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest

from tests.mcp.data.calling import Events, call, delete, error, names, register
from tests.support.proxy import Proxy

pytestmark = pytest.mark.requirement("MCP-08")


class Api(BaseHTTPRequestHandler):
    """An API with one operation, and its description."""

    def do_GET(self) -> None:
        """Answer."""
        assert isinstance(self.server, ThreadingHTTPServer)
        self.server.seen.append((self.path, dict(self.headers)))  # type: ignore[attr-defined]
        content = document(self.server.server_address[1]) if self.path == "/openapi.json" else {"weather": "fine"}
        body = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def document(port: int) -> dict[str, object]:
    """Describe the API."""
    place = {"name": "place", "in": "query", "required": True, "schema": {"type": "string"}}
    operation = {"operationId": "get_weather", "summary": "Weather.", "parameters": [place], "responses": {}}
    return {
        "openapi": "3.0.0",
        "info": {"title": "weather", "version": "1"},
        "servers": [{"url": f"http://127.0.0.1:{port}"}],
        "paths": {"/weather": {"get": operation}},
    }


@pytest.fixture
def api() -> Iterator[ThreadingHTTPServer]:
    """The API, on a port of its own; `seen` is what it was asked."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Api)
    server.seen = []  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def test_an_openapi_server_is_called_through_litellm(
    calling_proxy: Proxy, client: httpx.Client, events: Events, api: ThreadingHTTPServer
) -> None:
    spec = f"http://127.0.0.1:{api.server_port}/openapi.json"
    server_id = register(client, "weather", spec_path=spec, url=f"http://127.0.0.1:{api.server_port}", transport="http")
    try:
        assert names(client.get("/mcp/tools", params={"server_id": server_id})) == ["get_weather"]
        before = len(events.all())
        answer = call(client, "get_weather", {"place": "here"}, server_id)
        assert answer.status_code == 200, answer.text
        assert "fine" in answer.json()["content"][0]["text"]
        assert [each["event"] for each in events.since(before)].count("success") == 1
        assert error(call(client, "get_weather", {}, server_id), 400)["field"] == "arguments.place"
        with calling_proxy.client(calling_proxy.add_key()) as stranger:
            assert call(stranger, "get_weather", {"place": "here"}, server_id).status_code == 403
        paths = [path for path, _ in api.seen]  # type: ignore[attr-defined]
        assert [path for path in paths if path.startswith("/weather")] == ["/weather?place=here"]
        assert calling_proxy.master_key not in repr(api.seen)  # type: ignore[attr-defined]
    finally:
        delete(client, server_id)
