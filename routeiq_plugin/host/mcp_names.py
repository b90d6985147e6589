"""How LiteLLM prefixes the names of tools, resources and prompts with their server's."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

_UTILS: Final = "litellm.proxy._experimental.mcp_server.utils"


@dataclass(frozen=True, slots=True)
class _Named:
    alias: str | None
    server_name: str | None
    server_id: str
    short_prefix: str | None = None


def prefix(server_id: str, fields: Mapping[str, Any]) -> str:
    """Return what stands before a server's names, separator included."""
    utils = _utils()
    return f"{utils.normalize_server_name(place(server_id, fields))}{utils.MCP_TOOL_PREFIX_SEPARATOR}"


def place(server_id: str, fields: Mapping[str, Any]) -> str:
    """Return the server's part of a path (LiteLLM's short prefixes included)."""
    return str(_utils().get_server_prefix(_Named(fields.get("alias"), fields.get("server_name"), server_id)))


def separator() -> str:
    """Return what stands between a server's prefix and a name (`MCP_TOOL_PREFIX_SEPARATOR`)."""
    return str(_utils().MCP_TOOL_PREFIX_SEPARATOR)


@cache
def _utils() -> Any:
    return importlib.import_module(_UTILS)
