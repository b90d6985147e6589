"""Which headers may be sent to a backend: what can be written at all, and what is never a caller's to choose."""

from __future__ import annotations

import re
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

VALUES: Final = "Use a header name of RFC 9110 and a value of printable ASCII without spaces around it"

_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE: Final = re.compile(r"(?:[\x21-\x7e](?:[\t\x20-\x7e]*[\x21-\x7e])?)?")


def is_name(text: str) -> bool:
    """Tell whether this can be a header's name (RFC 9110 5.1)."""
    return _NAME.fullmatch(text) is not None


def is_value(text: str) -> bool:
    """Tell whether HTTP clients send this as a header's value (RFC 9110 5.5, of which they take ASCII)."""
    return _VALUE.fullmatch(text) is not None
