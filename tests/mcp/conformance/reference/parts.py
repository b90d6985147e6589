"""Words that every part of the reference server is made of."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from mcp.server import ServerRequestContext
from mcp_types import CallToolRequestParams, CallToolResult, InputRequiredResult, TextContent

Context = ServerRequestContext[Any, Any]
Run = Callable[[Context, CallToolRequestParams], Awaitable[CallToolResult | InputRequiredResult]]
Tools = Mapping[str, Run]

STATELESS: Final = "2026-07-28"
"""The generation without sessions, in which a server asks in its answers instead of by requests of its own."""

IMAGE: Final = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="
"""A black pixel, PNG."""
AUDIO: Final = "UklGRiQAAABXQVZFZm10IBAAAAABAAEAQB8AAEAfAAABAAgAZGF0YQAAAAA="
"""No sample at all, WAV."""


def said(text: str, *, is_error: bool = False) -> CallToolResult:
    """Answer a call in words."""
    return CallToolResult(content=[TextContent(type="text", text=text)], is_error=is_error)


def text_of(content: Any) -> str:
    """Read what a model said."""
    return str(getattr(content, "text", ""))
