"""What the endpoint says of itself, without asking any server."""

from __future__ import annotations

from typing import Any, Final

from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from routeiq_plugin._version import __version__
from routeiq_plugin.mcp.http.facts import SERVER_INFO_META
from routeiq_plugin.mcp.model import Server
from routeiq_plugin.mcp.relay.aggregate.namespaces import Namespaces
from routeiq_plugin.mcp.relay.governance import instructions_of

NAME: Final = "routeiq"
_MOST_NAMED: Final = 100
_LONGEST: Final = 20_000
"""Characters of all instructions together: models read them."""
_CAPABILITIES: Final = {
    "tools": {"listChanged": True},
    "prompts": {"listChanged": True},
    "resources": {"listChanged": True, "subscribe": True},
    "completions": {},
    "logging": {},
}

Json = dict[str, Any]


def initialized(version: str, names: Namespaces) -> Json:
    """Return the result of `initialize`."""
    return {"protocolVersion": version, "capabilities": _CAPABILITIES, "serverInfo": _info(), **_instructions(names)}


def discovered(names: Namespaces) -> Json:
    """Return the result of `server/discover`."""
    versions = list(MODERN_PROTOCOL_VERSIONS)
    meta = {SERVER_INFO_META: _info()}
    return {"supportedVersions": versions, "capabilities": _CAPABILITIES, "_meta": meta, **_instructions(names)}


def _info() -> Json:
    return {"name": NAME, "title": "MCP servers of this gateway", "version": __version__}


def _instructions(names: Namespaces) -> Json:
    if not names.servers:
        return {}
    told = ", ".join(_prefix(names, each) for each in names.servers[:_MOST_NAMED])
    more = f" and {len(names.servers) - _MOST_NAMED} more" if len(names.servers) > _MOST_NAMED else ""
    paragraphs = [f"Names of tools and prompts begin with their MCP server's: {told}{more}."]
    paragraphs += [f"{_prefix(names, each)}: {said}" for each in names.servers if (said := instructions_of(each))]
    return {"instructions": "\n\n".join(paragraphs)[:_LONGEST]}


def _prefix(names: Namespaces, server: Server) -> str:
    return names.prefixed(server, "")
