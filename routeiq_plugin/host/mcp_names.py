"""How LiteLLM prefixes the names of tools, resources and prompts with their server's."""

from __future__ import annotations

import importlib
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


def prefix(*, alias: str | None, server_name: str | None, server_id: str) -> str:
    """Return what stands before a server's names, separator included."""
    utils = _utils()
    known = utils.get_server_prefix(_Named(alias, server_name, server_id))
    return f"{utils.normalize_server_name(known)}{utils.MCP_TOOL_PREFIX_SEPARATOR}"


@cache
def _utils() -> Any:
    return importlib.import_module(_UTILS)
