"""What a test asks of an MCP server when it starts it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from enum import StrEnum


class Speaks(StrEnum):
    """How the server is reached, and which generation of the protocol it speaks."""

    SESSIONS = "sessions"
    """Streamable HTTP, 2025-11-25: a handshake, a session id, and nothing newer."""
    STATELESS = "stateless"
    """Streamable HTTP, 2026-07-28 for those who ask: every request by itself."""
    SSE = "sse"
    """HTTP with SSE, of 2024-11-05."""
    STDIO = "stdio"


@dataclass(frozen=True, slots=True)
class Options:
    """Travels to the process as JSON."""

    speaks: Speaks
    name: str = "backend"
    port: int = 0
    require: dict[str, str] = field(default_factory=dict)
    """Headers without which every request is answered 401."""
    many: int = 0
    """So many more tools, `tool_1` and so on, listed a hundred to a page."""

    def to_json(self) -> str:
        """Write."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Options:
        """Read."""
        fields = json.loads(text)
        return cls(**{**fields, "speaks": Speaks(fields["speaks"])})
