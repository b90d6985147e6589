"""One request to all servers of a caller."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from starlette.requests import Request

from routeiq_plugin.mcp.http.facts import Facts
from routeiq_plugin.mcp.offers import Asked
from routeiq_plugin.mcp.relay.aggregate.namespaces import Namespaces
from routeiq_plugin.mcp.relay.client_sessions import ClientSession

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Visit:
    """Who asks, of which servers, and as a client of which generation."""

    asked: Asked
    request: Request
    names: Namespaces
    session: ClientSession | None = None
    """None for a client without one (2026-07-28)."""
    told: Facts | None = None
    """What that client says with its request."""

    @property
    def facts(self) -> Facts:
        """What the client said of itself."""
        said = self.told if self.session is None else self.session.state.facts
        assert said is not None
        return said
