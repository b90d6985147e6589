"""Servers by name, and keys for some of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import httpx
import pytest

from tests.mcp.relayed import Together
from tests.support.proxy import Proxy

BOTH: Final = pytest.mark.parametrize("mode", ["legacy", "2026-07-28"])
ACCEPT: Final = {"Accept": "application/json, text/event-stream"}
INITIALIZE: Final = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}},
}
PING: Final = {"jsonrpc": "2.0", "id": 2, "method": "ping"}


@dataclass(frozen=True)
class World:
    """What is registered."""

    proxy: Proxy
    made: Mapping[str, Mapping[str, Any]]
    admin: httpx.Client

    def together(self, *names: str) -> Together:
        """Choose servers; keys made of it may use them alone."""
        first, *others = [self.made[name] for name in names]
        return Together(self.proxy, first, tuple(others))


def text(result: Any) -> str:
    """Return the first text of a tool's result."""
    return str(result.content[0].text)
