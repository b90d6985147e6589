"""Headers on their way to a backend: what is never a caller's to choose, and what one call adds."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from typing import Final

CREDENTIALS: Final = frozenset(
    {
        "api-key",
        "authorization",
        "cookie",
        "ocp-apim-subscription-key",
        "proxy-authorization",
        "x-api-key",
        "x-goog-api-key",
    }
)
"""Where a caller's LiteLLM key or session may be."""

CONNECTION: Final = frozenset(
    {
        "accept-encoding",
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "expect",
        "host",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
"""What describes our own request to a backend, or one connection (RFC 9110 7.6.1)."""

added: Final[ContextVar[Mapping[str, str] | None]] = ContextVar("added", default=None)
"""Headers of one call on a session that others share; the MCP SDK sends each message in its caller's context."""
