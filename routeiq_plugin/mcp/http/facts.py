"""What a client says of itself: once per session up to 2025-11-25, with every request from 2026-07-28."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

LATEST_WITH_SESSIONS: Final = "2025-11-25"
STATELESS: Final = "2026-07-28"
"""The first version without sessions."""

VERSION_META: Final = "io.modelcontextprotocol/protocolVersion"
INFO_META: Final = "io.modelcontextprotocol/clientInfo"
CAPABILITIES_META: Final = "io.modelcontextprotocol/clientCapabilities"
LEVEL_META: Final = "io.modelcontextprotocol/logLevel"
SERVER_INFO_META: Final = "io.modelcontextprotocol/serverInfo"
SUBSCRIPTION_META: Final = "io.modelcontextprotocol/subscriptionId"

LEVELS: Final = ("debug", "info", "notice", "warning", "error", "critical", "alert", "emergency")
"""Of log messages, from all to few."""

_OF_SESSIONS: Final = frozenset({"tasks"})
"""Capabilities that only sessions have (2025-11-25); neither side is told that the other can do it."""

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Facts:
    """A client's own words; objects of JSON as they were sent."""

    version: str
    info: Mapping[str, Any] = field(default_factory=dict)
    capabilities: Mapping[str, Any] = field(default_factory=dict)
    level: str | None = None
    """Log messages of this level and above are wanted (2026-07-28)."""

    @classmethod
    def of_initialize(cls, params: Any) -> Facts:
        """Read what `initialize` says."""
        said = _object(params)
        return cls(str(said.get("protocolVersion")), _object(said.get("clientInfo")), _object(said.get("capabilities")))

    @classmethod
    def of_request(cls, params: Any) -> Facts:
        """Read what a request of 2026-07-28 says in `_meta`."""
        meta = _object(_object(params).get("_meta"))
        level = meta.get(LEVEL_META)
        return cls(
            str(meta.get(VERSION_META)),
            _object(meta.get(INFO_META)),
            _object(meta.get(CAPABILITIES_META)),
            level if isinstance(level, str) else None,
        )

    @classmethod
    def restored(cls, stored: Mapping[str, Any]) -> Facts:
        """Read what `stored` was made of."""
        return cls(stored["version"], stored["info"], stored["capabilities"], stored.get("level"))

    def stored(self) -> Json:
        """Render for a store."""
        return {"version": self.version, "info": self.info, "capabilities": self.capabilities, "level": self.level}


def without_sessions(capabilities: Mapping[str, Any]) -> Json:
    """Return capabilities that both generations of the protocol have."""
    return {name: value for name, value in capabilities.items() if name not in _OF_SESSIONS}


def _object(value: Any) -> Json:
    return dict(value) if isinstance(value, Mapping) else {}
