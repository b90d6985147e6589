"""`registry.json`: the servers of this gateway as other software discovers them, in LiteLLM's shape."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from routeiq_plugin.host import mcp_names
from routeiq_plugin.host import mcp_servers as host_servers
from routeiq_plugin.mcp.model import Server

Json = dict[str, Any]


def registry(servers: Sequence[Server], base_url: str) -> Json:
    """Render the gateway itself, then these servers by name, each with the address at which this gateway serves it."""
    name, description, version = host_servers.builtin_entry()
    entries = [_entry(name, description, version, f"{base_url}/mcp")]
    for server in sorted(servers, key=lambda each: each.name):
        told = str(server.fields.get("description") or server.name)
        place = mcp_names.place(server.server_id, server.fields)
        entries.append(_entry(server.name, told, version, f"{base_url}/{place}/mcp"))
    return {"servers": [{"server": entry} for entry in entries]}


def _entry(name: str, description: str, version: str, url: str) -> Json:
    return {
        "name": name,
        "title": name,
        "description": description,
        "version": version,
        "remotes": [{"type": "streamable-http", "url": url}],
    }
