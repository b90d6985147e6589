"""What stands before the names of each server, so that none can be taken for another's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import unquote

from routeiq_plugin.host import mcp_names
from routeiq_plugin.mcp.model import Server
from routeiq_plugin.mcp.offers import prefix_of

SCHEME: Final = "mcp-server://"
"""Begins a URI that names its server: `mcp-server://{server}/{the server's own URI}`."""
_MOST_PARTS: Final = 5
_SAFE: Final = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~")


class Namespaces:
    """The servers of one request. Each has its prefix, or its id where its prefix could be read as another's."""

    def __init__(self, servers: Sequence[Server]) -> None:
        self.servers: Final = servers
        own = {server.server_id: prefix_of(server) for server in servers}
        doubtful = _doubtful(own)
        self._prefixes: Final = {
            server_id: _of_id(server_id) if server_id in doubtful else prefix for server_id, prefix in own.items()
        }

    def prefixed(self, server: Server, name: str) -> str:
        """Name a tool or prompt."""
        return self._prefixes[server.server_id] + name

    def named(self, name: str) -> Sequence[tuple[Server, str]]:
        """Return each server whose prefix, or id, a name begins with, the longest first, and its own name after it."""
        found = [
            (server, name.removeprefix(prefix))
            for server in self.servers
            for prefix in {self._prefixes[server.server_id], _of_id(server.server_id)}
            if name.startswith(prefix) and name != prefix
        ]
        return sorted(found, key=lambda each: len(each[1]))

    def located(self, server: Server, uri: str) -> str:
        """Write a URI, or a template of one, so that it names its server."""
        return f"{SCHEME}{self._label(server)}/{uri}"

    def opened(self, uri: str) -> tuple[Server, str] | None:
        """Read such a URI: the server, and the server's own URI; None where it names none of these servers."""
        label, slash, rest = uri.removeprefix(SCHEME).partition("/")
        if not uri.startswith(SCHEME) or not slash or not rest:
            return None
        for server in self.servers:
            # Hosts are read without regard to case, and so are names of servers.
            if label.casefold() in (self._label(server).casefold(), server.server_id.casefold()):
                return server, rest
        return None

    def _label(self, server: Server) -> str:
        prefix = self._prefixes[server.server_id].removesuffix(mcp_names.separator())
        return "".join(each if each in _SAFE else "".join(f"%{byte:02X}" for byte in each.encode()) for each in prefix)


def servers_named(name: str) -> Sequence[str]:
    """Return what might be the server's part of a name or URI, the shortest first."""
    if name.startswith(SCHEME):
        return (unquote(name.removeprefix(SCHEME).partition("/")[0]),)
    parts = name.split(mcp_names.separator())[:_MOST_PARTS]
    return [mcp_names.separator().join(parts[:count]) for count in range(1, len(parts))]


def display_names(server: Server) -> Mapping[str, Any]:
    """Return the names that the operator gave tools, by the server's own."""
    return server.fields.get("tool_name_to_display_name") or {}


def _doubtful(prefixes: Mapping[str, str]) -> frozenset[str]:
    """Choose those whose prefix is another's too, or the beginning of another's, and the other."""
    found: set[str] = set()
    root_id, root = "", None
    for server_id, prefix in sorted(prefixes.items(), key=lambda each: each[1]):
        if root is not None and prefix.startswith(root):
            found |= {root_id, server_id}
        else:
            root_id, root = server_id, prefix
    return frozenset(found)


def _of_id(server_id: str) -> str:
    return mcp_names.prefix(server_id, {})
