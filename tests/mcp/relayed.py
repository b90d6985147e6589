"""A server behind the relay, as clients find it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import httpx
import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from tests.support.proxy import Proxy

VERSION: Final = "2026-07-28"
_META: Final[Mapping[str, Any]] = {
    "io.modelcontextprotocol/protocolVersion": VERSION,
    "io.modelcontextprotocol/clientInfo": {"name": "raw", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {},
}
_ACCEPT: Final = {"Accept": "application/json, text/event-stream"}


def asked(client: httpx.Client, url: str, method: str, params: Mapping[str, Any], **meta: Any) -> httpx.Response:
    """Send one request, as clients of 2026-07-28 do."""
    headers = {**_ACCEPT, "MCP-Protocol-Version": VERSION, "Mcp-Method": method}
    named = params.get("name", params.get("uri"))
    headers |= {"Mcp-Name": named} if named is not None else {}
    message = {"jsonrpc": "2.0", "id": "raw", "method": method, "params": {**params, "_meta": {**_META, **meta}}}
    return client.post(url, json=message, headers=headers)


def called(client: httpx.Client, url: str, tool: str, arguments: Mapping[str, Any], **headers: str) -> httpx.Response:
    """Call a tool with one request, as clients of 2026-07-28 do; headers are named with underscores."""
    described = {"MCP-Protocol-Version": VERSION, "Mcp-Method": "tools/call", "Mcp-Name": tool}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    params = {"name": tool, "arguments": dict(arguments), "_meta": _META}
    message = {"jsonrpc": "2.0", "id": "raw", "method": "tools/call", "params": params}
    return client.post(url, json=message, headers={**_ACCEPT, **described, **named})


@dataclass(frozen=True)
class Relayed:
    """A server that is registered at a proxy with the relay."""

    proxy: Proxy
    server: Mapping[str, Any]

    @property
    def path(self) -> str:
        """Its MCP endpoint."""
        return f"/mcp/{self.server['server_name']}"

    def key(self, **permission: Any) -> str:
        """Make a key that may use it."""
        return self.proxy.add_key(object_permission={"mcp_servers": [self.server["server_id"]], **permission})

    @asynccontextmanager
    async def connected(
        self, mode: Any = "legacy", key: str | None = None, headers: Mapping[str, str] | None = None, **callbacks: Any
    ) -> AsyncIterator[Client]:
        """Connect with the official client, under a key of its own unless one is given."""
        sent = {"Authorization": f"Bearer {key or self.key()}", **(headers or {})}
        async with httpx2.AsyncClient(headers=sent, trust_env=False, timeout=60) as http:
            transport = streamable_http_client(self.proxy.base_url + self.path, http_client=http)
            async with Client(transport, mode=mode, **callbacks) as client:
                yield client


@dataclass(frozen=True)
class Together(Relayed):
    """Servers of a proxy behind its one endpoint for all of them; `server` is the first."""

    others: tuple[Mapping[str, Any], ...] = ()

    @property
    def path(self) -> str:
        """The endpoint."""
        return "/mcp"

    def key(self, **permission: Any) -> str:
        """Make a key that may use them all."""
        ids = [each["server_id"] for each in (self.server, *self.others)]
        return self.proxy.add_key(object_permission={"mcp_servers": ids, **permission})
