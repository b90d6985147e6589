"""LiteLLM's gates before processes, on top of ours."""

from __future__ import annotations

import os

from litellm.constants import MCP_STDIO_ALLOWED_COMMANDS

from routeiq_plugin.errors import Forbidden
from routeiq_plugin.host.mcp_servers import stdio_refusal


def require_stdio(command: str, *, enabled: bool) -> None:
    """Raise `Forbidden` unless our setting, LiteLLM's switch and LiteLLM's list all allow the command."""
    if not enabled:
        raise Forbidden("stdio MCP servers are off: set `routeiq.mcp.stdio: true` to allow them")
    refusal = stdio_refusal()
    if refusal is not None:
        raise Forbidden(refusal)
    if os.path.basename(command) not in MCP_STDIO_ALLOWED_COMMANDS:
        raise Forbidden("the command of this MCP server is not on LiteLLM's list of stdio commands")
