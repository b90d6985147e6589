"""A server behind the relay, as clients find it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tests.support.proxy import Proxy


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
