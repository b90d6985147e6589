"""Sessions of 2025-11-25 without a client library: what is sent and heard is the test's own."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

import httpx

ACCEPT: Final = {"Accept": "application/json, text/event-stream"}
VERSION: Final = "2025-11-25"


def initialize() -> dict[str, Any]:
    """Build the first message."""
    who = {"name": "raw", "version": "1"}
    params = {"protocolVersion": VERSION, "capabilities": {"roots": {}}, "clientInfo": who}
    return {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params}


@dataclass
class RawSession:
    """One session."""

    client: httpx.Client
    path: str
    headers: dict[str, str]
    _sent: int = field(default=0)

    def send(self, method: str, params: dict[str, Any] | None = None) -> httpx.Response:
        """Send a request and wait for the end of its answer."""
        self._sent += 1
        message = {"jsonrpc": "2.0", "id": f"{id(self)}-{self._sent}", "method": method, "params": params or {}}
        return self.client.post(self.path, json=message, headers=self.headers)

    def notify(self, method: str, params: dict[str, Any] | None = None) -> httpx.Response:
        """Send a notification."""
        message = {"jsonrpc": "2.0", "method": method, "params": params or {}}
        return self.client.post(self.path, json=message, headers=self.headers)

    def resume(self, last_event: str) -> httpx.Response:
        """Ask for what came after an event, and read until the result of a request has come, or the refusal."""
        headers = {**self.headers, "Last-Event-ID": last_event}
        with self.client.stream("GET", self.path, headers=headers) as response:
            read = b""
            for piece in response.iter_raw():
                read += piece
                if b'"result"' in read:
                    break
        return httpx.Response(response.status_code, headers={"content-type": "text/plain"}, content=read)


def opened(client: httpx.Client, path: str) -> RawSession:
    """Begin a session."""
    response = client.post(path, json=initialize(), headers=ACCEPT)
    assert response.status_code == 200, response.text
    session = {"Mcp-Session-Id": response.headers["mcp-session-id"], "MCP-Protocol-Version": VERSION}
    found = RawSession(client, path, {**ACCEPT, **session})
    assert found.notify("notifications/initialized").status_code == 202
    return found
